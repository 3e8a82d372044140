#define _GNU_SOURCE
#include "loader/patch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crate/check.h"
#include "loader/activate.h"
#include "loader/change.h"
#include "loader/current.h"
#include "loader/expected.h"
#include "loader/heap.h"
#include "loader/holders.h"
#include "loader/image.h"
#include "loader/importers.h"
#include "loader/initial.h"
#include "loader/migrate.h"
#include "loader/park.h"
#include "loader/starters.h"
#include "loader/versions.h"

enum {
    HISTORY_MAX = 16, /* commits that can be rolled back, one after the other */
    TRIES = 200,      /* for a variable to move */
    PAUSE_US = 5000,  /* between two of them */
};

/* Loading. */

/* The base of a patch is a crate, and of the build that the patch was made for: see process_load(). */
static struct crateld_error *check_base(const struct loaded_crate *patch)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    if (!base || base == patch || base->view.header.flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_FORMAT, "%s: '%s', which it is a patch for, is no crate", patch->path,
                            patch->needed[0].name);
    if (patch->host != base && base->mapped_size > base->view.header.image_size)
        return error_create(CRATELD_ERROR_FORMAT, "%s: the name of its base is not among its first strings",
                            patch->path);
    return NULL;
}

/* The patch as a whole: what is done with it later relies on it. */
static struct crateld_error *check(struct process *process, struct loaded_crate *patch, size_t before)
{
    if (!(patch->view.header.flags & CRATE_FLAG_PATCH))
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is no patch", patch->path);
    TRY(check_base(patch));
    for (size_t i = before; i < process->crates.count; i++)
        if (process->crates.at[i] == patch->needed[0].crate)
            return error_create(CRATELD_ERROR_MISMATCH, "%s: is a patch for '%s', which the program does not use",
                                patch->path, patch->needed[0].crate->name);
    TRY(crate_view_check(&patch->view));
    TRY(crate_view_check_all(&patch->view));
    uint32_t count = crate_view_count(&patch->view, CRATE_TABLE_MODULES);
    if (!patch->modules || count > patch->module_capacity)
        patch->modules = arena_alloc_array(&process->arena, count, sizeof *patch->modules);
    if (!patch->modules)
        return error_memory();
    patch->module_capacity = count > patch->module_capacity ? count : patch->module_capacity;
    patch->is_active_module = memset(patch->modules, 0, count * sizeof *patch->modules);
    return NULL;
}

static bool is_same_module(const struct loaded_crate *a, uint32_t i, const struct loaded_crate *b, uint32_t k)
{
    const struct crate_module *x = &a->view.modules[i], *y = &b->view.modules[k];
    return !strcmp(crate_view_string(&a->view, x->path), crate_view_string(&b->view, y->path)) &&
           !strcmp(crate_view_string(&a->view, x->member), crate_view_string(&b->view, y->member));
}

/* The patch that is loaded already and has the contents of the file that begins so; NULL: there is none. Takes no
 * memory. */
static struct loaded_crate *find_twin(const struct process *process, const struct image_start *start)
{
    for (size_t i = 0; start->header.flags & CRATE_FLAG_PATCH && i < process->crates.count; i++) {
        struct loaded_crate *patch = process->crates.at[i];
        if (patch->is_active_module &&
            !memcmp(patch->view.header.build_id, start->header.build_id, sizeof start->header.build_id))
            return patch;
    }
    return NULL;
}

struct crateld_error *patch_load(struct process *process, const char *path, struct loaded_crate **ret)
{
    struct image_start start;
    int fd AUTO_CLOSE = -1;
    TRY(image_open(&process->region, path, &fd, &start));
    struct loaded_crate *patch = find_twin(process, &start);
    size_t before = process->crates.count;
    if (patch && patch->has_faulted)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: this version faulted, and was taken back: it is loaded again when it has changed",
                            crate_view_string(&patch->view, patch->view.modules[0].path));
    if (!patch)
        TRY(process_load_read(process, path, &fd, &start, &patch));
    *ret = patch;
    if (process->crates.count == before) /* it was loaded before */
        return patch->is_active_module ? NULL : error_create(CRATELD_ERROR_MISMATCH, "%s: is no patch", path);
    struct crateld_error *error = check(process, patch, before);
    if (error)
        process_forget(process, before);
    return error;
}

