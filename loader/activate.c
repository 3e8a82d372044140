#define _GNU_SOURCE
#include "loader/activate.h"

#include "base/vec.h"
#include "crate/build_id.h"
#include "loader/address_index.h"
#include "loader/bind.h"
#include "loader/export_object.h"
#include "loader/first_calls.h"
#include "loader/frames.h"
#include "loader/gate.h"
#include "loader/heap.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/relocate.h"
#include "loader/resolve.h"
#include "loader/tls.h"
#include "loader/trial.h"

/* Crates that become active together, because they need each other's addresses. */
struct activation {
    VEC(struct loaded_crate *) crates;
};

/* What toc->epoch points at: the counter that asks long-running code to yield. Nobody asks yet. */
static uint64_t epoch;

uint32_t activate_first_import(const struct loaded_crate *crate, enum crate_import_kind kind)
{
    uint32_t low = 0, high = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (crate->view.imports[middle].kind < kind)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds the crate unless it is active or on its way. */
static struct crateld_error *add(struct activation *activation, struct loaded_crate *crate)
{
    crate = loaded_image(crate);
    uint32_t state = atomic_load_explicit(&crate->state, memory_order_relaxed);
    if (state == LOADED_FAILED)
        return error_create(CRATELD_ERROR_FORMAT, "%s: could not be activated before", crate->path);
    if (state != LOADED_FOUND)
        return NULL;
    if (!VEC_PUSH(&activation->crates, crate))
        return error_memory();
    atomic_store_explicit(&crate->state, LOADED_ACTIVATING, memory_order_relaxed);
    return NULL;
}

static const struct crateld_builtins builtins = {sizeof builtins, trial_safe_point};

static void fill_toc(struct loaded_crate *crate)
{
    struct crateld_toc *toc = crate->toc;
    toc->magic = CRATELD_TOC_MAGIC;
    toc->resolver = (uint64_t)(uintptr_t)bind_resolver;
    toc->builtins = (uint64_t)(uintptr_t)&builtins;
    toc->epoch = (uint64_t)(uintptr_t)&epoch;
    toc->crate = (uint64_t)(uintptr_t)crate;
    if (crate->view.header.type_ids) /* else that is where the data begins, and would count as pointing there */
        toc->type_ids = (uint64_t)(uintptr_t)toc + crate->view.toc.type_ids;
    toc->users = crate->early_users;
    crate->has_toc = true;
}

struct crateld_error *activate_check_meta(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    struct span meta = {crate->base, header->segments[CRATE_SEGMENT_META].file_size};
    if (crate->is_meta_checked)
        return NULL;
    TRY(image_look(crate));
    TRY(crate_check_meta(crate->path, meta, header));
    crate->is_meta_checked = true;
    return NULL;
}

/* Everything that concerns the crate alone. */
static struct crateld_error *prepare(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    if (header->flags & CRATE_FLAG_EXEC_STACK) {
        struct crateld_error *error = export_object_make_stacks_executable();
        if (error)
            return error_prefix(error, "%s: needs executable stacks (-z noexecstack)", crate->path);
    }
    TRY(image_need(crate));
    TRY(image_protect(crate));
    if (crate->process->opts.trace)
        TRY(first_calls_arm(crate->process->opts.trace, crate));
    TRY(image_provide(crate));
    TRY(activate_check_meta(crate));
    TRY(relocate_relr(crate));
    fill_toc(crate);
    if (header->tls_mem_size)
        TRY(tls_reserve(crate));
    if (header->flags & CRATE_FLAG_HAS_RELINK)
        (void)image_reopen_file(crate);
#ifdef CRATELD_HOST
    TRY(frames_register(crate));
#endif
    return crate->is_indexed ? NULL : address_index_add(crate);
}

/* Prepares all crates, while the list grows by those that they import addresses from. */
static struct crateld_error *prepare_all(struct activation *activation)
{
    for (size_t n = 0; n < activation->crates.count; n++) {
        struct loaded_crate *crate = activation->crates.at[n];
        TRY(prepare(crate));
        uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS);
        for (uint32_t i = activate_first_import(crate, CRATE_IMPORT_ADDRESS); i < count; i++) {
            struct crate_import import;
            TRY(crate_view_import(&crate->view, i, &import));
            if (import.needed == CRATE_NONE || !crate->needed[import.needed].crate)
                continue;
            struct loaded_crate *provider = crate->needed[import.needed].crate;
            bool has_gate = false;
            if (import.kind == CRATE_IMPORT_ADDRESS)
                TRY(gate_close(crate, &import, provider, &has_gate));
            if (!has_gate)
                TRY(add(activation, provider));
        }
    }
    return NULL;
}

