/* Which crates a bundle is made of, and in which order they are loaded. */
#include "linker/bundle.h"

#include <string.h>

#include "base/hash.h"
#include "crate/build_id.h"
#include "linker/bundle_member.h"
#include "linker/inputs.h"

/* Whether all that the crate exports stands for symbols of ELF libraries. */
static struct crateld_error *is_stub(const struct crate_view *view, bool *ret)
{
    uint32_t count = crate_view_count(view, CRATE_TABLE_EXPORTS);
    *ret = count && !view->header.segments[CRATE_SEGMENT_TEXT].mem_size;
    for (uint32_t i = 0; i < count && *ret; i++) {
        struct crate_export export;
        TRY(crate_view_export(view, i, &export));
        *ret = export.flags & CRATE_EXPORT_FLAG_FORWARD;
    }
    return NULL;
}

/* What can not be put into a bundle. */
static struct crateld_error *check_kind(const struct bundle_member *member)
{
    uint32_t flags = member->view.header.flags;
    if (flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is a patch: a bundle is made of crates", member->path);
    if (member->view.header.carried_count)
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: carries patches, which a bundle does not: link it again from the modules as they are now",
            member->path);
    if (flags & CRATE_FLAG_BUNDLE)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is a bundle: name the crates that it was made of",
                            member->path);
    if (!(flags & CRATE_FLAG_HAS_RELINK) && !member->is_stub)
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: has no relink section (it was stripped, or linked with --no-relink), and so can not be "
            "laid out anew: link it again",
            member->path);
    return NULL;
}

static struct crateld_error *open_member(struct link *link, const char *path, struct bundle_member *member)
{
    struct file file;
    struct span relink;
    const char *slash = strrchr(path, '/');
    member->path = path;
    member->file = slash ? slash + 1 : path;
    TRY(file_open(path, &file));
    if (!VEC_PUSH(&link->files, file)) {
        file_close(&file);
        return error_memory();
    }
    member->bytes = file.data;
    TRY(crate_view_open(path, file.data, &member->view));
    link->flags |= member->view.header.flags & CRATE_FLAG_EXEC_STACK;
    TRY(crate_check_meta(path, file.data, &member->view.header));
    member->name = crate_view_name(&member->view);
    TRY(is_stub(&member->view, &member->is_stub));
    TRY(check_kind(member));
    if (member->is_stub)
        return NULL;
    TRY(crate_view_relink(&member->view, file.data, &relink));
    return relink_view_open(path, relink, &member->relink);
}

static struct bundle_member *find_member(const struct link_bundle *bundle, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&bundle->names, hash_string(name), &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(bundle->named.at[i]->name, name))
            return bundle->named.at[i];
    return NULL;
}

/* Adds the crate at `path`, unless it is there already. */
static struct crateld_error *add_member(struct link *link, const char *path)
{
    struct link_bundle *bundle = link->bundle;
    struct bundle_member *member = arena_alloc(&link->arena, sizeof *member);
    if (!member)
        return error_memory();
    hash_index_init(&member->import_index);
    TRY(open_member(link, path, member));
    const struct bundle_member *other = find_member(bundle, member->name);
    if (other && !memcmp(other->view.header.build_id, member->view.header.build_id, CRATE_BUILD_ID_SIZE))
        return NULL;
    if (other)
        return error_create(CRATELD_ERROR_DUPLICATE, "%s: another crate called '%s' is in the bundle: %s", path,
                            member->name, other->path);
    if (!VEC_PUSH(&bundle->members, member) || !VEC_PUSH(&bundle->named, member) ||
        !hash_index_add(&bundle->names, hash_string(member->name)))
        return error_memory();
    return NULL;
}

/* The index of what `needed` of the crate is among the link's providers, entered if it is new. */
static struct crateld_error *use_provider(struct link *link, const struct bundle_member *member,
                                          const struct crate_needed *needed, bool *is_new, uint32_t *ret)
{
    const char *name = crate_view_string(&member->view, needed->name);
    size_t cursor = 0;
    uint32_t i;
    *is_new = false;
    while ((i = hash_index_next(&link->provider_names, hash_string(name), &cursor)) != HASH_INDEX_NONE)
        if (link->providers.at[i]->kept.entry.kind == needed->kind && !strcmp(link->providers.at[i]->name, name)) {
            *ret = i;
            return NULL;
        }
    struct link_provider *provider = arena_alloc(&link->arena, sizeof *provider);
    if (!provider)
        return error_memory();
    *provider = (struct link_provider){
        .kind = LINK_PROVIDER_KEPT,
        .path = member->path,
        .name = name,
        .kept = {*needed, crate_view_string(&member->view, needed->path),
                 crate_view_string(&member->view, needed->runpath)},
        .is_used = true,
    };
    provider->kept.entry.flags = 0;
    *is_new = true;
    *ret = (uint32_t)link->providers.count;
    return link_enter_provider(link, provider);
}

