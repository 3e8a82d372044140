/* Descriptors of ours in a process whose program may close any, and open others in their places. */
#ifndef LOADER_KEPT_SOCKET_H
#define LOADER_KEPT_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

struct kept_socket {
    int fd;      /* -1: none */
    ino_t inode; /* of what it is then */
};

/* Puts the socket, which is taken over, where programs have no descriptors by number. False: there is none to be had.
 */
bool kept_socket_take(int fd, struct kept_socket *ret);

/* Whether the descriptor still is that socket. Async-signal-safe. */
bool kept_socket_is_ours(const struct kept_socket *socket);

/* Closes it, if it is ours; none is allowed. */
void kept_socket_close(struct kept_socket *socket);

#endif
