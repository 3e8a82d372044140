#define _GNU_SOURCE
#include "cli/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "cli/commands.h"
#include "cli/compile_commands.h"
#include "cli/depfile.h"
#include "cli/split_object.h"
#include "cli/tool_path.h"

/* What is said to the watcher; QUICK: with names of modules, "old=new", each with its NUL. */
enum { BEGIN = 'b', END = 'e', QUICK = 'q', MESSAGE_MAX = 60 << 10 };

/* A file that objects are made of. */
struct source {
    const char *path; /* the arena's; without links */
    const char *name; /* in it: the file's */
    int folder;       /* inotify's number */
    uint64_t hash;    /* of the contents when it was last looked at; 0: it was not */
};

enum unit_state {
    UNIT_CLEAN,
    UNIT_DIRTY, /* is to be compiled */
    UNIT_RUNNING,
    UNIT_DONE,   /* compiled; the object is not in its place yet */
    UNIT_FAILED, /* can not be compiled as it is */
};

/* The quick compiler's part. */
enum quick_state {
    QUICK_NONE,
    QUICK_RUNNING,
    QUICK_DONE,
    QUICK_SENT, /* the watcher was told */
    QUICK_FAILED,
};

/* An object that is compiled here. */
struct unit {
    const struct compile_command *command; /* borrowed */
    char *temporary;                       /* the arena's, as is what follows: the object until it is in its place */
    char *depfile;                         /* where the compiler lists what it read */
    bool is_own_depfile;                   /* it is made for us */
    bool is_listing;                       /* while it runs: only that list is made */
    bool has_list;                         /* it is known what it is made of */
    VEC(uint32_t) sources;
    enum unit_state state;
    pid_t pid; /* while it runs */
    int fd;    /* of that */
    struct timespec start;
    const char *module; /* what the watcher calls it */
    enum quick_state quick;
    char *quick_object, *quick_split; /* the arena's: what the quick compiler makes, and what is made of that */
    pid_t quick_pid;                  /* while it runs */
    int quick_fd;                     /* of that */
};

struct service {
    struct compile_commands commands;
    struct arena arena;
    VEC(struct unit) units;
    VEC(struct source) sources;
    struct hash_index names; /* of sources' files */
    int inotify;
    int watcher;    /* the socket's end */
    bool is_tiered; /* the quick compiler's objects come first */
    size_t running_count;
    size_t running_max;
};

static void print_error(struct crateld_error *error)
{
    (void)command_failed(error); /* what it prints is all that is wanted */
}

/* Sources. */

static int watch_folder(const struct service *service, const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path) + 1, path);
    return inotify_add_watch(service->inotify, folder, IN_CLOSE_WRITE | IN_MOVED_TO);
}

