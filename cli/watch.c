/* crateld watch: replaces modules of a running process as soon as their objects are there. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "base/latency.h"
#include "cli/commands.h"
#include "cli/compile_commands.h"
#include "cli/compiler.h"
#include "cli/object_file.h"
#include "cli/replace.h"

static const char usage[] = "usage: crateld watch [--compile COMPILE_COMMANDS.json [--tiered]] PID\n"
                            "Watches the objects from which the process's crates were linked, and has it take each "
                            "that changes, until it ends.\n"
                            "  --compile FILE  compile what is edited, by the commands in FILE\n"
                            "  --tiered        take what tcc makes of it, until that is done\n"
                            "  -h, --help      show this\n";

static const struct option options[] = {{"compile", required_argument, NULL, 'c'},
                                        {"tiered", no_argument, NULL, 't'},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

enum {
    KEPT_SIZE = 1 << 20,    /* bytes of an object whose memory is used again */
    KEPT_MEMORY = 16 << 20, /* bytes of free memory */
};

/* An object that a crate was linked from. */
struct watched {
    char *path;                 /* owned; where the file is */
    const char *file;           /* in it: its name */
    char *member;               /* owned; of the archive that the file is; "": it is the object */
    char *module;               /* owned; "path=file" as replace_modules() takes it */
    int folder;                 /* inotify's number */
    uint64_t hash;              /* of the contents that the process has */
    struct file_bytes contents; /* owned; that the file had when it was last looked at, while they are of use */
    uint64_t seen;              /* their hash */
    bool is_changed;            /* and not reloaded yet */
    bool has_come;              /* with an earlier reload */
};

struct watch {
    struct replace_target target;
    struct link_note note; /* the last that was printed */
    VEC(struct watched) objects;
    struct hash_index names; /* of the files' names */
    struct compiler compiler;
    int inotify;
    int process; /* a descriptor that tells when it has ended */
};

/* What to watch. */

static int watch_folder(const struct watch *watch, const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return inotify_add_watch(watch->inotify, folder, IN_CLOSE_WRITE | IN_MOVED_TO);
}

static void release(struct watched *object)
{
    free(object->path);
    free(object->member);
    free(object->module);
    free(object->contents.at);
}

/* What the module is called, as its own new version; NULL without memory. */
static char *module_name(const struct relink_module *module)
{
    char *name;
    int length = *module->member
                     ? asprintf(&name, "%s(%s)=%s(%s)", module->path, module->member, module->path, module->member)
                     : asprintf(&name, "%s=%s", module->path, module->path);
    return length < 0 ? NULL : name;
}

/* Objects are where they were linked from, seen from here. Of a crate that is patched it is not known which versions it
 * has: whatever is written next is taken. */
static struct crateld_error *add_object(struct watch *watch, const struct relink_module *module, bool is_patched)
{
    struct watched object = {.hash = is_patched ? 0 : module->hash, .folder = watch_folder(watch, module->path)};
    if (object.folder < 0)
        return NULL; /* its folder is gone: nothing will happen there */
    object.path = strdup(module->path);
    object.member = strdup(module->member);
    object.module = module_name(module);
    const char *slash = strrchr(module->path, '/');
    if (object.path)
        object.file = object.path + (slash ? slash + 1 - module->path : 0);
    if (object.path && object.member && object.module && hash_index_add(&watch->names, hash_string(object.file)) &&
        VEC_PUSH(&watch->objects, object))
        return NULL;
    release(&object);
    return error_memory();
}

/* Members of archives are watched if they are the only ones of their names. */
static struct crateld_error *add_modules(struct watch *watch, const struct link_base *base, bool is_patched)
{
    for (uint32_t i = 0; i < base->relink.module_count; i++) {
        struct relink_module module;
        TRY(relink_view_module(&base->relink, i, &module));
        uint32_t count = !!*module.path;
        if (*module.member) {
            char *name AUTO_FREE = module_name(&module);
            if (!name)
                return error_memory();
            TRY(link_patch_count_modules(base, name, &count));
        }
        if (count == 1)
            TRY(add_object(watch, &module, is_patched));
    }
    return NULL;
}

