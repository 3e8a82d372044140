#define _GNU_SOURCE
#include "loader/start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "loader/activate.h"
#include "loader/agent.h"
#include "loader/bind.h"
#include "loader/bundle.h"
#include "loader/carried.h"
#include "loader/current.h"
#include "loader/debugger.h"
#include "loader/fresh.h"
#include "loader/heap.h"
#include "loader/log.h"
#include "loader/low.h"
#include "loader/patch.h"
#include "loader/starters.h"

/* glibc's; C++ ABI 3.3.6.3. */
extern void __cxa_finalize(void *dso_handle);
extern int __cxa_atexit(void (*function)(void *), void *argument, void *dso_handle);

/* What initialisers get; also of crates that are loaded later. */
static struct start_args program_args;

struct start_list {
    VEC(struct start_item) items;
};

static struct crateld_error *order_needed(struct loaded_crate *crate, struct start_list *list);

/* The same for a member of a bundle, which is opened later than that. */
static struct crateld_error *order_member(struct loaded_crate *member, struct start_list *list)
{
    for (uint32_t k = 0;; k++) {
        struct loaded_crate *crate;
        struct elf_library *library;
        bool is_library_eager;
        TRY(bundle_member_need(member, k, &crate, &library, &is_library_eager));
        if (!crate && !library)
            break;
        if (library)
            library->is_eager |= is_library_eager;
        if (library && !VEC_PUSH(&list->items, (struct start_item){.library = library}))
            return error_memory();
        if (crate && !crate->is_ordered)
            TRY(order_needed(crate, list));
    }
    return VEC_PUSH(&list->items, (struct start_item){.crate = member}) ? NULL : error_memory();
}

/* The members with initialisers that a bundle's first member needs; the linker has put them into order. */
static struct crateld_error *order_starts(struct loaded_crate *bundle, struct start_list *list)
{
    for (uint32_t i = 0; i < crate_view_count(&bundle->view, CRATE_TABLE_STARTS); i++) {
        struct loaded_crate *member;
        uint32_t number;
        TRY(activate_check_meta(bundle));
        TRY(crate_view_start(&bundle->view, i, &number));
        TRY(bundle_member(bundle, number, &member));
        if (!member->is_ordered && !VEC_PUSH(&list->items, (struct start_item){.crate = member}))
            return error_memory();
        member->is_ordered = true;
    }
    return NULL;
}

/* Depth first. As deep as the longest chain of crates that need each other. */
static struct crateld_error *order_needed(struct loaded_crate *crate, struct start_list *list)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    crate->is_ordered = true;
    if (crate->bundle)
        return order_member(crate, list);
    for (uint32_t i = 0; i < count; i++) {
        const struct loaded_needed *needed = &crate->needed[i];
        if (needed->library && !VEC_PUSH(&list->items, (struct start_item){.library = needed->library}))
            return error_memory();
        if (needed->crate && !needed->crate->is_ordered)
            TRY(order_needed(needed->crate, list));
    }
    TRY(order_starts(crate, list));
    if (!VEC_PUSH(&list->items, (struct start_item){.crate = crate}))
        return error_memory();
    return NULL;
}

struct crateld_error *start_order(struct loaded_crate *crate, struct start_item **ret, size_t *ret_count)
{
    struct start_list list = {0};
    struct process *process = crate->process;
    for (size_t i = 0; i < process->crates.count; i++) {
        process->crates.at[i]->is_ordered = false;
        bundle_forget_order(process->crates.at[i]);
    }
    struct crateld_error *error = order_needed(crate, &list);
    if (error) {
        free(list.items.at);
        return error;
    }
    *ret = list.items.at;
    *ret_count = list.items.count;
    return NULL;
}

typedef void initialiser(int, char **, char **);

/* A pointer to an initialiser as the program sees it. */
static initialiser *array_function(const struct loaded_crate *crate, struct crate_array array, uint32_t i)
{
    initialiser *function;
    memcpy(&function, crate->base + array.rva + i * sizeof function, sizeof function);
    return function;
}

static void call_array(const struct loaded_crate *crate, struct crate_array array)
{
    for (uint32_t i = 0; i < array.count; i++) {
        initialiser *function = array_function(crate, array, i);
        /* Linkers' and compilers' marks for no function, as ld.so knows them. */
        if (function && (uintptr_t)function != UINTPTR_MAX)
            function(program_args.argc, program_args.argv, program_args.envp);
    }
}

