/* What a process that runs crates answers: loader/control_format.h. */
#ifndef CLI_CLIENT_ANSWER_H
#define CLI_CLIENT_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/vec.h"
#include "loader/control_format.h"

/* A crate of the process. */
struct client_crate {
    char *name; /* owned */
    char *path; /* owned; as the process opened it */
    int fd;     /* owned; of the very file, whatever has become of its name; -1: the crate has no relink section */
    uint8_t build_id[16];
    bool is_patched; /* it had other versions of modules than those in the file, and may have them still */
};

struct client_crates {
    VEC(struct client_crate) list;
};

void client_crates_deinit(struct client_crates *crates);

/* What is done with the parts of an answer. */
struct client_answer {
    struct client_crates *crates;                /* NULL: none are expected */
    void (*tell)(const char *line, size_t size); /* NULL: no text is */
};

/* Takes the whole answer of process `id` from the socket `fd`, and nothing of it is trusted. *ret is what was done.
 * Errors: what the process answers, UNDEFINED if other modules would have to come as well; IO (it has ended), FORMAT,
 * MISMATCH (it speaks another version of the protocol), MEMORY. */
MUST_CHECK struct crateld_error *client_receive(pid_t id, int fd, const struct client_answer *answer,
                                                struct control_report *ret);

#endif
