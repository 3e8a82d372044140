#define _GNU_SOURCE
#include "loader/unload.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "loader/address_index.h"
#include "loader/current.h"
#include "loader/debugger.h"
#include "loader/heap.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/start.h"

/* Crates that go together, each before those that it needs. */
struct unloading {
    VEC(struct loaded_crate *) crates;
};

static bool has_vague_winner(const struct process *process, const struct loaded_crate *crate)
{
    for (size_t i = 0; i < process->vague.count; i++)
        if (process->vague.at[i].crate == crate)
            return true;
    return false;
}

/* Why the crate stays even if no other needs it; NULL: it need not. */
static const char *why_kept(const struct process *process, const struct loaded_crate *crate)
{
    uint32_t state = atomic_load_explicit(&((struct loaded_crate *)crate)->state, memory_order_relaxed);
    if (crate == current_entry())
        return "it is the program";
    if (crate->hold_count)
        return "it is still open";
    if (crate->is_kept)
        return "others than crates may refer to it";
    if (crate->versions || crate->view.header.flags & CRATE_FLAG_PATCH)
        return "it is patched, or a patch";
    if (crate->tls.module)
        return "threads may have its thread-locals";
    if (state == LOADED_ACTIVATING)
        return "it is being activated";
    return has_vague_winner(process, crate) ? "others may use its copy of a common definition" : NULL;
}

static void mark_reachable(struct loaded_crate *crate, const char *reason)
{
    crate = loaded_image(crate);
    if (crate->is_reachable)
        return;
    crate->is_reachable = true;
    LOG(LOG_LOAD, "%s: stays: %s", crate->path, reason);
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++)
        if (crate->needed[i].crate)
            mark_reachable(crate->needed[i].crate, "a crate that stays needs it");
}

/* Adds the crate behind all that it needs, as far as they go. There is room. */
static void add_behind_needed(struct unloading *unloading, struct loaded_crate *crate)
{
    crate = loaded_image(crate);
    if (crate->is_reachable || crate->is_ordered)
        return;
    crate->is_ordered = true;
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++)
        if (crate->needed[i].crate)
            add_behind_needed(unloading, crate->needed[i].crate);
    unloading->crates.at[unloading->crates.count++] = crate;
}

static void reverse(struct unloading *unloading)
{
    struct loaded_crate **at = unloading->crates.at;
    for (size_t i = 0, k = unloading->crates.count; i + 1 < k; i++) {
        struct loaded_crate *other = at[--k];
        at[k] = at[i];
        at[i] = other;
    }
}

/* Finds what nothing keeps, and takes it from the process, so that nobody finds it any more. */
static void choose(struct process *process, struct unloading *unloading)
{
    if (!VEC_RESERVE(&unloading->crates, process->crates.count))
        return; /* it stays, until the next time */
    for (size_t i = 0; i < process->crates.count; i++)
        process->crates.at[i]->is_reachable = process->crates.at[i]->is_ordered = false;
    for (size_t i = 0; i < process->crates.count; i++) {
        const char *reason = why_kept(process, process->crates.at[i]);
        if (reason)
            mark_reachable(process->crates.at[i], reason);
    }
    for (size_t i = 0; i < process->crates.count; i++)
        add_behind_needed(unloading, process->crates.at[i]);
    reverse(unloading);
    for (size_t i = 0; i < unloading->crates.count; i++)
        process_remove(process, unloading->crates.at[i]);
}

/* Takes the crate from the list of those that use another, to which others may be adding themselves. */
static void leave_users(struct loaded_needed *needed)
{
    uint64_t *place = loaded_users(needed->crate), node = (uint64_t)(uintptr_t)&needed->use;
    uint64_t next = (uint64_t)(uintptr_t)needed->use.next;
    if (!atomic_load(&needed->is_used))
        return;
    if (__atomic_compare_exchange_n(place, &node, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    /* It is not the first any more; those behind the first are changed here alone. */
    struct loaded_user *user = (struct loaded_user *)(uintptr_t)__atomic_load_n(place, __ATOMIC_ACQUIRE);
    while (user && user->next != &needed->use)
        user = user->next;
    if (user)
        user->next = needed->use.next;
}

/* Unmaps the crate, and forgets what is known of it. Crates that it needs may have gone before it. */
static void unload(struct process *process, struct loaded_crate *crate)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++)
        if (crate->needed[i].crate && crate->needed[i].crate->is_reachable)
            leave_users(&crate->needed[i]);
    heap_leave(crate);
    address_index_remove(crate);
    debugger_hide(crate);
    LOG(LOG_LOAD, "%s: unloaded", crate->path);
    image_unload(crate, &process->region);
    process_recycle(process, crate);
}

void unload_patch(struct loaded_crate *patch, bool keeps_constants)
{
    struct process *process = patch->process;
    uint32_t count = crate_view_count(&patch->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++)
        if (patch->needed[i].crate)
            leave_users(&patch->needed[i]);
    process_remove(process, patch);
    address_index_remove(patch);
    debugger_hide(patch);
    image_retire(patch, keeps_constants);
    process_recycle_patch(process, patch);
}

static void block_signals(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void unload_hold(struct loaded_crate *crate)
{
    crate->hold_count++;
}

/* One round; whether anything was unloaded. */
static bool unload_some(struct process *process)
{
    struct unloading unloading = {0};
    sigset_t before;
    block_signals(&before); /* a handler that binds must not find things half done */
    process_lock(process);
    choose(process, &unloading);
    process_unlock(process);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (size_t i = 0; i < unloading.crates.count; i++)
        start_end_crate(unloading.crates.at[i]);
    block_signals(&before);
    process_lock(process);
    /* The last to be mapped first, as a rule. */
    for (size_t i = unloading.crates.count; i > 0; i--)
        unload(process, unloading.crates.at[i - 1]);
    process_unlock(process);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(unloading.crates.at);
    return unloading.crates.count;
}

void unload_release(struct loaded_crate *crate)
{
    static bool is_unloading, is_changed; /* guarded by the start lock */
    struct process *process = crate->process;
    bool was_any = false;
    pthread_mutex_lock(&process->start_lock);
    process_lock(process);
    if (crate->hold_count && !--crate->hold_count)
        is_changed = true;
    process_unlock(process);
    /* What finalisers let go of comes afterwards: they may need it still. */
    for (bool is_outer = !is_unloading; is_outer && is_changed;) {
        is_unloading = true;
        is_changed = false;
        was_any |= unload_some(process);
        is_unloading = false;
    }
    pthread_mutex_unlock(&process->start_lock);
    if (was_any)
        debugger_notify();
}
