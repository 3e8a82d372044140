/* What is printed at the end. */
#pragma once

#include "table.h"
#include "text.h"
void report_print(struct table *table, struct text text);