/* Finds out what the crate needs, in the bundle and beside it. */
static struct crateld_error *find_needs(struct link *link, struct bundle_member *member)
{
    uint32_t count = crate_view_count(&member->view, CRATE_TABLE_NEEDED);
    member->needs = arena_alloc_array(&link->arena, count, sizeof *member->needs);
    if (!member->needs)
        return error_memory();
    for (uint32_t i = 0; i < count; i++) {
        struct crate_needed needed;
        struct bundle_need *need = &member->needs[i];
        bool is_new;
        TRY(crate_view_needed(&member->view, i, &needed));
        if (needed.kind == CRATE_NEEDED_CRATE)
            need->member = find_member(link->bundle, crate_view_string(&member->view, needed.name));
        if (need->member)
            continue;
        TRY(use_provider(link, member, &needed, &is_new, &need->provider));
        struct crate_needed *kept = &link->providers.at[need->provider]->kept.entry;
        need->is_eager = needed.flags & CRATE_NEEDED_FLAG_EAGER;
        /* What only late crates need is opened when they are. */
        kept->flags |= member->is_late ? needed.flags & ~CRATE_NEEDED_FLAG_EAGER : needed.flags;
    }
    return NULL;
}

/* Puts the members into the order in which they would be loaded: breadth first from the first one; then, for each that
 * is not reached, it and what it needs; stubs last. */
static struct crateld_error *order_members(struct link *link)
{
    struct link_bundle *bundle = link->bundle;
    size_t count = bundle->members.count, done = 0;
    struct bundle_member **order = arena_alloc_array(&link->arena, count, sizeof *order);
    if (!order)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        struct bundle_member *root = bundle->members.at[i];
        size_t next = done;
        if (root->is_visited)
            continue;
        root->is_visited = true;
        order[done++] = root;
        for (; next < done; next++) {
            struct bundle_member *member = order[next];
            member->is_late = i > 0;
            for (uint32_t k = 0; k < crate_view_count(&member->view, CRATE_TABLE_NEEDED); k++) {
                struct crate_needed needed;
                TRY(crate_view_needed(&member->view, k, &needed));
                struct bundle_member *other = needed.kind == CRATE_NEEDED_CRATE
                                                  ? find_member(bundle, crate_view_string(&member->view, needed.name))
                                                  : NULL;
                if (!other || other->is_visited)
                    continue;
                other->is_visited = true;
                order[done++] = other;
            }
        }
    }
    size_t placed = 0;
    for (int stubs = 0; stubs < 2; stubs++)
        for (size_t i = 0; i < count; i++)
            if (order[i]->is_stub == stubs) {
                order[i]->number = (uint32_t)placed;
                bundle->members.at[placed++] = order[i];
                bundle->count += !stubs;
            }
    return NULL;
}

struct crateld_error *link_bundle_open(struct link *link)
{
    const struct link_options *options = link->options;
    link->bundle = calloc(1, sizeof *link->bundle);
    if (!link->bundle)
        return error_memory();
    hash_index_init(&link->bundle->vague_index);
    hash_index_init(&link->bundle->names);
    for (size_t i = 0; i < options->bundled_count; i++)
        link_report(link, add_member(link, options->bundled[i]));
    if (link->errors)
        return NULL;
    struct bundle_member *first = link->bundle->members.at[0];
    if (first->is_stub)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: stands for an ELF library: a bundle begins with a crate",
                            first->path);
    link->name = first->name;
    TRY(order_members(link));
    for (size_t i = 0; i < link->bundle->members.count; i++)
        TRY(find_needs(link, link->bundle->members.at[i]));
    return NULL;
}

void link_bundle_destroy(struct link_bundle *bundle)
{
    if (!bundle)
        return;
    for (size_t i = 0; i < bundle->members.count; i++) {
        hash_index_deinit(&bundle->members.at[i]->import_index);
        free(bundle->members.at[i]->exports.at);
    }
    hash_index_deinit(&bundle->vague_index);
    hash_index_deinit(&bundle->names);
    free(bundle->named.at);
    free(bundle->vague.at);
    free(bundle->members.at);
    free(bundle);
}

bool link_bundle_exports(const struct link *link, const struct link_symbol *symbol)
{
    return symbol->bound_version == link->bundle->members.at[0]->name;
}
