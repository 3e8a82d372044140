#include "table.h"

#include <stdlib.h>
#include <string.h>

long table_additions;

void table_add(struct table *table, const char *word, long by)
{
    table_additions++;
    for (size_t i = 0; i < table->count; i++)
        if (!strcmp(table->entries[i].word, word)) {
            table->entries[i].count += by;
            return;
        }
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? table->capacity * 2 : 16;
        table->entries = realloc(table->entries, table->capacity * sizeof *table->entries);
        if (!table->entries)
            abort();
    }
    table->entries[table->count++] = (struct entry){word, by};
}
