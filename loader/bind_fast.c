/* The fast path of binding. This file is built with -mgeneral-regs-only and calls nothing outside it, because the
 * caller's vector registers are live. */
#include "loader/bind.h"
#include "loader/log.h"

void bind_record_use(struct loaded_needed *needed)
{
    if (atomic_load_explicit(&needed->is_used, memory_order_relaxed) ||
        atomic_exchange_explicit(&needed->is_used, true, memory_order_relaxed))
        return;
    uint64_t *head = loaded_users(needed->crate), next = __atomic_load_n(head, __ATOMIC_RELAXED);
    do {
        needed->use.next = (struct loaded_user *)(uintptr_t)next;
    } while (!__atomic_compare_exchange_n(head, &next, (uint64_t)(uintptr_t)&needed->use, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

struct crateld_function bind_fast(struct crateld_toc *toc, struct crateld_function *slot, uint64_t toc_register)
{
    static const struct crateld_function none;
    if (!toc) /* a gate */
        return none;
#ifdef CRATELD_HOST
    if (toc->magic != CRATELD_TOC_MAGIC) /* a library made by `crateld export` */
        return none;
#endif
    struct loaded_crate *crate = (struct loaded_crate *)(uintptr_t)toc->crate;
    uint64_t i = (uint64_t)(slot - loaded_function_slots(crate));
    if (i >= crate_view_count(&crate->view, CRATE_TABLE_IMPORTS))
        return none;
    struct crate_import import = crate->view.imports[i];
    if (import.kind > CRATE_IMPORT_CALL_TOC || import.flags & CRATE_IMPORT_FLAG_BASE ||
        import.needed >= crate_view_count(&crate->view, CRATE_TABLE_NEEDED))
        return none;
    struct loaded_needed *needed = &crate->needed[import.needed];
    if (!needed->crate || needed->crate->bundle || !loaded_is_active(needed->crate) || needed->crate->versions ||
        log_state.topics & LOG_BIND)
        return none;
    uint32_t found = crate_view_find_imported(&needed->crate->view, &crate->view, &import);
    if (found == CRATE_NONE || needed->crate->view.exports[found].flags & CRATE_EXPORT_FLAG_FORWARD)
        return none;
    struct crateld_function value =
        bind_function_value(crate, import.kind, needed->crate, &needed->crate->view.exports[found]);
    if (!value.entry)
        return none;
    bind_record_use(needed);
    bind_store(slot, value);
    log_state.bound_fast++;
    if (import.kind == CRATE_IMPORT_CALL_PLAIN)
        value.toc = toc_register;
    return value;
}