void patch_drop(struct loaded_crate *patch)
{
    struct process *process = patch->process;
    if (atomic_load(&patch->state) != LOADED_FOUND || process->crates.at[process->crates.count - 1] != patch)
        return;
    versions_remove(patch);
    process_forget(process, process->crates.count - 1);
}

/* Whether code of the program runs already. */
static bool is_running(void)
{
    return current_entry() && current_entry()->is_initialised;
}

/* One commit: what is to become active, and what that changes. */
struct commit {
    struct loaded_crate *const *patches; /* that become active; NULL: `target` does */
    size_t count;
    const struct version_set *target;
    struct version_set *before; /* owned; also: the bases */
    VEC(size_t) fresh_counts;   /* of each base: how many new variables it had */
    struct change change;
    struct initial_values values;
    struct patch_report *report;
};

static struct loaded_crate *base_of(const struct loaded_crate *patch)
{
    return patch->needed[0].crate;
}

static struct crateld_error *for_each_base(struct commit *commit,
                                           struct crateld_error *(*visit)(struct commit *commit, struct loaded_crate *))
{
    for (size_t i = 0; i < commit->before->bases.count; i++)
        TRY(visit(commit, commit->before->bases.at[i]));
    return NULL;
}

static bool has_base(const struct version_set *set, const struct loaded_crate *base)
{
    for (size_t i = 0; i < set->bases.count; i++)
        if (set->bases.at[i] == base)
            return true;
    return false;
}

/* Notes what is active, of all bases that are concerned. */
static struct crateld_error *note_active(struct commit *commit)
{
    commit->before = calloc(1, sizeof *commit->before);
    if (!commit->before)
        return error_memory();
    for (size_t i = 0; i < commit->count; i++)
        if (!has_base(commit->before, base_of(commit->patches[i])))
            TRY(version_set_add(commit->before, base_of(commit->patches[i])));
    for (size_t i = 0; commit->target && i < commit->target->bases.count; i++)
        TRY(version_set_add(commit->before, commit->target->bases.at[i]));
    return NULL;
}

/* What is active. */

/* Makes module `i` of the patch the active version, and no other. */
static void activate_module(struct loaded_crate *patch, uint32_t i)
{
    const struct versions *versions = base_of(patch)->versions;
    for (size_t n = 0; n < versions->patches.count; n++) {
        struct loaded_crate *other = versions->patches.at[n];
        for (uint32_t k = 0; k < crate_view_count(&other->view, CRATE_TABLE_MODULES); k++)
            if (is_same_module(patch, i, other, k))
                other->is_active_module[k] = false;
    }
    patch->is_active_module[i] = true;
    patch->is_sought = false;
}

/* Enters the patches into their bases' records, the latest last, with nothing of the new ones active. */
static struct crateld_error *enter_patches(const struct commit *commit)
{
    for (size_t i = 0; i < commit->count; i++) {
        struct loaded_crate *patch = commit->patches[i];
        struct versions *versions = NULL;
        TRY(versions_of(base_of(patch), &versions));
        size_t n = 0;
        while (n < versions->patches.count && versions->patches.at[n] != patch)
            n++;
        if (n == versions->patches.count && !VEC_PUSH(&versions->patches, patch))
            return error_memory();
        memmove(&versions->patches.at[n], &versions->patches.at[n + 1],
                (versions->patches.count - n - 1) * sizeof(struct loaded_crate *));
        versions->patches.at[versions->patches.count - 1] = patch;
    }
    return NULL;
}

static void activate_modules(const struct commit *commit)
{
    if (commit->target)
        version_set_restore(commit->target);
    for (size_t i = 0; i < commit->count; i++)
        for (uint32_t k = 0; k < crate_view_count(&commit->patches[i]->view, CRATE_TABLE_MODULES); k++) {
            activate_module(commit->patches[i], k);
            commit->report->modules++;
        }
}

