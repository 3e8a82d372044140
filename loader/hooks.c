#include "loader/hooks.h"

#include "base/hash.h"
#include "loader/versions.h"

static uint32_t exported_rva(const struct loaded_crate *crate, const char *name)
{
    struct crate_export export;
    uint32_t index = crate_view_find_export(&crate->view, hash_string(name), name);
    if (index == CRATE_NONE)
        return CRATE_NONE;
    struct crateld_error *error = crate_view_export(&crate->view, index, &export);
    bool is_function = !error && export.kind == CRATE_EXPORT_FUNCTION_PLAIN;
    crateld_error_destroy(error);
    return is_function ? export.rva : CRATE_NONE;
}

uint64_t hooks_find(const struct loaded_crate *base, const char *name)
{
    uint32_t rva;
    for (size_t i = base->versions ? base->versions->patches.count : 0; i > 0; i--) {
        const struct loaded_crate *patch = base->versions->patches.at[i - 1];
        if (versions_is_active(patch) && (rva = exported_rva(patch, name)) != CRATE_NONE)
            return loaded_address(patch, rva);
    }
    rva = exported_rva(base, name);
    return rva == CRATE_NONE ? 0 : versions_address(base, rva);
}