/* Sets *ret to the number of the source at `path`, which is there. */
static struct crateld_error *enter_source(struct service *service, const char *path, uint32_t *ret)
{
    size_t cursor = 0;
    struct source source = {.path = path, .name = strrchr(path, '/') + 1};
    while ((*ret = hash_index_next(&service->names, hash_string(source.name), &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(service->sources.at[*ret].path, path))
            return NULL;
    source.path = arena_strndup(&service->arena, path, strlen(path));
    source.folder = watch_folder(service, path);
    if (!source.path || !VEC_RESERVE(&service->sources, 1) ||
        !hash_index_add(&service->names, hash_string(source.name)))
        return error_memory();
    source.name = strrchr(source.path, '/') + 1;
    *ret = (uint32_t)service->sources.count;
    service->sources.at[service->sources.count++] = source;
    return NULL;
}

/* Adds the file, unless it is there, is gone, or belongs to the system. */
static struct crateld_error *add_source(struct service *service, struct unit *unit, const char *name)
{
    char path[PATH_MAX], seen[PATH_MAX];
    uint32_t number;
    int length = snprintf(seen, sizeof seen, "%s%s%s", *name == '/' ? "" : unit->command->directory,
                          *name == '/' ? "" : "/", name);
    if (length >= (int)sizeof seen || !realpath(seen, path) || !strncmp(path, "/usr/", 5))
        return NULL;
    TRY(enter_source(service, path, &number));
    for (size_t i = 0; i < unit->sources.count; i++)
        if (unit->sources.at[i] == number)
            return NULL;
    return VEC_PUSH(&unit->sources, number) ? NULL : error_memory();
}

static struct crateld_error *take_list(struct service *service, struct unit *unit, struct arena *arena)
{
    struct depfile list;
    struct crateld_error *error = depfile_read(unit->depfile, arena, &list);
    unit->has_list = !error;
    crateld_error_destroy(error); /* what was known stays */
    error = NULL;
    for (size_t i = 0; i < list.names.count && !error; i++)
        error = add_source(service, unit, list.names.at[i]);
    depfile_deinit(&list);
    return error;
}

/* Takes the compiler's list, if there is one. */
static struct crateld_error *read_list(struct service *service, struct unit *unit)
{
    struct arena arena;
    arena_init(&arena);
    struct crateld_error *error = take_list(service, unit, &arena);
    arena_deinit(&arena);
    return error;
}

/* Units. */

static struct crateld_error *add_unit(struct service *service, const struct compile_command *command,
                                      const char *object, const char *module)
{
    struct unit unit = {.command = command, .fd = -1, .quick_fd = -1, .is_own_depfile = !command->depfile};
    unit.module = arena_strndup(&service->arena, module, strcspn(module, "="));
    unit.quick_object = arena_printf(&service->arena, "%s.crateld.tcc", object);
    unit.quick_split = arena_printf(&service->arena, "%s.crateld.quick", object);
    unit.temporary = arena_printf(&service->arena, "%s.crateld", object);
    if (!unit.module || !unit.quick_object || !unit.quick_split)
        return error_memory();
    unit.depfile = arena_printf(&service->arena, command->depfile ? "%s" : "%s.crateld.d",
                                command->depfile ? command->depfile : object);
    if (!unit.temporary || !unit.depfile || !VEC_PUSH(&service->units, unit))
        return error_memory();
    struct unit *added = &service->units.at[service->units.count - 1];
    TRY(add_source(service, added, command->file));
    return added->is_own_depfile ? NULL : read_list(service, added);
}

static struct crateld_error *add_units(struct service *service, const char *path, const struct compiler_object *objects,
                                       size_t count)
{
    for (size_t i = 0; i < service->commands.list.count; i++) {
        const struct compile_command *command = &service->commands.list.at[i];
        char output[PATH_MAX], object[PATH_MAX];
        const char *module = NULL;
        if (!realpath(command->output, output))
            continue;
        for (size_t k = 0; k < count && !module; k++)
            module = realpath(objects[k].path, object) && !strcmp(object, output) ? objects[k].module : NULL;
        if (module)
            TRY(add_unit(service, command, output, module));
    }
    return service->units.count
               ? NULL
               : error_create(CRATELD_ERROR_NOT_FOUND,
                              "%s: makes none of the objects that the process's crates were linked from", path);
}

/* Compilers. */

/* The arguments of the compiler that makes the object, or, for a list only, nothing else; the caller frees the array.
 */
static char **make_arguments(const struct unit *unit)
{
    static char o[] = "-o", list_only[] = "-MM", md[] = "-MMD", mf[] = "-MF", mt[] = "-MT", null[] = "/dev/null";
    const struct compile_command *command = unit->command;
    char **arguments = calloc(command->count + 9, sizeof *arguments), **to = arguments;
    if (!arguments)
        return NULL;
    memcpy(to, command->arguments, command->count * sizeof *to);
    to += command->count;
    if (unit->is_listing)
        *to++ = list_only;
    else if (unit->is_own_depfile)
        *to++ = md;
    if (!command->has_depfile || unit->is_own_depfile) {
        *to++ = mf;
        *to++ = unit->depfile;
    }
    if (!command->has_target) {
        *to++ = mt;
        *to++ = (char *)command->output;
    }
    *to++ = o;
    *to++ = unit->is_listing ? null : unit->temporary;
    *to = NULL;
    return arguments;
}

static _Noreturn void run_compiler(const struct unit *unit, char *const *arguments)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0); /* compilers start others, which end with them */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (chdir(unit->command->directory) != 0) {
        fprintf(stderr, "crateld: %s: %s\n", unit->command->directory, strerror(errno));
        _exit(127);
    }
    execvp(arguments[0], arguments);
    fprintf(stderr, "crateld: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

/* The quick compiler's arguments: of the command's what it understands; the caller frees the array. */
static char **make_quick_arguments(const struct unit *unit)
{
    static char tcc[] = "tcc", c[] = "-c", o[] = "-o";
    const struct compile_command *command = unit->command;
    char **arguments = calloc(command->count + 6, sizeof *arguments), **to = arguments;
    if (!arguments)
        return NULL;
    *to++ = tcc;
    for (size_t i = 1; i < command->count; i++) {
        char *word = command->arguments[i];
        bool has_value = !strcmp(word, "-include") || !strcmp(word, "-isystem") ||
                         (word[0] == '-' && strchr("IDU", word[1]) && !word[2]);
        if (has_value && i + 1 < command->count) {
            *to++ = word;
            *to++ = command->arguments[++i];
        } else if (word[0] == '-' && word[1] && strchr("IDU", word[1])) {
            *to++ = word;
        }
    }
    *to++ = c;
    *to++ = (char *)command->file;
    *to++ = o;
    *to = unit->quick_object;
    return arguments;
}

/* Starts the quick compiler, for C; what it does not manage is left to the other one. */
static void start_quick(struct unit *unit)
{
    const char *dot = strrchr(unit->command->file, '.');
    char **arguments AUTO_FREE = make_quick_arguments(unit);
    unit->quick = QUICK_FAILED;
    if (!arguments || !dot || strcmp(dot, ".c") != 0)
        return;
    pid_t pid = fork();
    if (!pid) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC); /* the other one says what is wrong */
        dup2(null, STDERR_FILENO);
        run_compiler(unit, arguments);
    }
    if (pid < 0)
        return;
    unit->quick_pid = pid;
    unit->quick_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    unit->quick = QUICK_RUNNING;
}

