/* The files that a link depends on, but for the objects that it names, and those whose absence it depends on: what
 * tells a later link whether anything else has changed. */
#ifndef LINKER_JOURNAL_H
#define LINKER_JOURNAL_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/vec.h"

struct journal_entry {
    const char *path; /* in the journal's arena */
    struct file_stamp stamp;
};

struct journal {
    VEC(struct journal_entry) entries; /* owned array */
    struct arena arena;                /* owned */
    bool is_incomplete;                /* something mattered that is not in it */
};

void journal_init(struct journal *journal);
void journal_deinit(struct journal *journal);

/* Enters a file with the stamp that it had before it was read. Without memory the journal is incomplete. */
void journal_add(struct journal *journal, const char *path, const struct file_stamp *stamp);

#endif