/* Crates that were loaded while the program runs, newest first. */
static struct loaded_crate *late_crates;

static void call_finalisers(const struct loaded_crate *crate)
{
    LOG(LOG_INIT, "%s: finalisers", crate->path);
    for (uint32_t i = crate->view.header.fini_array.count; i > 0; i--) {
        initialiser *function = array_function(crate, crate->view.header.fini_array, i - 1);
        if (function && (uintptr_t)function != UINTPTR_MAX)
            ((void (*)(void))function)();
    }
}

/* An exit handler of a crate that was started before the entry crate. */
static void finish_library(void *argument)
{
    call_finalisers(argument);
}

/* The entry crate's exit handler. */
static void finish_program(void *argument)
{
    for (const struct loaded_crate *crate = late_crates; crate; crate = crate->next_late)
        call_finalisers(crate);
    call_finalisers(argument);
}

/* Runs the crate's initialisers, once, and has its finalisers run where ld.so would. That is: at exit first the
 * handlers that were registered (by atexit or C++) since the entry crate's start, its own constructors' among them;
 * then the finalisers of crates that came later, and of the entry crate; then for each library, in reverse order, its
 * finalisers and the handlers that its constructors registered. */
static struct crateld_error *initialise(struct loaded_crate *crate)
{
    bool is_entry = crate == current_entry(), is_late = current_entry() && current_entry()->is_initialised && !is_entry;
    if (crate->is_initialised)
        return NULL;
    crate->is_initialised = true;
    if (is_entry && __cxa_atexit(finish_program, crate, NULL) != 0)
        return error_memory();
    LOG(LOG_INIT, "%s: initialisers", crate->path);
    call_array(crate, crate->view.header.init_array);
    if (!crate->view.header.fini_array.count || is_entry)
        return NULL;
    if (!is_late) {
        crate->is_kept = true; /* until exit: handlers can not be taken back */
        return __cxa_atexit(finish_library, crate, NULL) == 0 ? NULL : error_memory();
    }
    crate->next_late = late_crates;
    late_crates = crate;
    return NULL;
}

void start_end_crate(struct loaded_crate *crate)
{
    struct loaded_crate **place = &late_crates;
    if (!loaded_is_active(crate))
        return;
    /* Its __dso_handle is the field of the TOC; C's atexit() passes what that holds, C++ its address. */
    __cxa_finalize(crate);
    __cxa_finalize(&crate->toc->crate);
    while (*place && *place != crate)
        place = &(*place)->next_late;
    if (!*place)
        return; /* it has no finalisers, or they never were to run */
    *place = crate->next_late;
    call_finalisers(crate);
}

/* Whether the item is started before its first use. */
static bool is_eager(const struct start_item *item, const struct loaded_crate *root)
{
    if (item->library)
        return item->library->is_eager && !item->library->is_resident;
    return item->crate == root || item->crate->view.header.flags & CRATE_FLAG_EAGER;
}

static struct crateld_error *activate_items(const struct start_item *items, size_t count,
                                            const struct loaded_crate *root)
{
    struct crateld_error *errors = NULL;
    for (size_t i = 0; i < count; i++) {
        if (items[i].crate && is_eager(&items[i], root))
            errors = error_join(errors, activate_crate(items[i].crate));
    }
    return errors;
}

/* Binds the imports of all crates among the items, which activates them all. */
static struct crateld_error *bind_items(const struct start_item *items, size_t count)
{
    struct crateld_error *errors = NULL;
    for (size_t i = 0; i < count; i++)
        if (items[i].crate)
            errors = error_join(errors, activate_crate(items[i].crate));
    if (errors)
        return errors;
    for (size_t i = 0; i < count; i++) { /* from here on what others provide is there */
        struct crateld_error *error = NULL;
        if (items[i].library)
            error = items[i].library->is_resident ? NULL : elf_library_open(items[i].library);
        else if (!items[i].crate->bundle)
            error = bind_all_functions(items[i].crate);
        errors = error_join(errors, error);
    }
    return errors;
}

