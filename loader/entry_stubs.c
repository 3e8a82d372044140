#include "loader/entry_stubs.h"

#include <string.h>

static struct versions *versions_of_patch(const struct loaded_crate *patch)
{
    return patch->needed[0].crate->versions;
}

static const char *name_of(const struct loaded_crate *patch, const struct crate_fresh_function *entry)
{
    return crate_view_string(&patch->view, entry->name);
}

/* Patches mostly have the same functions in the same order. */
static struct fresh_function *find(struct versions *versions, const char *name)
{
    for (size_t i = 1; i <= versions->functions.count; i++) {
        size_t k = (versions->last_function + i) % versions->functions.count;
        if (strcmp(versions->functions.at[k].name, name) != 0)
            continue;
        versions->last_function = k;
        return &versions->functions.at[k];
    }
    return NULL;
}

/* Entering. */

/* Whether who has the function's address, of which the first version is known, gets on to this one. */
static struct crateld_error *check(const struct loaded_crate *patch, const struct crate_fresh_function *entry,
                                   const struct fresh_function *known, bool is_running)
{
    const struct crate_fresh_function *first = known->entry;
    const char *module = crate_view_string(&patch->view, patch->view.modules[entry->module].path);
    bool is_leaked = (entry->flags | first->flags) & CRATE_FRESH_FUNCTION_FLAG_LEAKED;
    bool is_toc = entry->flags & CRATE_FRESH_FUNCTION_FLAG_TOC;
    if (is_leaked && is_running && (entry->hash != first->hash || entry->flags != first->flags))
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: function '%s', of an earlier reload: its address is in the module's code without a relocation, so who "
            "has it can not be told: compile with -ffunction-sections; if only the function itself takes it, do not "
            "make that static",
            module, known->name);
    if (is_leaked)
        return NULL;
    if (is_toc != (bool)(first->flags & CRATE_FRESH_FUNCTION_FLAG_TOC))
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: function '%s' is %s code, and was %s code in an earlier reload: compile it as it was",
                            module, known->name, is_toc ? "TOC" : "plain", is_toc ? "plain" : "TOC");
    if (entry->stack_arguments == first->stack_arguments && !entry->varargs_rva == !first->varargs_rva)
        return NULL;
    return error_create(CRATELD_ERROR_UNSUPPORTED,
                        "%s: function '%s' takes %u bytes of arguments on the stack%s, and took %u%s in an earlier "
                        "reload, whose entry stub for it copies them",
                        module, known->name, entry->stack_arguments, entry->varargs_rva ? ", and more" : "",
                        first->stack_arguments, first->varargs_rva ? ", and more" : "");
}

struct crateld_error *entry_stubs_add(struct loaded_crate *patch, bool is_running)
{
    struct versions *versions = versions_of_patch(patch);
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH_FUNCTIONS); i++) {
        const struct crate_fresh_function *entry = &patch->view.fresh_functions[i];
        const char *name = name_of(patch, entry);
        const struct fresh_function *known = find(versions, name);
        struct fresh_function added = {.name = name, .patch = patch, .entry = entry};
        if (known)
            TRY(check(patch, entry, known, is_running));
        else if (!VEC_PUSH(&versions->functions, added))
            return error_memory();
    }
    return NULL;
}

/* Addresses. */

/* The table is sorted by the stubs' places. */
static const struct crate_fresh_function *find_stub(const struct loaded_crate *patch, uint32_t rva)
{
    const struct crate_fresh_function *entries = patch->view.fresh_functions;
    uint32_t low = 0, high = crate_view_count(&patch->view, CRATE_TABLE_FRESH_FUNCTIONS), count = high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].stub_rva < rva)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && entries[low].stub_rva == rva ? &entries[low] : NULL;
}

bool entry_stubs_find(const struct loaded_crate *patch, uint32_t rva, uint64_t *ret)
{
    const struct crate_fresh_function *entry = find_stub(patch, rva);
    struct fresh_function *known = entry ? find(versions_of_patch(patch), name_of(patch, entry)) : NULL;
    if (!known)
        return false;
    known->is_given = true;
    *ret = loaded_address(known->patch, known->entry->stub_rva);
    return true;
}

