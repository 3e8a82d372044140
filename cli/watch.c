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
    char *module;               /* owned; "path=file", of a new one "path", as replace_modules() takes it */
    int folder;                 /* inotify's number */
    uint64_t hash;              /* of the contents that the process has */
    struct file_bytes contents; /* owned; that the file had when it was last looked at, while they are of use */
    uint64_t seen;              /* their hash */
    bool is_changed;            /* and not reloaded yet */
    bool has_come;              /* with an earlier reload */
    bool is_new;                /* the process's crate was not linked from it; one that was made since is */
};

/* The file of a crate, which the build makes anew. */
struct crate_file {
    const char *path; /* borrowed */
    const char *file; /* in it: its name */
    int folder;       /* inotify's number */
};

struct watch {
    struct replace_target target;
    struct link_note note; /* the last that was printed */
    VEC(struct watched) objects;
    VEC(struct crate_file) crates;
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
static struct crateld_error *add_object(struct watch *watch, const struct relink_module *module, bool is_patched,
                                        bool is_new)
{
    struct watched object = {
        .hash = is_patched ? 0 : module->hash, .folder = watch_folder(watch, module->path), .is_new = is_new};
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
            TRY(add_object(watch, &module, is_patched, false));
    }
    return NULL;
}

static struct crateld_error *add_crate(struct watch *watch, size_t index)
{
    const struct client_crate *crate = &watch->target.crates.list.at[index];
    const char *slash = strrchr(crate->path, '/');
    struct crate_file file = {
        .path = crate->path, .file = slash ? slash + 1 : crate->path, .folder = watch_folder(watch, crate->path)};
    if (crate->fd < 0)
        return NULL;
    TRY(add_modules(watch, &watch->target.bases[index], crate->is_patched));
    return VEC_PUSH(&watch->crates, file) ? NULL : error_memory();
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
        TRY(add_crate(ret, i));
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
    int folder = watch_folder(watch, path);
    if (folder < 0)
        return NULL;
    char *own_path = strdup(path), *module = NULL;
    if (asprintf(&module, "%.*s=%s", (int)strcspn(object->module, "="), object->module, path) < 0)
        module = NULL;
    if (!own_path || !module) {
        free(own_path);
        free(module);
        return error_memory();
    }
    free(object->path);
    free(object->module);
    object->path = own_path;
    object->module = module;
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
    free(watch->crates.at);
    hash_index_deinit(&watch->names);
    replace_close(&watch->target);
    if (watch->inotify >= 0)
        close(watch->inotify);
    if (watch->process >= 0)
        close(watch->process);
}

/* What happens. */

/* Whether the object, which is in the file, has other contents than the process has. */
static bool has_changed(struct watched *object, struct object_file *file)
{
    object->seen = object->hash;
    struct crateld_error *error = object_file_read(file, object->member, &object->seen, &object->contents);
    if (error) { /* it is being replaced, and there will be another event */
        crateld_error_destroy(error);
        return false;
    }
    return object->seen != object->hash;
}

/* Whether both are versions of one module, by what is before the '='. */
static bool is_same_module(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");
    return length == strcspn(b, "=") && !strncmp(a, b, length);
}

/* Sets *next to the object behind that of the module, which the next module mostly is. */
static bool is_watched(const struct watch *watch, const char *module, size_t *next)
{
    for (size_t n = 0; n < watch->objects.count; n++) {
        size_t i = (*next + n) % watch->objects.count;
        if (!is_same_module(watch->objects.at[i].module, module))
            continue;
        *next = i + 1;
        return true;
    }
    return false;
}

/* Watches the module from now on, unless it is known, or has no name of its own. *is_any: the process can have it. */
static struct crateld_error *take_module(struct watch *watch, const struct link_base *base,
                                         const struct relink_module *module, size_t *next, bool *is_any)
{
    uint32_t count;
    char *name AUTO_FREE = module_name(module);
    if (!name)
        return error_memory();
    if (!*module->path || is_watched(watch, name, next))
        return NULL;
    TRY(link_patch_count_modules(base, name, &count));
    if (count != 1)
        return NULL;
    size_t before = watch->objects.count;
    TRY(add_object(watch, module, false, true));
    if (watch->objects.count == before)
        return NULL;
    struct watched *added = &watch->objects.at[before];
    added->module[strcspn(added->module, "=")] = 0; /* it is no new version of another */
    added->hash = 0;
    struct object_file file = {.path = added->path};
    added->is_changed = has_changed(added, &file);
    object_file_close(&file);
    *is_any |= added->is_changed;
    return NULL;
}

