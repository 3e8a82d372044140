/* Cuts text into words. */
#pragma once

#include "text.h"
typedef void word_visitor(void *context, const char *word);
void words_visit(struct arena *arena, struct text text, word_visitor *visit, void *context);
