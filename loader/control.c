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
#include "base/clock.h"
#include "base/hash.h"
#include "base/runtime_folder.h"
#include "base/vec.h"
#include "crateld/reload.h"
#include "loader/control_format.h"
#include "loader/debugger.h"
#include "loader/guard.h"
#include "loader/hooks.h"
#include "loader/kept_socket.h"
#include "loader/log.h"
#include "loader/patch.h"
#include "loader/retire.h"
#include "loader/starters.h"
#include "loader/trace.h"
#include "loader/trial.h"
#include "loader/versions.h"

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
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 077)
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

/* Answers. */

static void send_packet(int client, enum control_kind kind, const void *payload, size_t size, int descriptor)
{
    struct control_header header = {CONTROL_MAGIC, CONTROL_VERSION, (uint16_t)kind};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)payload, size}};
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof descriptor)] = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (descriptor >= 0) {
        message.msg_control = space;
        message.msg_controllen = sizeof space;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    /* Who does not wait for the answer does not get it. */
    (void)!sendmsg(client, &message, MSG_NOSIGNAL);
}

static void send_error(int client, struct crateld_error *error)
{
    const char *text = crateld_error_message(error);
    size_t size = strlen(text), max = CONTROL_MAX_SIZE / 2;
    send_packet(client, CONTROL_ERROR, text, size < max ? size : max, -1);
    crateld_error_destroy(error);
}

/* Requests. */

/* Patches of the crate that were loaded. */
static uint32_t count_patches(const struct loaded_crate *crate)
{
    const struct process *process = crate->process;
    uint32_t count = 0;
    for (size_t i = 0; i < process->crates.count; i++)
        count += process->crates.at[i]->view.header.flags & CRATE_FLAG_PATCH &&
                 process->crates.at[i]->needed[0].crate == crate;
    return count;
}

static struct crateld_error *send_crate(int client, const struct loaded_crate *crate)
{
    struct control_crate record = {.patch_count = count_patches(crate)};
    size_t name = strlen(crate->name) + 1, path = strlen(crate->path) + 1;
    memcpy(record.build_id, crate->view.header.build_id, sizeof record.build_id);
    char *payload AUTO_FREE = malloc(sizeof record + name + path);
    if (!payload)
        return error_memory();
    memcpy(payload, &record, sizeof record);
    memcpy(payload + sizeof record, crate->name, name);
    memcpy(payload + sizeof record + name, crate->path, path);
    bool has_relink = crate->view.header.flags & CRATE_FLAG_HAS_RELINK;
    send_packet(client, CONTROL_CRATE, payload, sizeof record + name + path, has_relink ? crate->fd : -1);
    return NULL;
}

