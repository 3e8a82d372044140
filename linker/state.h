/* What a link leaves beside its crate, in the file <crate>.state, for a later one to update the crate instead of
 * starting over: the stamps of all files that it read or looked for, what its options were, and the shapes of its
 * objects. The file is a cache: where it is missing, damaged, or not of this very crate and crateld, the link starts
 * over. */
#ifndef LINKER_STATE_H
#define LINKER_STATE_H

#include "linker/link.h"

struct link_state_header {
    uint64_t magic;
    uint32_t object_count;
    uint32_t file_count;
    uint64_t string_size;
    uint64_t hash;           /* XXH3-64 of all that follows the header, then of the header with 0 here */
    uint64_t options;        /* a hash of them */
    int64_t started_ns;      /* when the link began */
    struct file_stamp tool;  /* crateld itself */
    struct file_stamp crate; /* as it was written */
    uint32_t mode;           /* of the crate, before the umask */
    uint32_t reserved;
};

/* An object that the command line names. */
struct link_state_object {
    struct file_stamp stamp;
    uint64_t hash;         /* XXH3-64 of its bytes */
    uint64_t shape;        /* linker/shape.h */
    uint32_t path;         /* offset in the strings */
    uint32_t module;       /* index in the relink section */
    uint32_t first_listed; /* index of its first symbol in the crate's symbol table */
    uint32_t reserved;
};

/* Any other file. */
struct link_state_file {
    struct file_stamp stamp;
    uint32_t path;
    uint32_t reserved;
};

/* A state that was read: its parts, checked as far as their sizes go, lie in `bytes`. */
struct link_state {
    struct file_bytes bytes; /* owned */
    struct link_state_header *header;
    struct link_state_object *objects;
    struct link_state_file *files;
    const char *strings; /* the last byte is NUL */
};

/* Decides whether the link reads and leaves a state. */
void link_state_plan(struct link *link);

/* Reads the state that fits the link's options. Errors: NOT_FOUND; FORMAT; MISMATCH, it is another crateld's or of
 * other options; IO; MEMORY. */
MUST_CHECK struct crateld_error *link_state_read(const struct link *link, struct link_state *ret);

void link_state_deinit(struct link_state *state);

/* The string at `off`; NULL: there is none. */
const char *link_state_string(const struct link_state *state, uint32_t off);

/* Writes a state that was read and changed in place, or that of a link whose crate was written with that stamp and
 * mode. What can not be written is removed: the next link starts over. */
void link_state_rewrite(const struct link *link, struct link_state *state);
void link_state_write(const struct link *link, const struct file_stamp *crate, uint32_t mode);

#endif
