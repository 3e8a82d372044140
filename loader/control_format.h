/* What a process that runs crates and those who ask something of it say to each other: packets over a Unix socket, a
 * header each. Both are of one machine and of one user, and maybe of different versions. */
#ifndef LOADER_CONTROL_FORMAT_H
#define LOADER_CONTROL_FORMAT_H

#include <stdint.h>

#define CONTROL_MAGIC UINT32_C(0x6c727463) /* "ctrl" */

enum {
    CONTROL_VERSION = 3,
    CONTROL_MAX_SIZE = 64 << 10, /* bytes of a packet */
};

enum control_kind {
    /* Requests. */
    CONTROL_LIST,     /* of the crates that can be reloaded; answered by CRATE for each, then DONE */
    CONTROL_RELOAD,   /* payload: absolute paths of patches, each with its NUL, that come into effect together; if it is
                         done they are the process's own, to be removed */
    CONTROL_CHECK,    /* the same, without coming into effect */
    CONTROL_ROLLBACK, /* takes the last reload back */
    /* Answers: any number of CRATE and TEXT, then DONE, ERROR or INCOMPLETE. */
    CONTROL_CRATE, /* payload: struct control_crate, name, path; with the descriptor of its file */
    CONTROL_DONE,  /* payload: struct control_report */
    CONTROL_ERROR, /* payload: the message */
    /* Requests that were added later. */
    CONTROL_TRACE, /* what has happened since the last one on this connection; answered by TEXT for each thing, then
                      DONE */
    /* Answers likewise. */
    CONTROL_TEXT,       /* payload: a line of text */
    CONTROL_INCOMPLETE, /* in place of ERROR: other modules would have to come as well */
    /* And later still. */
    CONTROL_RETAINED, /* what is kept of superseded versions, and why; answered by TEXT for each, then DONE */
    CONTROL_EXPECT,   /* payload: the absolute path of what will be the next patch's file, with its NUL; it has its
                         greatest size already, and nothing in it, and is not made shorter before the patch is loaded;
                         answered by DONE */
};

struct control_header {
    uint32_t magic;
    uint16_t version;
    uint16_t kind; /* enum control_kind */
};

struct control_crate {
    uint8_t build_id[16];
    uint32_t patch_count; /* that were loaded for it so far */
};

/* What was done: see struct patch_report. */
struct control_report {
    uint32_t modules, functions, variables_set, variables_kept, variables_grown, relocations, users, pages;
    uint64_t plan_ns, pause_ns;
};

#endif