static struct crateld_error *list_crates(struct process *process, int client)
{
    for (size_t i = 0; i < process->crates.count; i++)
        if (!(process->crates.at[i]->view.header.flags & CRATE_FLAG_PATCH))
            TRY(send_crate(client, process->crates.at[i]));
    struct control_report nothing = {0};
    send_packet(client, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return NULL;
}

struct patch_list {
    VEC(struct loaded_crate *) patches;
};

/* Loads the patches whose paths are in `text`. */
static struct crateld_error *load_patches(struct process *process, const char *text, size_t size,
                                          struct patch_list *list)
{
    if (!size || text[size - 1])
        return error_create(CRATELD_ERROR_FORMAT, "a request without the paths of patches");
    for (const char *path = text; path < text + size; path += strlen(path) + 1) {
        struct loaded_crate *patch = NULL;
        if (*path != '/')
            return error_create(CRATELD_ERROR_FORMAT, "%s: the path of a patch is to be absolute", path);
        TRY(patch_load(process, path, &patch));
        patch->is_file_ours |= !strcmp(patch->path, path);
        if (strcmp(patch->path, path) != 0)
            (void)unlink(path); /* an earlier one has the same contents */
        if (!VEC_PUSH(&list->patches, patch))
            return error_memory();
    }
    return NULL;
}

static void run_starters(void *patch)
{
    starters_run(patch);
}

static void run_hook(void *address)
{
    ((crateld_reloaded_function *)(uintptr_t) * (const uint64_t *)address)();
}

/* Calls code of the program's; if it faults, it is given up, and the program is told. */
static void call(const struct loaded_crate *base, const char *what, void (*function)(void *), void *argument)
{
    int signal_number;
    if (!guard_call(function, argument, &signal_number))
        log_print("%s: %s: %s", base->path, what, strsignal(signal_number));
}

/* What is to be run of the program's own when modules were replaced: first initialisers, then what the crates want to
 * be called then, by name. */
static void run_code(struct process *process, struct loaded_crate *const *patches, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (crate_view_count(&patches[i]->view, CRATE_TABLE_STARTERS))
            call(patches[i]->needed[0].crate, "initialisers", run_starters, patches[i]);
    for (size_t i = 0; i < count; i++) {
        process_lock(process);
        uint64_t hook = hooks_find(patches[i]->needed[0].crate, CRATELD_RELOADED_HOOK);
        process_unlock(process);
        if (hook)
            call(patches[i]->needed[0].crate, CRATELD_RELOADED_HOOK "()", run_hook, &hook);
    }
}

static void send_report(int client, const struct patch_report *report, uint64_t total_ns)
{
    struct control_report reply = {
        report->modules,        report->functions,       report->variables_set,
        report->variables_kept, report->variables_grown, report->relocations,
        report->users,          report->pages,           total_ns - report->pause_ns,
        report->pause_ns,
    };
    send_packet(client, CONTROL_DONE, &reply, sizeof reply, -1);
}

/* Under the lock; *list is what was loaded, *report what was done. */
static struct crateld_error *reload(struct process *process, const char *text, size_t size, bool is_trial,
                                    struct patch_list *list, struct patch_report *report)
{
    struct crateld_error *error = load_patches(process, text, size, list);
    if (!error && !is_trial)
        trial_begin(list->patches.at, list->patches.count);
    if (!error)
        error = patch_commit(list->patches.at, list->patches.count, is_trial, report);
    for (size_t i = list->patches.count; error && i > 0; i--)
        patch_drop(list->patches.at[i - 1]);
    if (!error && !is_trial) {
        debugger_show(process);
        debugger_notify();
    }
    return error;
}

static struct crateld_error *serve_reload(struct process *process, int client, const char *text, size_t size,
                                          bool is_trial)
{
    struct patch_list list = {0};
    struct patch_report report = {0};
    uint64_t start = clock_nanoseconds();
    process_lock(process);
    struct crateld_error *error = reload(process, text, size, is_trial, &list, &report);
    process_unlock(process);
    if (!error) {
        send_report(client, &report, clock_nanoseconds() - start);
        if (!is_trial)
            run_code(process, list.patches.at, list.patches.count);
    }
    free(list.patches.at);
    return error;
}

static struct crateld_error *serve_rollback(struct process *process, int client)
{
    struct patch_report report = {0};
    uint64_t start = clock_nanoseconds();
    process_lock(process);
    struct crateld_error *error = patch_rollback(process, &report);
    process_unlock(process);
    if (!error)
        send_report(client, &report, clock_nanoseconds() - start);
    return error;
}

static struct crateld_error *serve_list(struct process *process, int client)
{
    process_lock(process);
    struct crateld_error *error = list_crates(process, client);
    process_unlock(process);
    return error;
}

static void send_line(void *context, const char *line)
{
    send_packet(((const struct client *)context)->socket.fd, CONTROL_TEXT, line, strlen(line), -1);
}

static struct crateld_error *serve_trace(struct process *process, struct client *client)
{
    struct control_report nothing = {0};
    process_lock(process);
    struct crateld_error *error =
        client->trace ? trace_step(client->trace, process, send_line, client) : trace_create(process, &client->trace);
    process_unlock(process);
    if (!error)
        send_packet(client->socket.fd, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return error;
}

static struct crateld_error *serve_retained(struct process *process, struct client *client)
{
    struct control_report nothing = {0};
    process_lock(process);
    retire_tell(process, send_line, client);
    process_unlock(process);
    send_packet(client->socket.fd, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return NULL;
}

static struct crateld_error *serve_request(struct process *process, struct client *client, const char *packet,
                                           size_t size)
{
    int fd = client->socket.fd;
    struct control_header header;
    if (size < sizeof header)
        return error_create(CRATELD_ERROR_FORMAT, "a request of %zu bytes", size);
    memcpy(&header, packet, sizeof header);
    if (header.magic != CONTROL_MAGIC)
        return error_create(CRATELD_ERROR_FORMAT, "what came is no request");
    if (header.version != CONTROL_VERSION)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "the process speaks version %d of the control protocol, and was asked in version %u: use "
                            "the crateld that runs it",
                            CONTROL_VERSION, header.version);
    packet += sizeof header;
    size -= sizeof header;
    switch (header.kind) {
    case CONTROL_LIST:
        return serve_list(process, fd);
    case CONTROL_RELOAD:
    case CONTROL_CHECK:
        return serve_reload(process, fd, packet, size, header.kind == CONTROL_CHECK);
    case CONTROL_ROLLBACK:
        return serve_rollback(process, fd);
    case CONTROL_TRACE:
        return serve_trace(process, client);
    case CONTROL_RETAINED:
        return serve_retained(process, client);
    default:
        return error_create(CRATELD_ERROR_UNSUPPORTED, "a request of unknown kind %u", header.kind);
    }
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
    ssize_t size = recv(client->socket.fd, packet, sizeof packet, MSG_DONTWAIT);
    if (size <= 0)
        return size < 0 && (errno == EAGAIN || errno == EINTR);
    struct crateld_error *error = serve_request(process, client, packet, (size_t)size);
    if (error)
        send_error(client->socket.fd, error);
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
        struct pollfd wanted[2 + CLIENTS_MAX] = {{.fd = listener.fd, .events = POLLIN}};
        for (size_t i = 0; i < client_count; i++)
            wanted[1 + i] = (struct pollfd){.fd = clients[i].socket.fd, .events = POLLIN};
        wanted[1 + client_count] = (struct pollfd){.fd = trial_descriptor(), .events = POLLIN};
        int ready = poll(wanted, 2 + client_count, retire_is_busy() ? BUSY_MS : TICK_MS);
        trial_serve(process);
        retire_serve(process);
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