static struct crateld_error *initialise_items(const struct start_item *items, size_t count,
                                              const struct loaded_crate *root)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_eager(&items[i], root))
            continue;
        if (items[i].library)
            TRY(elf_library_open(items[i].library));
        else
            TRY(initialise(items[i].crate));
    }
    return NULL;
}

/* Maps the patches that were asked for. */
static struct crateld_error *load_patches(struct process *process)
{
    struct loaded_crate *patch;
    for (size_t i = 0; i < process->opts.patch_count; i++)
        TRY(patch_load(process, process->opts.patches[i], &patch));
    return NULL;
}

/* What patches have that the crates had not. */
static void start_patches(const struct process *process)
{
    for (size_t i = 0; i < process->crates.count; i++)
        if (process->crates.at[i]->view.header.flags & CRATE_FLAG_PATCH)
            starters_run(process->crates.at[i]);
}

void start_call(uint64_t address)
{
    initialiser *function = (initialiser *)(uintptr_t)address;
    function(program_args.argc, program_args.argv, program_args.envp);
}

static struct crateld_error *start_items(const struct start_item *items, size_t count, struct loaded_crate *root,
                                         bool binds_now)
{
    struct process *process = root->process;
    process_lock(process);
    debugger_show(process); /* also crates that are activated later: their break points are set now */
    /* Patches come into effect in the order in which they were loaded: of a module of which several have a version,
     * that of the last one counts. */
    bool is_program = root == current_entry(), has_patches = false;
    struct crateld_error *error = is_program ? NULL : carried_commit(process, &has_patches);
    if (!error)
        error = activate_items(items, count, root);
    if (!error && is_program)
        error = carried_commit(process, &has_patches);
    if (!error && binds_now)
        error = bind_items(items, count);
    process_unlock(process);
    if (error)
        return error;
    debugger_notify();
    /* Its thread gets the thread-locals of the program's crates: those are there now. */
    if (is_program && process->opts.is_watched)
        TRY(agent_watch(process->opts.compile_commands, process->opts.is_tiered));
    if (is_program)
        call_array(root, root->view.header.preinit_array);
    TRY(initialise_items(items, count, root));
    if (has_patches)
        start_patches(process);
    return NULL;
}

/* Activates, and runs initialisers. */
static struct crateld_error *start_all(struct loaded_crate *root, bool binds_now)
{
    struct start_item *items AUTO_FREE = NULL;
    size_t count = 0;
    process_lock(root->process);
    struct crateld_error *error = start_order(root, &items, &count);
    process_unlock(root->process);
    return error ? error : start_items(items, count, root, binds_now);
}

struct crateld_error *start_crate(struct loaded_crate *crate, bool binds_now)
{
    pthread_mutex_lock(&crate->process->start_lock);
    struct crateld_error *error = start_all(crate, binds_now);
    pthread_mutex_unlock(&crate->process->start_lock);
    return error;
}

/* What others see of the program's name. */
static void name_program(const char *name)
{
    const char *slash = strrchr(name, '/');
    program_invocation_name = (char *)name;
    program_invocation_short_name = slash ? (char *)slash + 1 : (char *)name;
    (void)prctl(PR_SET_NAME, program_invocation_short_name);
}

struct crateld_error *start_program(struct process *process, const char *path, const struct start_args *args)
{
    struct loaded_crate *crate = NULL;
    program_args = *args;
    TRY(carried_load(process, path, &crate));
    if (!crate->view.header.entry_rva)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: has no entry function: it is a library, or was linked without "
                            "one that is called main",
                            path);
    if (process->opts.is_fresh)
        TRY(fresh_load(process));
    TRY(load_patches(process));
    TRY(low_check(process, args));
    current_set(process, crate);
    if (!process->opts.trace) /* text with traps can not be changed */
        agent_init(process);
    program_args.argv[0] = (char *)args->name;
    name_program(args->name);
    process_lock(process);
    struct crateld_error *error = heap_open(process); /* it belongs to this thread, whoever uses it first */
    process_unlock(process);
    if (error)
        return error;
    TRY(start_crate(crate, process->opts.binds_now));
    log_print_stats();
    int (*entry)(int, char **, char **) =
        (int (*)(int, char **, char **))(uintptr_t)loaded_address(crate, crate->view.header.entry_rva);
    exit(entry(args->argc, args->argv, args->envp));
}
