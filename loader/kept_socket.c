#define _GNU_SOURCE
#include "loader/kept_socket.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_FD_MIN = 200 };

bool kept_socket_take(int fd, struct kept_socket *ret)
{
    struct stat status;
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
    close(fd);
    if (kept < 0 || fstat(kept, &status) != 0)
        return false;
    *ret = (struct kept_socket){kept, status.st_ino};
    return true;
}

bool kept_socket_is_ours(const struct kept_socket *socket)
{
    struct stat status;
    return socket->fd >= 0 && fstat(socket->fd, &status) == 0 && S_ISSOCK(status.st_mode) &&
           status.st_ino == socket->inode;
}

void kept_socket_close(struct kept_socket *socket)
{
    if (kept_socket_is_ours(socket))
        close(socket->fd);
    socket->fd = -1;
}
