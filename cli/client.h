/* Asking something of a process that runs crates: the other side of loader/control.h. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <sys/types.h>

#include "base/error.h"
#include "base/runtime_folder.h"
#include "cli/client_answer.h"

/* Whether process `id` runs crates. */
bool client_is_crateld(pid_t id);

/* A process that runs crates. */
struct client {
    pid_t id;
    int fd;                         /* owned; the connection, which stays for further requests; -1: there is none yet */
    char socket[CONTROL_PATH_SIZE]; /* the path of its socket */
    size_t folder_length;           /* of that: bytes of the folder's path */
};

/* Finds out where the process's socket is, or will be. Close it in any case. Errors: NOT_FOUND (there is no such
 * process, or it runs no crates), RANGE. */
MUST_CHECK struct crateld_error *client_open(pid_t id, struct client *ret);
void client_close(struct client *client);

/* Opens the folder of its socket, where files for it are made: that of its user or of ours, whatever is there
 * meanwhile. -1 and errno if it is not. */
int client_open_folder(const struct client *client);

/* The user as whom the process runs, if that is another one than this process's, which is root then: servers give up
 * what root may. (uid_t)-1 if it is not. */
uid_t client_other_user(const struct client *client);

/* Lets that user read the file at `fd` in that folder; (uid_t)-1 needs no leave. Error: IO. */
MUST_CHECK struct crateld_error *client_admit(const struct client *client, uid_t user, int fd);

/* Sets *ret to its crates. Errors: NOT_FOUND (it has ended), IO (it does not answer), and what it answers. */
MUST_CHECK struct crateld_error *client_list(struct client *client, struct client_crates *ret);

/* Calls `tell` with a line for each thing that has happened in the process since the last call, on this connection.
 * *ret is false if the connection is new, and nothing could be told. Errors likewise. */
MUST_CHECK struct crateld_error *client_trace(struct client *client,
                                              void (*tell)(void *context, const char *line, size_t size), bool *ret);

/* Calls `tell` with a line for each superseded version that the process keeps. Errors likewise. */
MUST_CHECK struct crateld_error *
client_retained(struct client *client, void (*tell)(void *context, const char *line, size_t size), void *context);

/* Makes a request: `payload` as kind `kind` (CONTROL_RELOAD, ...) says. Errors likewise. */
MUST_CHECK struct crateld_error *client_request(struct client *client, enum control_kind kind, const void *payload,
                                                size_t size, struct control_report *ret);

#endif