/* What is active of a patch must be so with what it refers to and only the patch has. */
static struct crateld_error *check_groups(struct commit *commit, struct loaded_crate *base)
{
    (void)commit;
    for (size_t n = 0; n < base->versions->patches.count; n++) {
        const struct loaded_crate *patch = base->versions->patches.at[n];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_MODULES); i++) {
            uint32_t first = patch->view.modules[i].group;
            if (patch->is_active_module[i] == patch->is_active_module[first])
                continue;
            uint32_t stays = patch->is_active_module[i] ? i : first, goes = stays == i ? first : i;
            return error_create(CRATELD_ERROR_UNDEFINED,
                                "%s: came with %s in an earlier reload, and one of them refers to what only the other "
                                "has: name both",
                                crate_view_string(&patch->view, patch->view.modules[goes].path),
                                crate_view_string(&patch->view, patch->view.modules[stays].path));
        }
    }
    return NULL;
}

/* References from the base. */

enum subject_kind { SUBJECT_FUNCTION, SUBJECT_CONSTANT, SUBJECT_VARIABLE };

/* The place of the base that the site's subject is known by. */
static uint32_t site_subject(const struct loaded_crate *patch, const struct crate_site *site, enum subject_kind *kind)
{
    uint32_t moves = crate_view_count(&patch->view, CRATE_TABLE_MOVES);
    *kind = SUBJECT_VARIABLE;
    if (site->subject >= moves)
        return patch->view.grown[site->subject - moves].base_rva;
    const struct crate_move *move = &patch->view.moves[site->subject];
    *kind = move->flags & CRATE_MOVE_FLAG_CONSTANT ? SUBJECT_CONSTANT : SUBJECT_FUNCTION;
    return move->old_rva;
}

/* Whether a word of the program's data is still what the loader made it. */
static bool is_ours(const struct commit *commit, const struct loaded_crate *base, const struct crate_site *site,
                    enum subject_kind kind, uint32_t subject)
{
    uint64_t word = 0;
    if (kind == SUBJECT_FUNCTION ||
        !crate_segment_has(&base->view.header, CRATE_SEGMENT_DATA, site->place_rva, 8, false))
        return true;
    memcpy(&word, base->base + site->place_rva, site->kind == CRATE_FIXUP_ABS64 ? 8 : 4);
    word -= (uint64_t)site->addend;
    return kind == SUBJECT_CONSTANT ? versions_is_place(base, subject, word)
                                    : word == initial_address_before(&commit->values, base, subject);
}

/* Whether old code must stay with the variable as it was. */
static bool is_retyped(const struct loaded_crate *base, uint32_t rva)
{
    const struct moved_variable *variable = versions_variable(base, rva);
    return variable && variable->is_retyped;
}

static struct crateld_error *fix_site(struct commit *commit, struct loaded_crate *patch, uint32_t i)
{
    struct crate_site site;
    struct loaded_crate *base = base_of(patch);
    enum subject_kind kind;
    TRY(crate_view_site(&patch->view, i, &site));
    uint32_t subject = site_subject(patch, &site, &kind);
    bool is_superseded =
        (kind != SUBJECT_VARIABLE || is_retyped(base, subject)) && versions_is_superseded(base, site.place_rva);
    patch->has_stale_sites |= is_superseded;
    if (is_superseded || !is_ours(commit, base, &site, kind, subject))
        return NULL;
    return change_fix(&commit->change, base, site.place_rva, site.kind,
                      versions_address(base, subject) + (uint64_t)site.addend);
}

/* Whether the patch is active, or was before the commit, or has sites that were left alone then. */
static bool is_concerned(const struct commit *commit, const struct loaded_crate *patch)
{
    if (patch->has_stale_sites || versions_is_active(patch))
        return true;
    for (size_t i = 0; i < commit->before->active.count; i++)
        if (commit->before->active.at[i].patch == patch)
            return true;
    return false;
}

static struct crateld_error *fix_base(struct commit *commit, struct loaded_crate *base)
{
    for (size_t n = 0; n < base->versions->patches.count; n++) {
        struct loaded_crate *patch = base->versions->patches.at[n];
        if (!is_concerned(commit, patch))
            continue;
        patch->has_stale_sites = false;
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_SITES); i++)
            TRY(fix_site(commit, patch, i));
    }
    return NULL;
}

/* References from other crates, and from patches. */

/* Whether the import names a place of `base`, or of a variable that patches brought, and which. Superseded patches stay
 * with the functions that they have. */
