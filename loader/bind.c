#define _GNU_SOURCE
#include "loader/bind.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/platform/x86.h>
#include <unistd.h>

#include "loader/activate.h"
#include "loader/elf_library.h"
#include "loader/gate.h"
#include "loader/host_process.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/resolve.h"
#include "loader/versions.h"

enum bind_save bind_save_kind(void)
{
    /* ld.so has asked the CPU already; the instruction traps under hypervisors. */
    static enum bind_save kind;
    if (kind == BIND_SAVE_UNKNOWN)
        kind = CPU_FEATURE_ACTIVE(XSAVEC)    ? BIND_SAVE_XSAVEC
               : CPU_FEATURE_ACTIVE(OSXSAVE) ? BIND_SAVE_XSAVE
                                             : BIND_SAVE_FXSAVE;
    return kind;
}

/* What the slot of an import of kind CALL_* holds for what was resolved. */
static struct crateld_error *function_value(struct loaded_crate *crate, const struct crate_import *import,
                                            const struct resolved *resolved, struct crateld_function *ret)
{
    struct crateld_function value = {0, (uint64_t)(uintptr_t)crate->toc};
    if (resolved->provider)
        value = bind_function_value(crate, import->kind, resolved->provider, &resolved->export);
    if (value.entry)
        value.entry =
            versions_address(resolved->provider, (uint32_t)(value.entry - loaded_address(resolved->provider, 0)));
    if (!value.entry)
        TRY(resolve_address(resolved, &value.entry));
    if (!value.entry)
        return error_create(CRATELD_ERROR_UNDEFINED, "%s: weak symbol '%s' is called, and nobody defines it",
                            crate->path, crate_view_string(&crate->view, import->name));
    *ret = value;
    return NULL;
}

struct crateld_error *bind_function(struct loaded_crate *crate, uint32_t i, struct crateld_function *ret)
{
    struct crate_import import;
    struct resolved resolved = {0};
    TRY(crate_view_import(&crate->view, i, &import));
    if (import.kind > CRATE_IMPORT_CALL_TOC)
        return error_create(CRATELD_ERROR_FORMAT, "%s: imports[%u]: called lazily, but of kind %u", crate->path, i,
                            import.kind);
    TRY(resolve_import(crate, &import, &resolved));
    if (resolved.provider) {
        TRY(activate_crate(resolved.provider));
        if (import.needed != CRATE_NONE)
            bind_record_use(&crate->needed[import.needed]);
    }
    TRY(function_value(crate, &import, &resolved, ret));
    bind_store(&loaded_function_slots(crate)[i], *ret);
    log_state.bound_slow++;
    LOG(LOG_BIND, "%s: '%s' is at 0x%llx in %s", crate->path, crate_view_string(&crate->view, import.name),
        (unsigned long long)ret->entry,
        resolved.provider                 ? resolved.provider->path
        : resolve_library(crate, &import) ? resolve_library(crate, &import)->soname
                                          : "nothing");
    return NULL;
}

struct crateld_error *bind_all_functions(struct loaded_crate *crate)
{
    struct crateld_error *errors = NULL;
    uint32_t count = activate_first_import(crate, CRATE_IMPORT_IFUNC);
    for (uint32_t i = 0; i < count; i++) {
        struct crateld_function value = bind_fast(crate->toc, &loaded_function_slots(crate)[i], 0);
        if (value.entry)
            continue;
        const struct crate_import *import = crate_view_peek_import(&crate->view, i);
        /* A weak function that nobody defines may well never be called. */
        struct crateld_error *error = bind_function(crate, i, &value);
        if (error && import->flags & CRATE_IMPORT_FLAG_WEAK && crateld_error_code(error) == CRATELD_ERROR_UNDEFINED) {
            crateld_error_destroy(error);
            error = NULL;
        }
        errors = error_join(errors, error);
    }
    return errors;
}

/* Ends the process as ld.so does when it finds no symbol: in the middle of the program, so nothing is run any more. */
_Noreturn static void die(struct crateld_error *error)
{
    log_print("%s", crateld_error_message(error));
    _exit(127);
}

/* Whether import `i`, unchecked, is one that another crate provides, or that may be found in any. */
static bool is_from_crate(const struct loaded_crate *crate, uint32_t i)
{
    const struct crate_import *import = crate_view_peek_import(&crate->view, i);
    return import &&
           (import->needed == CRATE_NONE || (import->needed < crate_view_count(&crate->view, CRATE_TABLE_NEEDED) &&
                                             crate->needed[import->needed].crate));
}

static struct crateld_error *bind_to_crate(struct loaded_crate *crate, uint32_t i, struct crateld_function *ret)
{
    process_lock(crate->process);
    struct crateld_error *error = bind_function(crate, i, ret);
    process_unlock(crate->process);
    return error;
}

/* Activating a crate must not be interrupted by a signal handler, which would find it half done. ELF libraries
 * are opened without the lock: ld.so has its own, and their initialisers may make threads that bind. `crate` NULL: a
 * gate was called, and returns to `gate`. */
static struct crateld_error *bind_undisturbed(struct loaded_crate *crate, uint32_t i, uint64_t gate,
                                              struct crateld_function *ret)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct crateld_error *error = crate ? bind_to_crate(crate, i, ret) : gate_enter(gate, &ret->entry);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Binds a slot of the crate. ret->toc is what the caller's TOC register is, and stays so for plain code. */
static struct crateld_error *bind_slot(struct loaded_crate *crate, const struct crateld_function *slot,
                                       struct crateld_function *ret)
{
    uint64_t distance = (uint64_t)(slot - loaded_function_slots(crate)), toc_register = ret->toc;
    uint32_t i = distance < UINT32_MAX ? (uint32_t)distance : UINT32_MAX;
    TRY(is_from_crate(crate, i) ? bind_undisturbed(crate, i, 0, ret) : bind_function(crate, i, ret));
    if (crate_view_peek_import(&crate->view, i)->kind == CRATE_IMPORT_CALL_PLAIN)
        ret->toc = toc_register;
    return NULL;
}

struct crateld_function bind_slow(struct crateld_toc *toc, struct crateld_function *slot, uint64_t toc_register)
{
#ifdef CRATELD_HOST
    if (toc && toc->magic == CRATELD_EXPORT_MAGIC)
        return host_bind_export((struct crateld_export *)toc, slot, toc_register);
#endif
    struct crateld_function value = {.toc = toc_register};
    int saved_errno = errno, cancel_state;

    /* The caller is somewhere in its program and must not be cancelled in here. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    struct crateld_error *error = toc ? bind_slot((struct loaded_crate *)(uintptr_t)toc->crate, slot, &value)
                                      : bind_undisturbed(NULL, 0, (uint64_t)(uintptr_t)slot, &value);
    if (error)
        die(error);
    pthread_setcancelstate(cancel_state, NULL);
    errno = saved_errno;
    return value;
}
