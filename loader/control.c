#define _GNU_SOURCE
#include "loader/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/runtime_folder.h"
#include "base/vec.h"
#include "loader/control_format.h"
#include "loader/control_request.h"
#include "loader/kept_socket.h"
#include "loader/log.h"
#include "loader/retire.h"
#include "loader/trace.h"
#include "loader/trial.h"

enum {
    TICK_MS = 1000, /* how often it is looked whether the program has ended without its process */
    BUSY_MS = 20,   /* likewise whether what is being done has been */
    TIMEOUT_S = 5,  /* for a client to take an answer */
    BACKLOG = 16,
    CLIENTS_MAX = 8,
};

static struct kept_socket listener = {.fd = -1};
/* Who is connected, the latest last. */
static struct client {
    struct kept_socket socket;
    struct trace *trace; /* owned; NULL: it has not asked for one */
} clients[CLIENTS_MAX];
static size_t client_count;

/* Makes the folder for sockets, or sees to it that nobody else can do anything there. */
static struct crateld_error *make_folder(const char *path)
{
    struct stat status;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_errno(errno, "%s: cannot make the folder for control sockets", path);
    if (lstat(path, &status) != 0)
        return error_errno(errno, "%s: cannot stat", path);
    /* A client of root's lets processes that have become other users look up what it has for them there. */
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 066)
        return error_create(CRATELD_ERROR_IO,
                            "%s: is to be a folder of this user's that nobody else has access to (mode 0700)", path);
    return NULL;
}

static struct crateld_error *bind_listener(int fd, const struct sockaddr_un *address)
{
    (void)unlink(address->sun_path); /* of an earlier process with this number */
    /* The socket's own mode is what its file gets. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 ||
        listen(fd, BACKLOG) != 0)
        return error_errno(errno, "%s: cannot listen", address->sun_path);
    return NULL;
}

static struct crateld_error *open_listener(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length;
    if (!control_path(secure_getenv("XDG_RUNTIME_DIR"), geteuid(), getpid(), address.sun_path, &length))
        return error_create(CRATELD_ERROR_RANGE, "XDG_RUNTIME_DIR is too long for a socket's path");
    address.sun_path[length] = 0;
    TRY(make_folder(address.sun_path));
    address.sun_path[length] = '/';
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(errno, "%s: cannot make a socket", address.sun_path);
    struct crateld_error *error = bind_listener(fd, &address);
    if (error)
        close(fd);
    else if (!kept_socket_take(fd, &listener))
        error = error_errno(errno, "%s: cannot listen", address.sun_path);
    return error;
}

static void close_client(struct client *client)
{
    kept_socket_close(&client->socket);
    trace_destroy(client->trace);
    client->trace = NULL;
}

void control_forget(void)
{
    kept_socket_close(&listener);
    while (client_count)
        close_client(&clients[--client_count]);
    trial_forget();
    retire_forget();
}

/* Whether the peer may tell this process what to do. */
static bool is_allowed(int client)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || !peer.uid);
}

/* Serves one request; false: there are no more. */
static bool serve_client(struct process *process, struct client *client)
{
    static char packet[CONTROL_MAX_SIZE];
    ssize_t size = recv(client->socket.fd, packet, sizeof packet, MSG_DONTWAIT | MSG_TRUNC);
    if (size <= 0)
        return size < 0 && (errno == EAGAIN || errno == EINTR);
    control_answer(process, client->socket.fd, &client->trace, packet, (size_t)size);
    return true;
}

static void drop_client(size_t index)
{
    close_client(&clients[index]);
    memmove(&clients[index], &clients[index + 1], (--client_count - index) * sizeof *clients);
}

/* Takes whoever connects. Of too many clients the one who connected first is let go. */
static void accept_client(void)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (!is_allowed(fd)) {
        close(fd);
        return;
    }
    if (client_count == CLIENTS_MAX)
        drop_client(0);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    clients[client_count].trace = NULL;
    client_count += kept_socket_take(fd, &clients[client_count].socket);
}

/* A program that ends its threads one by one, the first included, ends with its last. */
static void end_with_program(void)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    const char *name_end = size > 0 ? strrchr(text, ')') : NULL;
    struct stat status;
    bool has_ended = name_end && name_end[1] == ' ' && name_end[2] == 'Z';
    /* A folder has a link from each folder in it, besides two: the first thread and this one are left. */
    if (has_ended && stat("/proc/self/task", &status) == 0 && status.st_nlink <= 4)
        exit(EXIT_SUCCESS);
}

void control_serve(struct process *process)
{
    for (;;) {
        struct crateld_error *error = listener.fd < 0 ? open_listener() : NULL;
        if (error) {
            log_print("%s", crateld_error_message(error));
            crateld_error_destroy(error);
            return;
        }
        retire_serve(process); /* behind what was asked for, which does not wait for it */
        struct pollfd wanted[2 + CLIENTS_MAX] = {{.fd = listener.fd, .events = POLLIN}};
        for (size_t i = 0; i < client_count; i++)
            wanted[1 + i] = (struct pollfd){.fd = clients[i].socket.fd, .events = POLLIN};
        wanted[1 + client_count] = (struct pollfd){.fd = trial_descriptor(), .events = POLLIN};
        int ready = poll(wanted, 2 + client_count, retire_is_busy() ? BUSY_MS : TICK_MS);
        trial_serve(process, wanted[1 + client_count].revents);
        if (!ready)
            end_with_program();
        if (ready <= 0)
            continue;
        for (size_t i = client_count; i > 0; i--)
            if (wanted[i].revents &&
                (!kept_socket_is_ours(&clients[i - 1].socket) || !serve_client(process, &clients[i - 1])))
                drop_client(i - 1);
        if (!kept_socket_is_ours(&listener))
            listener.fd = -1; /* the program has closed what it did not open */
        else if (wanted[0].revents)
            accept_client();
    }
}
