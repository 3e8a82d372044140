#include "count.h"

#include "words.h"

static void count_one(void *context, const char *word)
{
    table_add(context, word, 1);
}

void count_words(struct arena *arena, struct text text, struct table *table)
{
    words_visit(arena, text, count_one, table);
}
