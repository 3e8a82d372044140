#include "sort.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->word, y->word);
}

void sort_by_count(struct table *table)
{
    qsort(table->entries, table->count, sizeof *table->entries, compare);
}