static struct crateld_error *imported_place(const struct loaded_crate *user, const struct crate_import *import,
                                            const struct loaded_crate *base, uint32_t *ret)
{
    *ret = CRATE_NONE;
    if (import->needed == CRATE_NONE || !user->needed[import->needed].crate ||
        loaded_image(user->needed[import->needed].crate) != base || import->kind > CRATE_IMPORT_ADDRESS ||
        import->flags & CRATE_IMPORT_FLAG_VAGUE)
        return NULL;
    if (import->flags & CRATE_IMPORT_FLAG_FRESH) {
        *ret = versions_is_active(user) ? import->fallback_rva : CRATE_NONE;
        return NULL;
    }
    if (import->flags & CRATE_IMPORT_FLAG_BASE) {
        if (versions_is_active(user) ||
            (versions_variable(base, import->fallback_rva) && !is_retyped(base, import->fallback_rva)))
            *ret = import->fallback_rva;
        return NULL;
    }
    uint32_t i = crate_view_find_export(&base->view, import->hash, crate_view_string(&user->view, import->name));
    struct crate_export export;
    if (i == CRATE_NONE)
        return NULL;
    TRY(crate_view_export(&base->view, i, &export));
    bool is_call = import->kind <= CRATE_IMPORT_CALL_TOC;
    bool is_preserving = export.kind == CRATE_EXPORT_FUNCTION_TOC && import->kind != CRATE_IMPORT_CALL_TOC;
    if (export.kind == CRATE_EXPORT_FUNCTION_PLAIN || export.kind == CRATE_EXPORT_FUNCTION_TOC)
        *ret = is_call && !is_preserving ? export.rva : export.canonical_rva;
    else if (export.kind == CRATE_EXPORT_DATA)
        *ret = export.rva;
    return NULL;
}

/* Whether the function slot is not bound yet: it leads to a stub of its own crate. */
static bool is_lazy(const struct loaded_crate *user, uint64_t entry)
{
    return entry - loaded_address(user, 0) < user->view.header.image_size;
}

static uint32_t slot_rva(const struct loaded_crate *crate, const void *slot)
{
    return (uint32_t)((const uint8_t *)slot - crate->base);
}

/* Places of the user that hold the address in the import's slot. */
static struct crateld_error *fix_places(struct commit *commit, struct loaded_crate *user, uint32_t import,
                                        uint64_t address)
{
    for (uint32_t i = 0; i < crate_view_count(&user->view, CRATE_TABLE_DATA_RELOCS); i++) {
        struct crate_data_reloc reloc;
        TRY(crate_view_data_reloc(&user->view, i, &reloc));
        if (reloc.import == import)
            TRY(change_word(&commit->change, user, reloc.place_rva, address + (uint64_t)reloc.addend));
    }
    for (uint32_t i = 0; i < crate_view_count(&user->view, CRATE_TABLE_FIXUPS); i++) {
        struct crate_fixup fixup;
        TRY(crate_view_fixup(&user->view, i, &fixup));
        if (fixup.import == import)
            TRY(change_fix(&commit->change, user, fixup.place_rva, fixup.kind, address + (uint64_t)fixup.addend));
    }
    return NULL;
}

static struct crateld_error *fix_import(struct commit *commit, struct loaded_crate *user, uint32_t i,
                                        const struct loaded_crate *base)
{
    struct crate_import import;
    uint32_t rva = CRATE_NONE;
    TRY(crate_view_import(&user->view, i, &import));
    TRY(imported_place(user, &import, base, &rva));
    if (rva == CRATE_NONE)
        return NULL;
    uint64_t address = versions_address(base, rva);
    if (import.flags & CRATE_IMPORT_FLAG_FRESH)
        TRY(versions_fresh_address(user, rva, &address));
    if (import.kind != CRATE_IMPORT_ADDRESS) {
        const struct crateld_function *slot = &loaded_function_slots(user)[import.slot];
        return is_lazy(user, slot->entry) ? NULL
                                          : change_word(&commit->change, user, slot_rva(user, &slot->entry), address);
    }
    const uint64_t *slot = &loaded_global_slots(user)[import.slot];
    if (*slot == address)
        return NULL;
    TRY(change_word(&commit->change, user, slot_rva(user, slot), address));
    return fix_places(commit, user, i, address);
}

