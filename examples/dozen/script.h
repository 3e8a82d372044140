/* Lets a Lua function change each word's count. */
#pragma once

#include "table.h"
void script_apply(const char *path, struct table *table);