/* Binds the crate's eager imports: those that are vague, or all others. */
static struct crateld_error *bind_eager(struct loaded_crate *crate, bool is_vague)
{
    struct crateld_error *errors = NULL;
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS);
    for (uint32_t i = activate_first_import(crate, CRATE_IMPORT_ADDRESS); i < count; i++) {
        struct crate_import import;
        struct crateld_error *error = crate_view_import(&crate->view, i, &import);
        if (!error && !!(import.flags & CRATE_IMPORT_FLAG_VAGUE) == is_vague)
            error = relocate_import(crate, &import);
        errors = error_join(errors, error);
    }
    return errors;
}

/* Calls the resolvers of the crate's ifuncs: its first code that runs. */
static struct crateld_error *bind_ifuncs(struct loaded_crate *crate)
{
    uint32_t end = activate_first_import(crate, CRATE_IMPORT_ADDRESS);
    for (uint32_t i = activate_first_import(crate, CRATE_IMPORT_IFUNC); i < end; i++) {
        struct crate_import import;
        TRY(crate_view_import(&crate->view, i, &import));
        if (import.kind != CRATE_IMPORT_IFUNC)
            return error_create(CRATELD_ERROR_FORMAT, "%s: imports[%u]: kind %u is out of order", crate->path, i,
                                import.kind);
        uint64_t (*resolver)(void) = (uint64_t(*)(void))(uintptr_t)loaded_address(crate, import.fallback_rva);
        bind_store(&loaded_function_slots(crate)[i],
                   (struct crateld_function){resolver(), (uint64_t)(uintptr_t)crate->toc});
    }
    return NULL;
}

/* The steps; each one is done for all crates before the next begins, because they refer to each other. */
static struct crateld_error *activate_all(struct activation *activation)
{
    struct crateld_error *errors = NULL;
    TRY(prepare_all(activation)); /* after this the list is complete */
    for (size_t n = 0; n < activation->crates.count; n++)
        errors = error_join(errors, bind_eager(activation->crates.at[n], true));
    for (size_t n = 0; n < activation->crates.count; n++)
        errors = error_join(errors, bind_eager(activation->crates.at[n], false));
    if (errors)
        return errors;
    for (size_t n = 0; n < activation->crates.count; n++) {
        TRY(relocate_data(activation->crates.at[n]));
        TRY(relocate_fixups(activation->crates.at[n]));
        TRY(image_finish_text(activation->crates.at[n]));
        if (activation->crates.at[n]->view.header.tls_mem_size)
            TRY(tls_publish(activation->crates.at[n]));
        TRY(heap_enter(activation->crates.at[n]));
    }
    for (size_t n = 0; n < activation->crates.count; n++) /* from here on others may call */
        TRY(gate_open(activation->crates.at[n]));
    for (size_t n = 0; n < activation->crates.count; n++) /* from here on code runs */
        TRY(bind_ifuncs(activation->crates.at[n]));
    return NULL;
}

struct crateld_error *activate_crate(struct loaded_crate *crate)
{
    struct activation activation = {0};
    struct crateld_error *error = add(&activation, crate);
    if (!error && activation.crates.count)
        error = activate_all(&activation);
    for (size_t n = 0; n < activation.crates.count; n++) {
        struct loaded_crate *done = activation.crates.at[n];
        atomic_store_explicit(&done->state, error ? LOADED_FAILED : LOADED_ACTIVE, memory_order_release);
        LOG(LOG_LOAD, "%s: %s", done->path, error ? "failed" : "active");
        log_state.crates_active += !error;
    }
    free(activation.crates.at);
    return error;
}