static struct crateld_error *fix_user(struct commit *commit, struct loaded_crate *user, const struct loaded_crate *base)
{
    size_t before = commit->change.writes.count;
    for (uint32_t i = 0; i < crate_view_count(&user->view, CRATE_TABLE_IMPORTS); i++)
        TRY(fix_import(commit, user, i, base));
    bool is_patch = user->view.header.flags & CRATE_FLAG_PATCH && base_of(user) == base;
    commit->report->users += !is_patch && commit->change.writes.count > before;
    return NULL;
}

static struct crateld_error *fix_users(struct commit *commit, struct loaded_crate *base)
{
    uint64_t head = __atomic_load_n(&base->toc->users, __ATOMIC_ACQUIRE);
    for (const struct loaded_user *use = (const struct loaded_user *)(uintptr_t)head; use; use = use->next)
        if (loaded_is_active(use->user))
            TRY(fix_user(commit, use->user, base));
    return NULL;
}

/* The commit. */

static struct crateld_error *activate_patches(const struct commit *commit)
{
    for (size_t i = 0; i < commit->count; i++) {
        TRY(activate_crate(base_of(commit->patches[i])));
        (void)image_reopen_file(base_of(commit->patches[i])); /* initial values are compared with what it says */
        TRY(activate_crate(commit->patches[i]));
        commit->report->functions += crate_view_moved_functions(&commit->patches[i]->view);
        commit->report->relocations += crate_view_count(&commit->patches[i]->view, CRATE_TABLE_FIXUPS) +
                                       crate_view_count(&commit->patches[i]->view, CRATE_TABLE_DATA_RELOCS);
    }
    return NULL;
}

static struct crateld_error *note_values(struct commit *commit, struct loaded_crate *base)
{
    return initial_note(&commit->values, base);
}

static struct crateld_error *plan_values(struct commit *commit, struct loaded_crate *base)
{
    return initial_plan(&commit->values, base);
}

static struct crateld_error *return_variables(struct commit *commit, struct loaded_crate *base)
{
    return initial_return(&commit->values, base, commit->target);
}

/* Objects are what their types said when they were made, and code that still runs goes on making such. */
static struct crateld_error *check_types(const struct commit *commit)
{
    for (size_t i = 0; i < commit->values.changes.count; i++) {
        const struct value_change *change = &commit->values.changes.at[i];
        if (change->before && change->after && memcmp(change->before, change->after, change->size) != 0 &&
            heap_is_type(change->base, change->base_rva, change->size))
            return error_create(CRATELD_ERROR_UNSUPPORTED,
                                "%s: '%s' says what collected objects look like, and is another: those that are there "
                                "can not be changed; start the program anew",
                                change->base->path, change->name);
    }
    return NULL;
}

static struct crateld_error *note_fresh(struct commit *commit, struct loaded_crate *base)
{
    return VEC_PUSH(&commit->fresh_counts, base->versions->fresh.count) ? NULL : error_memory();
}

static struct crateld_error *enter_fresh(struct commit *commit)
{
    TRY(for_each_base(commit, note_fresh));
    for (size_t i = 0; i < commit->count; i++)
        TRY(versions_add_fresh(commit->patches[i]));
    return NULL;
}

/* While the program runs, whoever has a function's address must get to the new version by it. */
static struct crateld_error *check_leaked(const struct commit *commit)
{
    for (size_t i = 0; i < commit->count; i++) {
        if (!loaded_is_active(base_of(commit->patches[i])))
            continue; /* nobody has any yet */
        for (uint32_t k = 0; k < crate_view_count(&commit->patches[i]->view, CRATE_TABLE_MOVES); k++) {
            const struct crate_view *view = &commit->patches[i]->view;
            const struct crate_move *move = &view->moves[k];
            if (move->flags & CRATE_MOVE_FLAG_LEAKED)
                return error_create(
                    CRATELD_ERROR_UNSUPPORTED,
                    "%s: function '%s' of %s: its address is in the module's code without a relocation, "
                    "so who has it can not be told: compile with -ffunction-sections; if only the function itself "
                    "takes "
                    "it, do not make that static",
                    commit->patches[i]->path, crate_view_string(view, move->name),
                    crate_view_string(view, view->modules[move->module].path));
        }
    }
    return NULL;
}

