#include "linker/journal.h"

#include <string.h>

void journal_init(struct journal *journal)
{
    *journal = (struct journal){0};
    arena_init(&journal->arena);
}

void journal_deinit(struct journal *journal)
{
    free(journal->entries.at);
    arena_deinit(&journal->arena);
    *journal = (struct journal){0};
}

void journal_add(struct journal *journal, const char *path, const struct file_stamp *stamp)
{
    struct journal_entry entry = {arena_strndup(&journal->arena, path, strlen(path)), *stamp};
    if (!entry.path || !VEC_PUSH(&journal->entries, entry))
        journal->is_incomplete = true;
}