static struct crateld_error *open_watch(pid_t id, struct watch *ret)
{
    *ret = (struct watch){.inotify = -1, .process = -1, .compiler.socket = -1};
    hash_index_init(&ret->names);
    ret->process = (int)syscall(SYS_pidfd_open, id, 0);
    if (ret->process < 0)
        return error_errno(errno, "process %d", (int)id);
    ret->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (ret->inotify < 0)
        return error_errno(errno, "cannot watch files");
    TRY(replace_open(id, &ret->target));
    for (size_t i = 0; i < ret->target.crates.list.count; i++)
        if (ret->target.crates.list.at[i].fd >= 0)
            TRY(add_modules(ret, &ret->target.bases[i], ret->target.crates.list.at[i].is_patched));
    if (!ret->objects.count)
        return error_create(CRATELD_ERROR_NOT_FOUND,
                            "process %d: none of its crates says from which objects it was linked", (int)id);
    return NULL;
}

/* The object that one of the commands makes, which is there, and is called as the member of an archive is; NULL if none
 * does, or several do. */
static const char *find_object(const struct compile_commands *commands, const char *member)
{
    const char *found = NULL;
    for (size_t i = 0; i < commands->list.count; i++) {
        const char *output = commands->list.at[i].output, *slash = strrchr(output, '/');
        if (strcmp(slash ? slash + 1 : output, member) != 0 || access(output, F_OK) != 0)
            continue;
        if (found && strcmp(found, output) != 0)
            return NULL;
        found = output;
    }
    return found;
}

/* Watches the object at `path` in place of the member that it is put into an archive as. */
static struct crateld_error *watch_instead(const struct watch *watch, struct watched *object, const char *path)
{
    char *own_path AUTO_FREE = strdup(path), *module AUTO_FREE = NULL;
    int folder = watch_folder(watch, path);
    if (asprintf(&module, "%.*s=%s", (int)strcspn(object->module, "="), object->module, path) < 0)
        module = NULL;
    if (!own_path || !module)
        return error_memory();
    if (folder < 0)
        return NULL;
    free(object->path);
    free(object->module);
    object->path = STEAL_PTR(own_path);
    object->module = STEAL_PTR(module);
    object->file = strrchr(object->path, '/') ? strrchr(object->path, '/') + 1 : object->path;
    object->folder = folder;
    *object->member = 0;
    return NULL;
}