static struct crateld_error *plan(struct commit *commit)
{
    if (is_running())
        TRY(check_leaked(commit));
    for (size_t i = 0; i < commit->count; i++) {
        TRY(importers_check_vanished(commit->patches[i]));
        TRY(starters_check(commit->patches[i]));
    }
    TRY(enter_patches(commit));
    TRY(note_active(commit));
    TRY(for_each_base(commit, note_values)); /* of the state before */
    activate_modules(commit);
    TRY(for_each_base(commit, check_groups));
    TRY(enter_fresh(commit));
    TRY(for_each_base(commit, return_variables));
    TRY(initial_grow(&commit->values, commit->patches, commit->count, is_running()));
    TRY(activate_patches(commit));
    TRY(for_each_base(commit, plan_values));
    TRY(check_types(commit));
    TRY(for_each_base(commit, fix_base));
    TRY(for_each_base(commit, fix_users));
    commit->report->relocations += (uint32_t)commit->change.writes.count;
    TRY(change_prepare(&commit->change));
    commit->report->pages = (uint32_t)commit->change.pages.list.count;
    return NULL;
}

/* All at once: first values, since new code counts on them. Where variables move, no thread runs, and the pointers to
 * them that are initial values come first. */
static struct crateld_error *make(struct commit *commit)
{
    bool has_growth = commit->values.growths.count;
    initial_move(&commit->values);
    if (!has_growth)
        initial_set(&commit->values);
    TRY(change_make(&commit->change));
    if (has_growth)
        initial_set(&commit->values);
    return NULL;
}

/* While threads run. */
static struct crateld_error *make_running(struct commit *commit)
{
    struct crateld_error *error = make(commit);
    commit->report->pause_ns = commit->change.pages.longest_ns;
    return error;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Pointers to variables that move, but for those that the loader itself has made, and changes. */
struct search {
    struct holders_query query;
    struct holders_stretch *stretches; /* owned */
    uint64_t *known;                   /* owned */
};

static struct crateld_error *prepare_search(const struct commit *commit, struct search *ret)
{
    size_t count = commit->values.growths.count, known = commit->change.writes.count;
    size_t old = initial_old_words(&commit->values, NULL);
    ret->stretches = calloc(count, sizeof *ret->stretches);
    ret->known = calloc(known + old + 1, sizeof *ret->known);
    if (!ret->stretches || !ret->known)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        const struct growth *growth = &commit->values.growths.at[i];
        ret->stretches[i] =
            (struct holders_stretch){growth->from_crate->base, growth->from_rva, growth->is_forced ? 0 : growth->size};
    }
    for (size_t i = 0; i < known; i++)
        ret->known[i] =
            (uint64_t)(uintptr_t)(commit->change.writes.at[i].crate->base + commit->change.writes.at[i].rva);
    known += initial_old_words(&commit->values, ret->known + known);
    qsort(ret->known, known, sizeof *ret->known, compare_addresses);
    ret->query =
        (struct holders_query){.stretches = ret->stretches, .count = count, .known = ret->known, .known_count = known};
    return park_own_stack(&ret->query.own_stack, &ret->query.own_stack_end) ? NULL : error_memory();
}

/* Why the changes can not be made yet. */
enum obstacle {
    OBSTACLE_NONE,
    OBSTACLE_HOLDER, /* somebody has a pointer to a variable that moves */
    OBSTACLE_CHANGE, /* a value is not any more what the new one was made of */
};

/* Holds all threads and makes the changes, unless there is an obstacle. */
static struct crateld_error *make_held(struct commit *commit, const struct search *search, struct holder *holder,
                                       enum obstacle *ret)
{
    uint64_t start = clock_nanoseconds();
    struct crateld_error *error = NULL;
    TRY(park_threads());
    *ret = !migrate_is_current(&commit->values)   ? OBSTACLE_CHANGE
           : holders_find(&search->query, holder) ? OBSTACLE_HOLDER
                                                  : OBSTACLE_NONE;
    if (*ret == OBSTACLE_NONE)
        error = make(commit);
    park_release();
    commit->report->pause_ns = clock_nanoseconds() - start;
    return error;
}

