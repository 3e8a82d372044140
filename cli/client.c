#define _GNU_SOURCE
#include "cli/client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "loader/park.h"

enum {
    ASK_MS = 1,         /* between two signals that ask for the socket */
    GIVE_UP_MS = 10000, /* for the process to be at a place where it can make it */
    ANSWER_S = 60,
    ENVIRONMENT_MAX = 1 << 20,
};

/* Whether the process has a handler for the signal that asks for a socket: one without it would die of it. */
static bool has_handler(pid_t id)
{
    char path[64], *line AUTO_FREE = NULL;
    size_t size = 0;
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)id);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) >= 0)
        if (!strncmp(line, "SigCgt:", 7))
            caught = strtoull(line + 7, NULL, 16);
    if (file)
        fclose(file);
    return caught >> (PARK_SIGNAL - 1) & 1;
}

bool client_is_crateld(pid_t id)
{
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)id);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = 0;
    static const char deleted[] = " (deleted)";
    char *end = strstr(target, deleted);
    if (end && !end[sizeof deleted - 1])
        *end = 0;
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    return (!strcmp(name, "crateld") || !strcmp(name, "crateld-low")) && has_handler(id);
}

static struct crateld_error *no_process(pid_t id)
{
    if (kill(id, 0) != 0 && errno == ESRCH)
        return error_create(CRATELD_ERROR_NOT_FOUND, "there is no process %d", (int)id);
    return error_create(CRATELD_ERROR_NOT_FOUND, "process %d does not run crates (crateld run), or is another user's",
                        (int)id);
}

/* The value of `name` in the environment that the process began with; NULL if it has none. The caller frees it. */
static struct crateld_error *read_environment(pid_t id, const char *name, char **ret)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)id);
    *ret = NULL;
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    char *text AUTO_FREE = malloc(ENVIRONMENT_MAX + 1);
    if (!text)
        return error_memory();
    size_t size = 0, length = strlen(name);
    for (ssize_t got = 1; fd >= 0 && got > 0 && size<ENVIRONMENT_MAX; size += got> 0 ? (size_t)got : 0)
        got = read(fd, text + size, ENVIRONMENT_MAX - size);
    text[size] = 0;
    for (const char *entry = text; entry < text + size; entry += strlen(entry) + 1) {
        if (strncmp(entry, name, length) != 0 || entry[length] != '=')
            continue;
        *ret = strdup(entry + length + 1);
        return *ret ? NULL : error_memory();
    }
    return NULL;
}

/* The user as whom the process runs now; (uid_t)-1 if that can not be told. */
static uid_t find_user(pid_t id)
{
    char path[64], *line AUTO_FREE = NULL;
    size_t size = 0;
    unsigned long user = (uid_t)-1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)id);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) >= 0) {
        char *effective;
        if (strncmp(line, "Uid:", 4) != 0)
            continue;
        (void)strtoul(line + 4, &effective, 10); /* the real one */
        user = strtoul(effective, NULL, 10);
    }
    if (file)
        fclose(file);
    return (uid_t)user;
}

struct crateld_error *client_open(pid_t id, struct client *ret)
{
    char *folder AUTO_FREE = NULL;
    uid_t user = find_user(id);
    ret->id = id;
    ret->fd = -1;
    if (user == (uid_t)-1 || !client_is_crateld(id))
        return no_process(id);
    TRY(read_environment(id, "XDG_RUNTIME_DIR", &folder));
    bool is_short = control_path(folder, user, id, ret->socket, &ret->folder_length);
    /* It may have made its socket as the user as whom it began, which is root if it has become another one. */
    if (is_short && user && access(ret->socket, F_OK) != 0) {
        char earlier[CONTROL_PATH_SIZE];
        size_t length;
        if (control_path(folder, 0, id, earlier, &length) && access(earlier, F_OK) == 0) {
            memcpy(ret->socket, earlier, sizeof earlier);
            ret->folder_length = length;
        }
    }
    return is_short ? NULL
                    : error_create(CRATELD_ERROR_RANGE,
                                   "process %d: its XDG_RUNTIME_DIR is too long for a socket's path", (int)id);
}

int client_open_folder(const struct client *client)
{
    char folder[CONTROL_PATH_SIZE];
    struct stat status;
    memcpy(folder, client->socket, client->folder_length);
    folder[client->folder_length] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 &&
        (fstat(fd, &status) != 0 || (status.st_uid != geteuid() && status.st_uid != find_user(client->id)))) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

uid_t client_other_user(const struct client *client)
{
    uid_t user = geteuid() ? (uid_t)-1 : find_user(client->id); /* no other user is served but root */
    return user ? user : (uid_t)-1;
}