/* Leading. */

static void note_version(struct versions *versions, const struct loaded_crate *patch,
                         const struct crate_fresh_function *entry)
{
    struct fresh_function *known =
        patch->is_active_module[entry->module] ? find(versions, name_of(patch, entry)) : NULL;
    if (!known)
        return;
    known->target = patch;
    known->version = entry;
}

/* Of several patches that have a function in effect, since it has moved to another module, the latest counts. */
static void note_versions(struct versions *versions)
{
    for (size_t i = 0; i < versions->functions.count; i++)
        versions->functions.at[i].target = NULL;
    for (size_t n = 0; n < versions->patches.count; n++) {
        const struct loaded_crate *patch = versions->patches.at[n];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH_FUNCTIONS); i++)
            note_version(versions, patch, &patch->view.fresh_functions[i]);
    }
}

static bool has_stub(const struct crate_fresh_function *entry)
{
    return !(entry->flags & CRATE_FRESH_FUNCTION_FLAG_LEAKED);
}

static struct crateld_error *lead(struct change *change, const struct fresh_function *function)
{
    const struct crate_fresh_function *entry = function->entry;
    struct loaded_crate *patch = function->patch;
    uint64_t address = loaded_address(function->target, function->version->rva);
    uint32_t record = (uint32_t)((uint8_t *)&loaded_func_refs(patch)[entry->func_ref] - patch->base);
    TRY(change_fix(change, patch, entry->jump_rva, CRATE_FIXUP_PC32, address + (uint64_t)entry->jump_addend));
    TRY(change_word(change, patch, record + (uint32_t)offsetof(struct crateld_function, entry), address));
    if (!entry->varargs_rva)
        return NULL;
    return change_word(change, patch, record + (uint32_t)offsetof(struct crateld_function, toc),
                       loaded_address(function->target, function->version->varargs_rva));
}

struct crateld_error *entry_stubs_lead(struct change *change, struct loaded_crate *base)
{
    struct versions *versions = base->versions;
    note_versions(versions);
    for (size_t i = 0; i < versions->functions.count; i++)
        if (versions->functions.at[i].target && has_stub(versions->functions.at[i].entry))
            TRY(lead(change, &versions->functions.at[i]));
    return NULL;
}

/* Keeping. */

/* Whether the function's stub leads to the patch. */
static bool leads_to(const struct fresh_function *function, const struct loaded_crate *patch)
{
    const uint8_t *jump = function->patch->base + function->entry->jump_rva;
    int32_t distance;
    memcpy(&distance, jump, sizeof distance);
    uint64_t target = (uint64_t)(uintptr_t)jump + (uint64_t)(int64_t)distance - (uint64_t)function->entry->jump_addend;
    return target - loaded_address(patch, 0) < patch->view.header.image_size;
}

bool entry_stubs_need(const struct loaded_crate *patch)
{
    const struct versions *versions = versions_of_patch(patch);
    for (size_t i = 0; i < versions->functions.count; i++) {
        const struct fresh_function *function = &versions->functions.at[i];
        if (function->is_given &&
            (function->patch == patch || (has_stub(function->entry) && leads_to(function, patch))))
            return true;
    }
    return false;
}

/* Makes the latest patch that has the function the first. */
static bool find_other(const struct versions *versions, struct fresh_function *function)
{
    for (size_t n = versions->patches.count; n > 0; n--) {
        struct loaded_crate *patch = versions->patches.at[n - 1];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH_FUNCTIONS); i++) {
            const struct crate_fresh_function *entry = &patch->view.fresh_functions[i];
            if (strcmp(name_of(patch, entry), function->name) != 0)
                continue;
            *function = (struct fresh_function){.name = name_of(patch, entry), .patch = patch, .entry = entry};
            return true;
        }
    }
    return false;
}

void entry_stubs_forget(struct versions *versions, const struct loaded_crate *patch)
{
    size_t count = 0;
    for (size_t i = 0; i < versions->functions.count; i++) {
        struct fresh_function function = versions->functions.at[i];
        if (function.patch != patch || find_other(versions, &function))
            versions->functions.at[count++] = function;
    }
    versions->functions.count = count;
}
