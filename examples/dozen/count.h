/* Counts the words of a text. */
#pragma once

#include "table.h"
#include "text.h"
void count_words(struct arena *arena, struct text text, struct table *table);