static struct crateld_error *can_not_move(const struct commit *commit, enum obstacle obstacle,
                                          const struct holder *holder)
{
    const struct growth *growth = &commit->values.growths.at[holder->stretch];
    if (obstacle == OBSTACLE_CHANGE)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "the program changes variables faster than crate_migrate() makes their new values");
    if (growth->way != GROWTH_COPY)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "variable '%s' has another type, and can not move: %s points to it (--force: it moves)",
                            growth->name, holder->text);
    return error_create(CRATELD_ERROR_MISMATCH,
                        "variable '%s' needs more room than the %u bytes it has, and can not move: %s points to it "
                        "(--force: it moves)",
                        growth->name, growth->size, holder->text);
}

/* Variables can move when nobody is about to use them where they were. Functions that are in the middle of that will
 * have done soon, so it is tried for a while. */
static struct crateld_error *try_to_make_held(struct commit *commit, const struct search *search)
{
    struct holder holder = {0};
    enum obstacle obstacle = OBSTACLE_NONE;
    for (int i = 0; i < TRIES; i++) {
        TRY(migrate_values(&commit->values));
        TRY(make_held(commit, search, &holder, &obstacle));
        if (obstacle == OBSTACLE_NONE)
            return NULL;
        if (obstacle == OBSTACLE_HOLDER && !holder.is_fleeting && i >= TRIES / 10)
            break;
        usleep(PAUSE_US);
    }
    return can_not_move(commit, obstacle, &holder);
}

static struct crateld_error *make_with_growth(struct commit *commit)
{
    struct search search = {0};
    expected_close(&commit->before->bases.at[0]->process->region); /* nobody is to look there */
    struct crateld_error *error = prepare_search(commit, &search);
    if (!error)
        error = try_to_make_held(commit, &search);
    free(search.stretches);
    free(search.known);
    return error;
}

/* Makes what was planned. */
static struct crateld_error *make_planned(struct commit *commit)
{
    return commit->values.growths.count && is_running() ? make_with_growth(commit) : make_running(commit);
}

/* Keeps what was active before, for rolling back. */
static struct crateld_error *keep_history(struct commit *commit, struct process *process)
{
    if (process->history.count == HISTORY_MAX) {
        version_set_destroy(process->history.at[0]);
        memmove(&process->history.at[0], &process->history.at[1],
                --process->history.count * sizeof *process->history.at);
    }
    if (!VEC_PUSH(&process->history, commit->before))
        return error_memory();
    commit->before = NULL;
    return NULL;
}

/* Takes back what plan() made of the records. */
static void undo(struct commit *commit)
{
    const struct version_set *before = commit->before;
    if (before)
        version_set_restore(before);
    for (size_t i = 0; before && i < commit->fresh_counts.count; i++)
        before->bases.at[i]->versions->fresh.count = commit->fresh_counts.at[i];
    initial_undo(&commit->values);
}

static void finish(struct commit *commit)
{
    struct patch_report *report = commit->report;
    report->variables_set = commit->values.set;
    report->variables_kept = commit->values.kept;
    report->variables_grown = (uint32_t)commit->values.growths.count;
    initial_deinit(&commit->values);
    change_deinit(&commit->change);
    version_set_destroy(commit->before);
    free(commit->fresh_counts.at);
}

struct crateld_error *patch_commit(struct loaded_crate *const *patches, size_t count, bool is_trial,
                                   struct patch_report *ret)
{
    *ret = (struct patch_report){0};
    struct commit commit = {.patches = patches, .count = count, .report = ret};
    struct process *process = patches[0]->process;
    struct crateld_error *error = VEC_RESERVE(&process->history, 1) ? plan(&commit) : error_memory();
    if (!error && !is_trial)
        error = make_planned(&commit);
    if (error || is_trial)
        undo(&commit);
    else
        error = keep_history(&commit, process); /* there is room */
    finish(&commit);
    return error;
}

struct crateld_error *patch_rollback(struct process *process, struct patch_report *ret)
{
    *ret = (struct patch_report){0};
    if (!process->history.count)
        return error_create(CRATELD_ERROR_NOT_FOUND, "nothing was reloaded that could be rolled back");
    struct version_set *target = process->history.at[process->history.count - 1];
    struct commit commit = {.target = target, .report = ret};
    struct crateld_error *error = plan(&commit);
    if (!error)
        error = make_planned(&commit);
    if (error) {
        undo(&commit);
    } else {
        process->history.count--;
        version_set_destroy(target);
    }
    finish(&commit);
    return error;
}