/* The modules that a crate has since it was linked anew. */
static struct crateld_error *take_modules(struct watch *watch, const char *path, bool *is_any)
{
    struct link_base base = {0};
    struct relink_module module;
    size_t next = 0;
    struct crateld_error *error = link_base_open(path, path, &base);
    for (uint32_t i = 0; !error && i < base.relink.module_count; i++) {
        error = relink_view_module(&base.relink, i, &module);
        if (!error)
            error = take_module(watch, &base, &module, &next, is_any);
    }
    link_base_close(&base);
    return error;
}

/* Notes which modules are new in a crate that the event speaks of. A crate that can not be read has none. */
static bool take_crate(struct watch *watch, const struct inotify_event *event)
{
    bool is_any = false;
    for (size_t i = 0; i < watch->crates.count; i++)
        if (watch->crates.at[i].folder == event->wd && !strcmp(watch->crates.at[i].file, event->name))
            crateld_error_destroy(take_modules(watch, watch->crates.at[i].path, &is_any));
    return is_any;
}

/* Notes which objects the events speak of. */
static bool take_event(struct watch *watch, const struct inotify_event *event)
{
    bool is_any = event->len && take_crate(watch, event);
    size_t cursor = 0;
    uint32_t i;
    if (!event->len)
        return false;
    struct object_file file = {0};
    while ((i = hash_index_next(&watch->names, hash_string(event->name), &cursor)) != HASH_INDEX_NONE) {
        struct watched *object = &watch->objects.at[i];
        if (object->folder != event->wd || strcmp(object->file, event->name) != 0)
            continue;
        file.path = object->path;
        object->is_changed = has_changed(object, &file);
        is_any |= object->is_changed;
    }
    object_file_close(&file);
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

/* Reads what the process has of the object once more. */
static struct crateld_error *read_again(struct watched *object)
{
    struct object_file file = {.path = object->path};
    uint64_t hash = 0;
    struct crateld_error *error = object_file_read(&file, object->member, &hash, &object->contents);
    object_file_close(&file);
    return error;
}

/* Has the process take all that changed, and, if `with_earlier`, what came before once more. */
static struct crateld_error *reload(struct watch *watch, bool with_earlier, struct control_report *report)
{
    size_t count = 0;
    struct diff_module *modules AUTO_FREE = calloc(watch->objects.count + 1, sizeof *modules);
    if (!modules)
        return error_memory();
    for (size_t i = 0; i < watch->objects.count; i++) {
        struct watched *object = &watch->objects.at[i];
        bool is_earlier = with_earlier && object->has_come && !object->is_changed;
        if (is_earlier)
            TRY(read_again(object));
        if (object->is_changed || is_earlier)
            modules[count++] = (struct diff_module){object->module, {object->contents.at, object->contents.size}};
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

/* Whether nothing has changed but new modules, which come with what uses them. */
static bool is_all_new(const struct watch *watch)
{
    for (size_t i = 0; i < watch->objects.count; i++)
        if (watch->objects.at[i].is_changed && !watch->objects.at[i].is_new)
            return false;
    return true;
}

/* Whether one of those that have changed is another version of what has come. */
static bool has_another(const struct watch *watch)
{
    for (size_t i = 0; i < watch->objects.count; i++)
        if (watch->objects.at[i].is_changed && watch->objects.at[i].has_come)
            return true;
    return false;
}

/* What the process does not take now is part of the next attempt. */
static void handle_change(struct watch *watch, uint64_t start)
{
    struct control_report report;
    bool with_earlier = is_all_new(watch);
    if (with_earlier && !has_another(watch))
        return; /* nobody uses them yet */
    struct crateld_error *error = reload(watch, with_earlier, &report);
    if (error && !with_earlier &&
        crateld_error_code(error) == CRATELD_ERROR_UNDEFINED) { /* it may need what an earlier one brought */
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
        if (is_same_module(object->module, module))
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
