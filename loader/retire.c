#define _GNU_SOURCE
#include "loader/retire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "loader/debugger.h"
#include "loader/entry_stubs.h"
#include "loader/log.h"
#include "loader/park.h"
#include "loader/patch.h"
#include "loader/return_search.h"
#include "loader/unload.h"
#include "loader/valgrind.h"
#include "loader/versions.h"

enum {
    ENOUGH = 32,                /* versions that could go: it is worth holding the threads */
    PAUSE_S = 2,                /* between two searches */
    COPIED_MAX_PAGES = 1 << 16, /* of private memory, 256 MiB: to copy their page tables takes some 5 ms */
};

/* What goes on. */
static struct {
    struct return_search *search; /* owned; NULL: none is */
    pid_t child;
    uint64_t next_ns;     /* no search before that */
    char obstacle[160];   /* why the last search could not be made; "": it was */
    uint64_t held_ns;     /* for which threads were held by the last one */
    uint32_t retired;     /* versions that have gone so far */
    uint32_t constants;   /* of which constants stay */
    size_t constant_size; /* bytes of those */
} retiring;

/* Why a version stays. */

static bool is_in_history(const struct process *process, const struct loaded_crate *patch)
{
    for (size_t i = 0; i < process->history.count; i++) {
        const struct version_set *set = process->history.at[i];
        for (size_t k = 0; k < set->active.count; k++)
            if (set->active.at[k].patch == patch)
                return true;
        for (size_t k = 0; k < set->places.count; k++)
            if (set->places.at[k].crate == patch)
                return true;
    }
    return false;
}

static bool is_within(const struct loaded_crate *patch, const void *address)
{
    return (uint64_t)(uintptr_t)address - loaded_address(patch, 0) < patch->view.header.image_size;
}

/* Whether variables are in the patch, or names of what the base does not have. */
static bool has_variables(const struct loaded_crate *patch)
{
    const struct versions *versions = patch->needed[0].crate->versions;
    for (size_t i = 0; i < versions->variables.count; i++)
        for (const struct moved_variable *at = &versions->variables.at[i]; at; at = at->others)
            if (at->crate == patch || is_within(patch, at->name))
                return true;
    for (size_t i = 0; i < versions->fresh.count; i++)
        if (versions->fresh.at[i].patch == patch)
            return true;
    for (size_t i = 0; i < versions->started.count; i++)
        if (is_within(patch, versions->started.at[i].name))
            return true;
    return false;
}

/* Whether a place of the base still leads to the patch: old text that is left as it is. The patch's sites are all that
 * ever did. */
static bool has_site(const struct loaded_crate *patch)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_SITES); i++) {
        const struct crate_site *site = &patch->view.sites[i]; /* checked when they took effect */
        bool is_wide = site->kind == CRATE_FIXUP_ABS64;
        uint64_t value = 0;
        int32_t narrow;
        if (is_wide) {
            memcpy(&value, base->base + site->place_rva, sizeof value);
        } else {
            memcpy(&narrow, base->base + site->place_rva, sizeof narrow);
            value = site->kind == CRATE_FIXUP_PC32 ? loaded_address(base, site->place_rva) + (uint64_t)(int64_t)narrow
                                                   : (uint32_t)narrow;
        }
        value -= (uint64_t)site->addend;
        if (value - loaded_address(patch, 0) <= patch->view.header.image_size)
            return true;
    }
    return false;
}

/* Whether the patch is one that was in effect, and is not now. */
static bool is_superseded(const struct loaded_crate *crate)
{
    return crate->view.header.flags & CRATE_FLAG_PATCH && crate->is_active_module && loaded_is_active(crate) &&
           !versions_is_active(crate);
}

