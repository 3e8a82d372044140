#include "loader/bundle.h"

#include <string.h>

#include "crate/build_id.h"
#include "loader/activate.h"
#include "loader/log.h"
#include "loader/process.h"

/* Sees to it that the tables of members are as they were written, and that there is room for their records. */
static struct crateld_error *open_members(struct loaded_crate *bundle)
{
    const struct crate_header *header = &bundle->view.header;
    struct span meta = {bundle->base, header->segments[CRATE_SEGMENT_META].file_size};
    if (bundle->members)
        return NULL;
    TRY(activate_check_meta(bundle));
    TRY(crate_check_members(bundle->path, meta, header));
    uint32_t count = crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS);
    bundle->members = arena_alloc_array(&bundle->process->arena, count, sizeof(struct loaded_crate *));
    return bundle->members ? NULL : error_memory();
}

static struct crateld_error *make_record(struct loaded_crate *bundle, uint32_t i, struct loaded_crate **ret)
{
    struct arena *arena = &bundle->process->arena;
    struct loaded_crate *crate = arena_alloc(arena, sizeof *crate);
    if (!crate)
        return error_memory();
    TRY(crate_view_of_member(&bundle->view, i, &crate->view));
    TRY(crate_view_check(&crate->view));
    const char *name = crate_view_name(&crate->view);
    crate->base = bundle->base;
    crate->toc = bundle->toc;
    crate->process = bundle->process;
    crate->bundle = bundle;
    crate->member = i;
    crate->fd = -1;
    crate->name = arena_strndup(arena, name, strlen(name));
    crate->path = arena_printf(arena, "%s(%s)", bundle->path, name);
    if (!crate->name || !crate->path)
        return error_memory();
    crate->needed = bundle->needed;
    crate->is_meta_checked = true;
    crate->is_kept = bundle->is_kept = true; /* somebody may remember it */
    *ret = crate;
    return NULL;
}

struct crateld_error *bundle_member(struct loaded_crate *bundle, uint32_t i, struct loaded_crate **ret)
{
    TRY(open_members(bundle));
    if (!i) {
        *ret = bundle;
        return NULL;
    }
    if (i >= crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS))
        return error_create(CRATELD_ERROR_FORMAT, "%s: member %u of %u", bundle->path, i,
                            crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS));
    if (!bundle->members[i])
        TRY(make_record(bundle, i, &bundle->members[i]));
    *ret = bundle->members[i];
    return NULL;
}

struct crateld_error *bundle_find(struct process *process, const char *name, bool by_file, struct loaded_crate **ret)
{
    *ret = NULL;
    for (size_t i = 0; process->bundle_count && i < process->crates.count; i++) {
        struct loaded_crate *bundle = process->crates.at[i];
        if (!crate_is_bundle(&bundle->view.header))
            continue;
        TRY(open_members(bundle));
        uint32_t member = crate_find_member(&bundle->view, name, by_file);
        if (member != CRATE_NONE)
            return bundle_member(bundle, member, ret);
    }
    return NULL;
}

struct crateld_error *bundle_find_export(struct loaded_crate *bundle, uint32_t first, uint64_t hash, const char *name,
                                         struct loaded_crate **ret, uint32_t *ret_export)
{
    *ret = NULL;
    if (!crate_is_bundle(&bundle->view.header))
        return NULL;
    TRY(open_members(bundle));
    for (uint32_t i = first; i < crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS); i++) {
        struct crate_member member;
        struct crate_view view;
        TRY(crate_view_member(&bundle->view, i, &member));
        if (member.flags & CRATE_MEMBER_FLAG_LATE)
            continue;
        TRY(crate_view_of_member(&bundle->view, i, &view));
        *ret_export = crate_view_find_export(&view, hash, name);
        if (*ret_export != CRATE_NONE)
            return bundle_member(bundle, i, ret);
    }
    return NULL;
}

struct crateld_error *bundle_member_need(const struct loaded_crate *member, uint32_t k, struct loaded_crate **crate,
                                         struct elf_library **library, bool *is_eager)
{
    struct loaded_crate *bundle = loaded_image((struct loaded_crate *)member);
    struct crate_member entry;
    uint32_t need = 0;
    *crate = NULL;
    *library = NULL;
    *is_eager = false;
    TRY(open_members(bundle));
    TRY(crate_view_member(&bundle->view, member->member, &entry));
    if (k >= entry.needs.count)
        return NULL;
    TRY(crate_member_need(&bundle->view, &entry, k, &need));
    if (need & CRATE_NEED_MEMBER)
        return bundle_member(bundle, need & CRATE_NEED_INDEX, crate);
    *crate = bundle->needed[need & CRATE_NEED_INDEX].crate;
    *library = bundle->needed[need & CRATE_NEED_INDEX].library;
    *is_eager = need & CRATE_NEED_EAGER;
    return NULL;
}

struct crateld_error *bundle_member_at(struct loaded_crate *bundle, uint64_t address, uint32_t *ret)
{
    *ret = 0;
    if (!crate_is_bundle(&bundle->view.header))
        return NULL;
    TRY(open_members(bundle));
    uint32_t member = crate_member_at(&bundle->view, (uint32_t)(address - loaded_address(bundle, 0)));
    *ret = member == CRATE_NONE ? 0 : member;
    return NULL;
}

bool bundle_has_record(const struct loaded_crate *bundle, const void *handle)
{
    bool is_found = false;
    uint32_t count = bundle->members ? crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS) : 0;
    for (uint32_t i = 1; i < count && !is_found; i++)
        is_found = bundle->members[i] && bundle->members[i] == handle;
    return is_found;
}

void bundle_forget_order(struct loaded_crate *bundle)
{
    uint32_t count = bundle->members ? crate_view_count(&bundle->view, CRATE_TABLE_MEMBERS) : 0;
    for (uint32_t i = 1; i < count; i++)
        if (bundle->members[i])
            bundle->members[i]->is_ordered = false;
}
