/* The order of the report. */
#pragma once

#include "table.h"
void sort_by_count(struct table *table);