/* Why the superseded patch must stay, whoever is in it; NULL: it need not. */
static const char *why_kept(const struct process *process, const struct loaded_crate *patch)
{
    if (is_in_history(process, patch))
        return "it can be rolled back to";
    if (!(patch->view.header.flags & CRATE_FLAG_PRIVATE_CODE))
        return "its functions or tables have addresses that others may have";
    if (has_variables(patch))
        return "variables are in it";
    if (entry_stubs_need(patch))
        return "others may have the address of a function that came with it";
    if (patch->has_faulted)
        return "it is not to be loaded again";
    if (patch->tls.module)
        return "threads have its thread-locals";
    if (process->heap_library)
        return "the program has a collected heap";
    if (patch->is_kept || patch->hold_count)
        return "others than crates may refer to it";
    return has_site(patch) ? "old code calls it" : NULL;
}

/* Searching. */

/* Pages of private memory that the process has. */
static size_t private_pages(void)
{
    char text[128] = "", *at = text;
    int fd AUTO_CLOSE = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return SIZE_MAX;
    size_t pages[3]; /* all, resident, and shared ones of those */
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        pages[i] = strtoul(at, &at, 10);
    return pages[1] >= pages[2] ? pages[1] - pages[2] : SIZE_MAX;
}

static int compare_targets(const void *a, const void *b)
{
    const struct return_target *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* Enters what could go. */
static void choose(const struct process *process, struct return_search *search)
{
    for (size_t i = 0; i < process->crates.count && search->count < RETURN_SEARCH_MAX; i++) {
        struct loaded_crate *patch = process->crates.at[i];
        if (!is_superseded(patch) || why_kept(process, patch))
            continue;
        const struct crate_segment *text = &patch->view.header.segments[CRATE_SEGMENT_TEXT];
        uint64_t start = loaded_address(patch, 0);
        search->targets[search->count++] = (struct return_target){
            .crate = patch,
            .start = start,
            .end = start + patch->view.header.image_size,
            .text = start + text->rva,
            .text_end = start + text->rva + text->mem_size,
        };
        patch->is_sought = true; /* until it is in effect again */
    }
    qsort(search->targets, search->count, sizeof *search->targets, compare_targets);
}

/* Notes why no search is made. */
static void note_obstacle(struct crateld_error *error)
{
    snprintf(retiring.obstacle, sizeof retiring.obstacle, "%s", crateld_error_message(error));
    crateld_error_destroy(error);
}

static void end_search(void)
{
    return_search_destroy(retiring.search);
    retiring.search = NULL;
    retiring.next_ns = clock_nanoseconds() + (uint64_t)PAUSE_S * 1000000000;
}

/* Under the lock: nobody is about to bind to a version that is superseded by now. */
static struct crateld_error *begin_search(struct return_search *search)
{
    size_t pages = private_pages();
    if (pages > COPIED_MAX_PAGES)
        return error_create(CRATELD_ERROR_RANGE,
                            "the program has %zu MiB of memory of its own: to look through it would stop it for long",
                            pages >> 8);
    if (!park_own_stack(&search->stack, &search->stack_end))
        return error_memory();
    return return_search_start(search, &retiring.child, &retiring.held_ns);
}

/* Whether enough could go that were not searched for yet. */
static bool has_enough(const struct process *process)
{
    size_t count = 0;
    for (size_t i = 0; i < process->crates.count; i++)
        count += is_superseded(process->crates.at[i]) && !process->crates.at[i]->is_sought &&
                 !why_kept(process, process->crates.at[i]);
    return count >= ENOUGH;
}

static void begin(struct process *process)
{
    struct crateld_error *error = NULL;
    process_lock(process);
    if (!valgrind_is_running() && has_enough(process) && (retiring.search = return_search_create())) {
        choose(process, retiring.search);
        error = retiring.search->count ? begin_search(retiring.search) : NULL;
        bool has_begun = !error && retiring.search->count;
        if (!has_begun)
            end_search();
        else
            *retiring.obstacle = 0;
    }
    process_unlock(process);
    if (error)
        note_obstacle(error);
}

/* Letting go. */

/* Of a file that a reload has brought, what is not mapped any more takes no room. */
static void shrink_file(const char *path, const struct crate_segment *constants)
{
    off_t end = (off_t)(constants->rva + constants->mem_size + CRATE_PAGE_SIZE - 1) & ~(off_t)(CRATE_PAGE_SIZE - 1);
    int fd AUTO_CLOSE = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)constants->rva);
    (void)!ftruncate(fd, end);
}