/* Waits for the quick compiler, which has ended or is being killed, and makes what can be reloaded of its object. */
static void finish_quick(struct unit *unit, bool is_wanted)
{
    int status = 0;
    while (waitpid(unit->quick_pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (unit->quick_fd >= 0)
        close(unit->quick_fd);
    unit->quick_fd = -1;
    bool is_good = is_wanted && WIFEXITED(status) && !WEXITSTATUS(status);
    struct crateld_error *error = NULL;
    if (is_good)
        error = split_object(unit->quick_object, unit->command->output, unit->quick_split);
    unit->quick = is_good && !error ? QUICK_DONE : QUICK_FAILED;
    crateld_error_destroy(error); /* the other one's object is waited for */
    (void)unlink(unit->quick_object);
}

static void stop_quick(struct unit *unit)
{
    if (unit->quick == QUICK_RUNNING) {
        (void)kill(unit->quick_pid, SIGKILL);
        finish_quick(unit, false);
    }
    if (unit->quick == QUICK_DONE || unit->quick == QUICK_SENT)
        (void)unlink(unit->quick_split);
    unit->quick = QUICK_NONE;
}

static struct crateld_error *start(struct service *service, struct unit *unit)
{
    char **arguments AUTO_FREE = make_arguments(unit);
    if (!arguments)
        return error_memory();
    clock_gettime(CLOCK_REALTIME_COARSE, &unit->start); /* as files' times are made */
    if (service->is_tiered && !unit->is_listing)
        start_quick(unit);
    unit->pid = fork();
    if (!unit->pid)
        run_compiler(unit, arguments);
    unit->fd = unit->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, unit->pid, 0);
    if (unit->pid < 0)
        return error_errno(errno, "%s: cannot start the compiler", unit->command->file);
    unit->state = UNIT_RUNNING;
    service->running_count++;
    return NULL;
}

/* Waits for the unit's compiler, which has ended or is being killed; whether it did its work. */
static bool reap(struct service *service, struct unit *unit)
{
    int status = 0;
    while (waitpid(unit->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (unit->fd >= 0)
        close(unit->fd);
    unit->fd = -1;
    service->running_count--;
    return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void stop_unit(struct service *service, struct unit *unit)
{
    if (unit->state == UNIT_RUNNING) {
        (void)kill(-unit->pid, SIGKILL);
        (void)kill(unit->pid, SIGKILL); /* before it has a group */
        (void)reap(service, unit);
    }
    if (unit->state == UNIT_RUNNING || unit->state == UNIT_DONE)
        (void)unlink(unit->temporary);
    if (unit->is_own_depfile)
        (void)unlink(unit->depfile);
    stop_quick(unit);
}

/* Has the unit compiled, from the beginning if that is going on. */
static void mark(struct service *service, struct unit *unit)
{
    stop_unit(service, unit);
    unit->state = UNIT_DIRTY;
    unit->is_listing = false;
}

/* Whether one of the files from number `first` on, which were not watched while the compiler ran, was written then. */
static bool was_missed(const struct service *service, const struct unit *unit, size_t first)
{
    struct stat status;
    for (size_t i = first; i < unit->sources.count; i++)
        if (stat(service->sources.at[unit->sources.at[i]].path, &status) == 0 &&
            (status.st_mtim.tv_sec > unit->start.tv_sec ||
             (status.st_mtim.tv_sec == unit->start.tv_sec && status.st_mtim.tv_nsec >= unit->start.tv_nsec)))
            return true;
    return false;
}

/* Its compiler has ended. */
static struct crateld_error *finish(struct service *service, struct unit *unit)
{
    bool is_good = reap(service, unit), was_listing = unit->is_listing;
    unit->is_listing = false;
    if (was_listing)
        unit->state = UNIT_CLEAN;
    else
        unit->state = is_good ? UNIT_DONE : UNIT_FAILED;
    if (unit->state == UNIT_FAILED) {
        (void)unlink(unit->temporary);
        fprintf(stderr, "crateld: %s: not compiled\n", unit->command->file);
    }
    size_t count = unit->sources.count;
    struct crateld_error *error = is_good ? read_list(service, unit) : NULL;
    if (was_missed(service, unit, count))
        mark(service, unit);
    unit->has_list = true; /* or there will be none */
    if (unit->is_own_depfile || was_listing)
        (void)unlink(unit->depfile); /* the build did not leave one */
    return error;
}

/* Starts what is to be done, as many at once as there are processors; first objects, then lists. */
static struct crateld_error *start_more(struct service *service)
{
    for (int is_listing = 0; is_listing < 2; is_listing++)
        for (size_t i = 0; i < service->units.count && service->running_count < service->running_max; i++) {
            struct unit *unit = &service->units.at[i];
            bool is_due = is_listing ? unit->state == UNIT_CLEAN && !unit->has_list : unit->state == UNIT_DIRTY;
            unit->is_listing = is_due ? is_listing : unit->is_listing;
            if (is_due)
                TRY(start(service, unit));
        }
    return NULL;
}

static size_t count_units(const struct service *service, enum unit_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < service->units.count; i++)
        count += service->units.at[i].state == state && !service->units.at[i].is_listing;
    return count;
}

/* Puts all new objects in their places, unless some are still to come. */
static void publish(struct service *service)
{
    char begin = BEGIN, end = END;
    if (count_units(service, UNIT_DIRTY) || count_units(service, UNIT_RUNNING) || count_units(service, UNIT_FAILED) ||
        !count_units(service, UNIT_DONE))
        return;
    (void)!send(service->watcher, &begin, 1, MSG_NOSIGNAL);
    for (size_t i = 0; i < service->units.count; i++) {
        struct unit *unit = &service->units.at[i];
        if (unit->state != UNIT_DONE)
            continue;
        if (rename(unit->temporary, unit->command->output) != 0)
            print_error(error_errno(errno, "%s: cannot be replaced", unit->command->output));
        unit->state = UNIT_CLEAN;
        stop_quick(unit);
    }
    (void)!send(service->watcher, &end, 1, MSG_NOSIGNAL);
}

/* Tells the watcher of the quick compiler's objects, once there is one for all that an edit concerns. */
static void publish_quick(struct service *service)
{
    char message[MESSAGE_MAX] = {QUICK};
    size_t size = 1;
    for (size_t i = 0; i < service->units.count; i++) {
        const struct unit *unit = &service->units.at[i];
        if (unit->state == UNIT_CLEAN || unit->is_listing)
            continue;
        if (unit->quick != QUICK_DONE || unit->state == UNIT_FAILED)
            return;
        int length = snprintf(message + size, sizeof message - size, "%s=%s", unit->module, unit->quick_split);
        if (length < 0 || (size_t)length >= sizeof message - size)
            return;
        size += (size_t)length + 1;
    }
    if (size == 1)
        return;
    (void)!send(service->watcher, message, size, MSG_NOSIGNAL);
    for (size_t i = 0; i < service->units.count; i++)
        if (service->units.at[i].quick == QUICK_DONE)
            service->units.at[i].quick = QUICK_SENT;
}

/* Edits. */

/* Whether the file has other contents than when it was last looked at. */
static bool has_changed(struct source *source)
{
    struct file_bytes bytes = {0};
    struct crateld_error *error = file_read(source->path, &bytes);
    uint64_t hash = error ? source->hash : hash_bytes(bytes.at, bytes.size);
    bool is_changed = hash != source->hash;
    source->hash = hash;
    crateld_error_destroy(error); /* it is being replaced, and there will be another event */
    free(bytes.at);
    return is_changed;
}

/* What is made of the source is to be compiled. */
static void mark_users(struct service *service, uint32_t source)
{
    for (size_t i = 0; i < service->units.count; i++)
        for (size_t k = 0; k < service->units.at[i].sources.count; k++)
            if (service->units.at[i].sources.at[k] == source)
                mark(service, &service->units.at[i]);
}

/* A new file may be the header that was missing, or is about to be missed. */
static void retry(struct service *service)
{
    for (size_t i = 0; i < service->units.count; i++)
        if (service->units.at[i].state == UNIT_FAILED ||
            (service->units.at[i].state == UNIT_RUNNING && !service->units.at[i].is_listing))
            mark(service, &service->units.at[i]);
}

static bool is_header(const char *name)
{
    static const char *const suffixes[] = {".h", ".hh", ".hpp", ".hxx", ".inc", ".def"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof suffixes / sizeof *suffixes; i++)
        if (!strcmp(dot, suffixes[i]))
            return true;
    return false;
}

static void take_event(struct service *service, const struct inotify_event *event)
{
    size_t cursor = 0;
    uint32_t i;
    bool is_known = false;
    while ((i = hash_index_next(&service->names, hash_string(event->name), &cursor)) != HASH_INDEX_NONE) {
        struct source *source = &service->sources.at[i];
        if (source->folder != event->wd || strcmp(source->name, event->name) != 0)
            continue;
        is_known = true;
        if (has_changed(source))
            mark_users(service, i);
    }
    if (!is_known && is_header(event->name))
        retry(service);
}

static void take_events(struct service *service)
{
    static _Alignas(struct inotify_event) char buffer[64 << 10];
    ssize_t size;
    while ((size = read(service->inotify, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
            if (event->len)
                take_event(service, event);
            at += (ssize_t)(sizeof *event + event->len);
        }
}

/* The process. */

/* Waits for edits and compilers; false when the watcher has ended. */
static bool wait_for_more(struct service *service)
{
    struct pollfd *wanted AUTO_FREE = calloc(2 * service->units.count + 2, sizeof *wanted);
    nfds_t count = 2;
    if (!wanted)
        return false;
    wanted[0] = (struct pollfd){.fd = service->inotify, .events = POLLIN};
    wanted[1] = (struct pollfd){.fd = service->watcher, .events = POLLIN};
    for (size_t i = 0; i < service->units.count; i++) {
        if (service->units.at[i].state == UNIT_RUNNING)
            wanted[count++] = (struct pollfd){.fd = service->units.at[i].fd, .events = POLLIN};
        if (service->units.at[i].quick == QUICK_RUNNING)
            wanted[count++] = (struct pollfd){.fd = service->units.at[i].quick_fd, .events = POLLIN};
    }
    if (poll(wanted, count, -1) < 0)
        return errno == EINTR;
    return !wanted[1].revents;
}

/* Whether the compiler has ended. */
static bool has_ended(int fd)
{
    struct pollfd process = {.fd = fd, .events = POLLIN};
    return poll(&process, 1, 0) > 0;
}

/* Takes up what compilers have done. */
static struct crateld_error *finish_all(struct service *service)
{
    for (size_t i = 0; i < service->units.count; i++) {
        struct unit *unit = &service->units.at[i];
        if (unit->quick == QUICK_RUNNING && has_ended(unit->quick_fd))
            finish_quick(unit, true);
    }
    publish_quick(service);
    for (size_t i = 0; i < service->units.count; i++) {
        struct unit *unit = &service->units.at[i];
        if (unit->state == UNIT_RUNNING && has_ended(unit->fd))
            TRY(finish(service, unit));
    }
    return NULL;
}

static void serve(struct service *service)
{
    struct crateld_error *error = start_more(service);
    while (!error && wait_for_more(service)) {
        take_events(service); /* first: what was compiled before an edit is not wanted */
        error = finish_all(service);
        publish(service);
        if (!error)
            error = start_more(service);
    }
    for (size_t i = 0; i < service->units.count; i++)
        stop_unit(service, &service->units.at[i]);
    if (error)
        print_error(error);
}

static struct crateld_error *open_service(const struct compiler_opts *opts, struct service *ret)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *ret = (struct service){.inotify = -1, .watcher = -1, .running_max = processors > 0 ? (size_t)processors : 1};
    arena_init(&ret->arena);
    hash_index_init(&ret->names);
    ret->is_tiered = opts->is_tiered;
    TRY(compile_commands_read(opts->commands_path, &ret->commands));
    ret->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (ret->inotify < 0)
        return error_errno(errno, "cannot watch files");
    return add_units(ret, opts->commands_path, opts->objects, opts->object_count);
}

static void close_service(struct service *service)
{
    for (size_t i = 0; i < service->units.count; i++)
        free(service->units.at[i].sources.at);
    free(service->units.at);
    free(service->sources.at);
    hash_index_deinit(&service->names);
    arena_deinit(&service->arena);
    compile_commands_deinit(&service->commands);
    if (service->inotify >= 0)
        close(service->inotify);
    if (service->watcher >= 0)
        close(service->watcher);
}

/* Forks. */
static struct crateld_error *start_process(struct service *service, struct compiler *ret)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        return error_errno(errno, "cannot make a socket");
    pid_t child = fork();
    if (!child) {
        close(sockets[0]);
        service->watcher = sockets[1];
        serve(service);
        _exit(0);
    }
    close(sockets[1]);
    ret->socket = sockets[0];
    return child < 0 ? error_errno(errno, "cannot start compiling") : NULL;
}

struct crateld_error *compiler_start(const struct compiler_opts *opts, struct compiler *ret)
{
    struct service service = {.inotify = -1, .watcher = -1};
    char *tcc = NULL;
    ret->socket = -1;
    if (opts->is_tiered)
        TRY(tool_find_other("tcc", &tcc));
    free(tcc);
    struct crateld_error *error = open_service(opts, &service);
    if (!error)
        error = start_process(&service, ret);
    close_service(&service);
    return error;
}

void compiler_stop(struct compiler *compiler)
{
    if (compiler->socket >= 0)
        close(compiler->socket);
    compiler->socket = -1;
}

void compiler_settle(struct compiler *compiler, void (*take_quick)(void *context, const char *names, size_t size),
                     void *context)
{
    char message[MESSAGE_MAX];
    ssize_t size = -1;
    while (compiler->socket >= 0 && (size = recv(compiler->socket, message, sizeof message, MSG_DONTWAIT)) > 0) {
        if (message[0] == QUICK)
            take_quick(context, message + 1, (size_t)size - 1);
        while (message[0] == BEGIN && recv(compiler->socket, message, 1, 0) == 1)
            ;
    }
    if (size == 0) /* it has ended */
        compiler_stop(compiler);
}
