#include "report.h"

#include <stdio.h>

#include "clock.h"
#include "pack.h"
#include "sort.h"

void report_print(struct table *table, struct text text)
{
    sort_by_count(table);
    for (size_t i = 0; i < table->count && i < 8; i++)
        printf("%6ld  %s\n", table->entries[i].count, table->entries[i].word);
    printf("%zu words, %ld additions, %zu bytes in %zu, report %d\n", table->count, table_additions, text.size,
           pack_size(text.at, text.size), clock_asked());
}