struct crateld_error *client_admit(const struct client *client, uid_t user, int fd)
{
    if (user == (uid_t)-1)
        return NULL;
    int folder AUTO_CLOSE = client_open_folder(client);
    struct stat status;
    if (folder < 0 || fstat(folder, &status) != 0 || fchown(fd, user, (gid_t)-1) != 0 ||
        (status.st_uid != user && fchmod(folder, 0711) != 0))
        return error_errno(errno, "process %d runs as user %u: cannot hand a file to it", (int)client->id, user);
    return NULL;
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

static void sleep_ms(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* The process's thread number `turn`, counted round and round; the first one if they can not be listed. */
static pid_t find_thread(pid_t id, unsigned turn)
{
    char path[64];
    pid_t threads[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)id);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && count < sizeof threads / sizeof *threads && (entry = readdir(folder))) {
        long thread = strtol(entry->d_name, NULL, 10);
        if (thread > 0)
            threads[count++] = (pid_t)thread;
    }
    if (folder)
        closedir(folder);
    return count ? threads[turn % count] : id;
}

/* Has a thread of the process make its socket. The signal is for that thread: one for the process would wake a thread,
 * and another might take it; the first one's epoll_wait would end with EINTR, with no handler to make the call again.
 */
static struct crateld_error *ask_thread(pid_t id, pid_t thread)
{
    siginfo_t info = {.si_code = SI_QUEUE};
    info.si_pid = getpid();
    info.si_uid = getuid();
    if (syscall(SYS_rt_tgsigqueueinfo, id, thread, PARK_SIGNAL, &info) != 0 && errno != ESRCH)
        return error_errno(errno, "process %d: cannot ask for its socket", (int)id);
    return NULL;
}

/* Connects client->fd; asks the process for its socket first, until it is there. */
static struct crateld_error *find_socket(const struct client *client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pid_t id = client->id;
    int fd = client->fd;
    unsigned turn = 0;
    memcpy(address.sun_path, client->socket, sizeof address.sun_path);
    for (int waited = 0; connect(fd, (const struct sockaddr *)&address, sizeof address) != 0; waited += ASK_MS) {
        if (errno != ENOENT && errno != ECONNREFUSED)
            return error_errno(errno, "%s: cannot connect", address.sun_path);
        if (waited >= GIVE_UP_MS)
            return error_create(CRATELD_ERROR_IO,
                                "process %d does not answer: it is stopped, or has been in a library for %d seconds",
                                (int)id, GIVE_UP_MS / 1000);
        if (!client_is_crateld(id))
            return no_process(id);
        TRY(ask_thread(id, find_thread(id, turn++)));
        sleep_ms(ASK_MS);
    }
    return NULL;
}

static struct crateld_error *connect_to(struct client *client)
{
    struct timeval timeout = {.tv_sec = ANSWER_S};
    client->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return error_errno(errno, "cannot make a socket");
    struct crateld_error *error = find_socket(client);
    if (error)
        client_close(client);
    else
        (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return error;
}

static bool send_request(const struct client *client, enum control_kind kind, const void *payload, size_t size)
{
    struct control_header header = {CONTROL_MAGIC, CONTROL_VERSION, (uint16_t)kind};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)payload, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(client->fd, &message, MSG_NOSIGNAL) >= 0;
}

/* Whether the connection of an earlier request is still one. */
static bool is_connected(struct client *client)
{
    struct pollfd state = {.fd = client->fd, .events = POLLIN};
    if (client->fd >= 0 && poll(&state, 1, 0) != 0) /* nothing can have come but the end */
        client_close(client);
    return client->fd >= 0;
}

static struct crateld_error *talk(struct client *client, enum control_kind kind, const void *payload, size_t size,
                                  const struct client_answer *answer, struct control_report *ret)
{
    bool is_sent = client->fd >= 0 && send_request(client, kind, payload, size);
    if (!is_sent) { /* the connection of an earlier request, if there was one, has ended */
        client_close(client);
        TRY(connect_to(client));
        is_sent = send_request(client, kind, payload, size);
    }
    struct crateld_error *error = is_sent ? client_receive(client->id, client->fd, answer, ret)
                                          : error_errno(errno, "process %d: cannot ask", (int)client->id);
    if (error) /* more of an answer may be to come, that nobody waits for */
        client_close(client);
    return error;
}

struct crateld_error *client_list(struct client *client, struct client_crates *ret)
{
    struct control_report report;
    *ret = (struct client_crates){0};
    struct crateld_error *error = talk(client, CONTROL_LIST, NULL, 0, &(struct client_answer){.crates = ret}, &report);
    if (error)
        client_crates_deinit(ret);
    return error;
}

struct crateld_error *client_request(struct client *client, enum control_kind kind, const void *payload, size_t size,
                                     struct control_report *ret)
{
    return talk(client, kind, payload, size, &(struct client_answer){0}, ret);
}

struct crateld_error *client_trace(struct client *client, void (*tell)(void *context, const char *line, size_t size),
                                   bool *ret)
{
    struct control_report report;
    *ret = is_connected(client);
    return talk(client, CONTROL_TRACE, NULL, 0, &(struct client_answer){.tell = tell}, &report);
}

struct crateld_error *client_retained(struct client *client, void (*tell)(void *context, const char *line, size_t size),
                                      void *context)
{
    struct control_report report;
    return talk(client, CONTROL_RETAINED, NULL, 0, &(struct client_answer){.tell = tell, .context = context}, &report);
}