static struct crateld_error *find_members(struct watch *watch, const struct compile_commands *commands)
{
    hash_index_deinit(&watch->names); /* of another name some will be */
    hash_index_init(&watch->names);
    for (size_t i = 0; i < watch->objects.count; i++) {
        struct watched *object = &watch->objects.at[i];
        const char *path = *object->member ? find_object(commands, object->member) : NULL;
        if (path)
            TRY(watch_instead(watch, object, path));
        if (!hash_index_add(&watch->names, hash_string(object->file)))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *start_for_objects(const struct compiler_opts *opts, struct watch *watch)
{
    size_t count = watch->objects.count;
    struct compiler_object *objects AUTO_FREE = calloc(count, sizeof *objects);
    if (!objects)
        return error_memory();
    for (size_t i = 0; i < count; i++)
        objects[i] = (struct compiler_object){watch->objects.at[i].path, watch->objects.at[i].module};
    struct compiler_opts all = *opts;
    all.objects = objects;
    all.object_count = count;
    return compiler_start(&all, &watch->compiler);
}

/* Has what is edited compiled. */
static struct crateld_error *start_compiler(struct watch *watch, const char *commands_path, bool is_tiered)
{
    struct compile_commands commands;
    struct compiler_opts opts = {.commands_path = commands_path, .is_tiered = is_tiered};
    struct crateld_error *error = compile_commands_read(commands_path, &commands);
    if (!error)
        error = find_members(watch, &commands);
    compile_commands_deinit(&commands);
    return error ? error : start_for_objects(&opts, watch);
}

static void close_watch(struct watch *watch)
{
    compiler_stop(&watch->compiler);
    for (size_t i = 0; i < watch->objects.count; i++)
        release(&watch->objects.at[i]);
    free(watch->objects.at);
    hash_index_deinit(&watch->names);
    replace_close(&watch->target);
    if (watch->inotify >= 0)
        close(watch->inotify);
    if (watch->process >= 0)
        close(watch->process);
}

/* What happens. */

/* Whether the object's file has other contents than the process has. */
static bool has_changed(struct watched *object)
{
    struct crateld_error *error = object_file_read(object->path, object->member, &object->contents);
    if (error) { /* it is being replaced, and there will be another event */
        crateld_error_destroy(error);
        return false;
    }
    object->seen = hash_bytes(object->contents.at, object->contents.size);
    return object->seen != object->hash;
}

/* Notes which objects the events speak of. */
static bool take_event(struct watch *watch, const struct inotify_event *event)
{
    bool is_any = false;
    size_t cursor = 0;
    uint32_t i;
    if (!event->len)
        return false;
    while ((i = hash_index_next(&watch->names, hash_string(event->name), &cursor)) != HASH_INDEX_NONE) {
        struct watched *object = &watch->objects.at[i];
        if (object->folder != event->wd || strcmp(object->file, event->name) != 0)
            continue;
        object->is_changed = has_changed(object);
        is_any |= object->is_changed;
    }
    return is_any;
}

static bool has_changes(const struct watch *watch)
{
    for (size_t i = 0; i < watch->objects.count; i++)
        if (watch->objects.at[i].is_changed)
            return true;
    return false;
}

/* Takes all events that are there; whether any object changed, and not back again since. */
static bool take_events(struct watch *watch)
{
    static _Alignas(struct inotify_event) char buffer[64 << 10];
    bool is_any = false;
    ssize_t size;
    while ((size = read(watch->inotify, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
            is_any |= take_event(watch, event);
            at += (ssize_t)(sizeof *event + event->len);
        }
    return is_any && has_changes(watch);
}

static void print_error(struct crateld_error *error)
{
    (void)command_failed(error); /* what it prints is all that is wanted */
}

/* Has the process take all that changed, and, if `with_earlier`, what came before once more. */
static struct crateld_error *reload(struct watch *watch, bool with_earlier, struct control_report *report)
{
    size_t count = 0;
    struct diff_module *modules AUTO_FREE = calloc(watch->objects.count + 1, sizeof *modules);
    if (!modules)
        return error_memory();
    for (size_t i = 0; i < watch->objects.count; i++) {
        const struct watched *object = &watch->objects.at[i];
        if (object->is_changed)
            modules[count++] = (struct diff_module){object->module, {object->contents.at, object->contents.size}};
        else if (with_earlier && object->has_come)
            modules[count++].name = object->module;
    }
    return replace_modules(&watch->target, modules, count, false, report);
}

/* Notes what the process has now. A file that was replaced since has another event. */
static void note_reloaded(struct watch *watch)
{
    for (size_t i = 0; i < watch->objects.count; i++) {
        struct watched *object = &watch->objects.at[i];
        if (!object->is_changed)
            continue;
        object->hash = object->seen;
        object->is_changed = false;
        object->has_come = true;
        if (object->contents.capacity <= KEPT_SIZE)
            continue;
        free(object->contents.at);
        object->contents = (struct file_bytes){0};
    }
}

/* Says what is to be said of the reload, unless it was said of the one before. */
static void print_note(struct watch *watch)
{
    if (strcmp(watch->note.text, watch->target.changes.note.text) != 0)
        on_change_print(&watch->target.changes);
    watch->note = watch->target.changes.note;
}

/* Makes ready for the next reload. */
static void prepare(struct watch *watch)
{
    crateld_error_destroy(replace_prepare(&watch->target)); /* the next attempt says what is wrong */
    replace_announce(&watch->target);
}

/* What the process does not take now is part of the next attempt. */
static void handle_change(struct watch *watch, uint64_t start)
{
    struct control_report report;
    struct crateld_error *error = reload(watch, false, &report);
    if (error && crateld_error_code(error) == CRATELD_ERROR_UNDEFINED) { /* it may need what an earlier one brought */
        struct crateld_error *again = reload(watch, true, &report);
        crateld_error_destroy(again ? again : error);
        error = again ? error : NULL;
    }
    if (error) {
        print_error(error);
    } else {
        note_reloaded(watch);
        replace_print("reloaded", &report, clock_nanoseconds() - start);
        print_note(watch);
        fflush(stdout);
    }
    prepare(watch);
}

/* Of objects that were replaced in another way than by their files it is not known what the process has. */
static void note_replaced(struct watch *watch, const char *module)
{
    for (size_t i = 0; i < watch->objects.count; i++) {
        struct watched *object = &watch->objects.at[i];
        size_t length = strcspn(object->module, "=") + 1;
        if (!strncmp(object->module, module, length))
            object->hash = 0;
    }
}

/* Takes the quick compiler's objects. If that can not be, or something else is to be taken, the other compiler's are
 * waited for. */
static void take_quick(void *context, const char *names, size_t size)
{
    struct watch *watch = context;
    struct control_report report;
    uint64_t start = clock_nanoseconds();
    size_t count = 0;
    struct diff_module *modules AUTO_FREE = calloc(size + 1, sizeof *modules);
    for (size_t i = 0; i < watch->objects.count; i++)
        if (watch->objects.at[i].is_changed)
            return;
    for (const char *name = names; modules && name < names + size; name += strlen(name) + 1)
        modules[count++].name = name;
    struct crateld_error *error =
        modules ? replace_modules(&watch->target, modules, count, false, &report) : error_memory();
    for (size_t i = 0; !error && i < count; i++)
        note_replaced(watch, modules[i].name);
    if (!error)
        replace_print("reloaded by tcc", &report, clock_nanoseconds() - start);
    fflush(stdout);
    crateld_error_destroy(error);
    prepare(watch);
}

static void serve(struct watch *watch)
{
    for (;;) {
        struct pollfd wanted[] = {{.fd = watch->inotify, .events = POLLIN},
                                  {.fd = watch->process, .events = POLLIN},
                                  {.fd = watch->compiler.socket, .events = POLLIN}};
        if (poll(wanted, 3, -1) < 0 && errno != EINTR)
            return;
        if (wanted[1].revents)
            return;
        uint64_t start = clock_nanoseconds();
        compiler_settle(&watch->compiler, take_quick, watch);
        if (wanted[0].revents && take_events(watch))
            handle_change(watch, start);
    }
}

int cmd_watch(int argc, char **argv)
{
    struct watch watch;
    const char *compile = NULL;
    bool is_tiered = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) == 'c' || option == 't') {
        compile = option == 'c' ? optarg : compile;
        is_tiered |= option == 't';
    }
    char *end = NULL;
    long id = option < 0 && argc - optind == 1 ? strtol(argv[optind], &end, 10) : 0;
    if (option == 'h' || id <= 0 || *end || (is_tiered && !compile)) {
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
    }
    /* Memory that one reload took is there for the next. */
    (void)mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
    struct crateld_error *error = open_watch((pid_t)id, &watch);
    if (!error && compile)
        error = start_compiler(&watch, compile, is_tiered);
    latency_prefer(); /* but not for compilers */
    if (!error) {
        prepare(&watch);
        serve(&watch);
    }
    close_watch(&watch);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}