static void retire(struct loaded_crate *patch)
{
    const struct crate_segment constants = patch->view.header.segments[CRATE_SEGMENT_RODATA];
    bool has_constants = constants.mem_size && !(patch->view.header.flags & CRATE_FLAG_PRIVATE_CONSTANTS);
    bool is_file_ours = patch->is_file_ours;
    const char *path = patch->path; /* until the record is used again */
    LOG(LOG_LOAD, "%s: retired", path);
    versions_remove(patch);
    retiring.retired++;
    retiring.constants += has_constants;
    retiring.constant_size += has_constants ? constants.mem_size : 0;
    unload_patch(patch, has_constants);
    if (is_file_ours && has_constants)
        shrink_file(path, &constants);
    if (is_file_ours)
        (void)unlink(path);
}

/* Lets go of those that nothing was found for; of others it is noted what was. */
static void take_verdict(struct process *process, const struct return_search *search)
{
    bool was_any = false;
    process_lock(process);
    for (uint32_t i = 0; i < search->count; i++) {
        struct loaded_crate *patch = search->targets[i].crate;
        snprintf(patch->found_where, sizeof patch->found_where, "%s", search->targets[i].where);
        if (search->targets[i].is_found || !patch->is_sought || why_kept(process, patch))
            continue;
        was_any = true;
        retire(patch);
    }
    process_unlock(process);
    if (was_any)
        debugger_notify();
}

void retire_serve(struct process *process)
{
    if (!retiring.search) {
        if (clock_nanoseconds() >= retiring.next_ns)
            begin(process);
        return;
    }
    if (!waitpid(retiring.child, NULL, WNOHANG | __WALL))
        return;
    if (retiring.search->is_done && !*retiring.search->failure)
        take_verdict(process, retiring.search);
    else
        snprintf(retiring.obstacle, sizeof retiring.obstacle, "%s",
                 retiring.search->is_done ? retiring.search->failure : "the process that looked for users was ended");
    end_search();
}

bool retire_is_busy(void)
{
    return retiring.search;
}

void retire_forget(void)
{
    return_search_destroy(retiring.search);
    retiring.search = NULL;
}

/* Telling. */

void retire_tell(const struct process *process, void (*tell)(void *context, const char *line), void *context)
{
    char line[512];
    for (size_t i = 0; i < process->crates.count; i++) {
        const struct loaded_crate *patch = process->crates.at[i];
        if (!is_superseded(patch))
            continue;
        const char *reason = why_kept(process, patch);
        snprintf(line, sizeof line, "%s: superseded, %zu KiB: %s%s", patch->name,
                 (size_t)patch->view.header.image_size >> 10,
                 reason                ? reason
                 : *patch->found_where ? patch->found_where
                                       : "not looked for yet",
                 reason || !*patch->found_where ? "" : " leads to it");
        tell(context, line);
    }
    if (log_state.functions_replaced) {
        snprintf(line, sizeof line, "%u functions replaced so far: %u in place, %u fresh", log_state.functions_replaced,
                 log_state.functions_in_place, log_state.functions_replaced - log_state.functions_in_place);
        tell(context, line);
    }
    if (retiring.retired || *retiring.obstacle) {
        snprintf(
            line, sizeof line,
            "%u superseded versions retired, the last with a pause of %.3f ms; constants of %u of them stay, %zu KiB",
            retiring.retired, (double)retiring.held_ns / 1e6, retiring.constants,
            (retiring.constant_size + 1023) >> 10);
        tell(context, line);
    }
    if (*retiring.obstacle) {
        snprintf(line, sizeof line, "the latest are not retired: %s", retiring.obstacle);
        tell(context, line);
    }
}
