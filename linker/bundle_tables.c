/* The tables of a bundle's members. */
#include <string.h>

#include "base/hash.h"
#include "linker/address.h"
#include "linker/bundle_member.h"
#include "linker/output.h"
#include "linker/tables.h"

/* Its arrays of initialisers, or of finalisers: parts of the output called `name`. */
static struct crate_array array_of(const struct link *link, const struct bundle_member *member, const char *name)
{
    const struct link_output *output = link_find_output(link, name);
    uint64_t start = UINT64_MAX, end = 0;
    if (!output || output->segment != CRATE_SEGMENT_DATA || output->type == SHT_NOBITS || output->flags & SHF_TLS)
        return (struct crate_array){0};
    for (size_t i = 0; i < output->sections.count; i++) {
        const struct link_section *section = output->sections.at[i];
        if (section->object->member != member->number || !section->size)
            continue;
        uint64_t rva = link_section_rva(section, 0);
        start = rva < start ? rva : start;
        end = rva + section->size > end ? rva + section->size : end;
    }
    return end ? (struct crate_array){(uint32_t)start, (uint32_t)((end - start) / 8)} : (struct crate_array){0};
}

static bool has_array(const struct bundle_member *member)
{
    return member->view.header.init_array.count || member->view.header.fini_array.count;
}

/* The strings of all members are put into tables of their own. */
struct counting {
    struct link *link;
    struct crate_tables *tables;
    struct crate_tables strings; /* owned; for its strings only */
};

/* The member's exports, sorted; the rva of each is its number among member->exports until it has a place. */
static struct crateld_error *count_exports(struct counting *c, const struct bundle_member *member,
                                           struct crate_member *ret)
{
    struct crate_tables own;
    struct crate_header header = {0};
    struct crateld_error *error = NULL;
    crate_tables_init(&own);
    for (uint32_t i = 0; i < member->exports.count && !error; i++) {
        const struct bundle_export *export = &member->exports.at[i];
        const struct link_symbol *symbol = member->symbols[export->symbol];
        struct crate_export entry = {.hash = hash_string(export->name), .rva = i};
        link_tables_describe_export(symbol, &entry);
        error = crate_tables_string(&c->strings, export->name, &entry.name);
        if (!error && !VEC_PUSH(&own.exports, entry))
            error = error_memory();
    }
    if (!error)
        error = crate_tables_seal(&own, &header);
    ret->bucket_bits = header.bucket_bits;
    ret->first_bucket = (uint32_t)c->tables->member_buckets.count;
    ret->exports = (struct crate_slice){(uint32_t)c->tables->member_exports.count, (uint32_t)own.exports.count};
    for (size_t i = 0; i < own.buckets.count && !error; i++)
        if (!VEC_PUSH(&c->tables->member_buckets, own.buckets.at[i]))
            error = error_memory();
    for (size_t i = 0; i < own.exports.count && !error; i++)
        if (!VEC_PUSH(&c->tables->member_exports, own.exports.at[i]))
            error = error_memory();
    crate_tables_deinit(&own);
    return error;
}

static struct crateld_error *count_needs(struct counting *c, const struct bundle_member *member,
                                         struct crate_member *ret)
{
    uint32_t count = crate_view_count(&member->view, CRATE_TABLE_NEEDED);
    ret->needs.first = (uint32_t)c->tables->member_needs.count;
    for (uint32_t i = 0; i < count; i++) {
        const struct bundle_need *need = &member->needs[i];
        uint32_t value = need->member ? CRATE_NEED_MEMBER | need->member->number
                                      : (c->link->providers.at[need->provider]->needed - 1) |
                                            (need->is_eager ? (uint32_t)CRATE_NEED_EAGER : 0);
        if (need->member && need->member->is_stub)
            continue;
        if (!VEC_PUSH(&c->tables->member_needs, value))
            return error_memory();
        ret->needs.count++;
    }
    return NULL;
}

static struct crateld_error *count_member(struct counting *c, const struct bundle_member *member)
{
    struct crate_member entry = {.flags = (has_array(member) ? CRATE_MEMBER_FLAG_EAGER : 0) |
                                          (member->is_late ? CRATE_MEMBER_FLAG_LATE : 0)};
    memcpy(entry.build_id, member->view.header.build_id, sizeof entry.build_id);
    TRY(crate_tables_string(&c->strings, member->name, &entry.name));
    TRY(crate_tables_string(&c->strings, member->file, &entry.file));
    if (member->number)
        TRY(count_exports(c, member, &entry));
    TRY(count_needs(c, member, &entry));
    return VEC_PUSH(&c->tables->members, entry) ? NULL : error_memory();
}

/* Lists those with initialisers among what the member needs, and itself, behind what it needs. */
static struct crateld_error *list_starts(struct link *link, struct bundle_member *member, struct crate_tables *tables)
{
    uint32_t number = member->number;
    member->is_visited = true;
    for (uint32_t i = 0; i < crate_view_count(&member->view, CRATE_TABLE_NEEDED); i++) {
        struct bundle_member *other = member->needs[i].member;
        if (other && !other->is_visited && !other->is_stub)
            TRY(list_starts(link, other, tables));
    }
    if (number && has_array(member) && !VEC_PUSH(&tables->starts, number))
        return error_memory();
    return NULL;
}

/* Whether the section is text of a member. */
static bool is_text(const struct link_output *output, const struct link_section *section)
{
    return output->segment == CRATE_SEGMENT_TEXT && section->record && section->size;
}

/* Lists where text of another member begins, once it is known in which order sections lie. */
static struct crateld_error *count_text(struct counting *c)
{
    uint32_t member = CRATE_NONE;
    for (size_t i = 0; i < c->link->outputs.count; i++)
        for (size_t k = 0; k < c->link->outputs.at[i]->sections.count; k++) {
            const struct link_section *section = c->link->outputs.at[i]->sections.at[k];
            struct crate_member_text text = {0, section->object->member};
            if (!is_text(c->link->outputs.at[i], section) || text.member == member)
                continue;
            member = text.member;
            if (!VEC_PUSH(&c->tables->member_text, text))
                return error_memory();
        }
    return NULL;
}

static void fill_text(const struct link *link, struct crate_tables *tables)
{
    size_t count = 0;
    for (size_t i = 0; i < link->outputs.count; i++)
        for (size_t k = 0; k < link->outputs.at[i]->sections.count; k++) {
            const struct link_section *section = link->outputs.at[i]->sections.at[k];
            bool is_next = is_text(link->outputs.at[i], section) && count < tables->member_text.count &&
                           section->object->member == tables->member_text.at[count].member;
            if (is_next && (!count || section->object->member != tables->member_text.at[count - 1].member))
                tables->member_text.at[count++].rva = (uint32_t)link_section_rva(section, 0);
        }
}

static struct crateld_error *count_all(struct counting *c)
{
    struct link_bundle *bundle = c->link->bundle;
    for (size_t i = 0; i < bundle->count; i++) {
        bundle->members.at[i]->is_visited = false;
        TRY(count_member(c, bundle->members.at[i]));
    }
    TRY(count_text(c));
    TRY(list_starts(c->link, bundle->members.at[0], c->tables));
    size_t size = c->strings.strings.count;
    if (!VEC_RESERVE(&c->tables->member_strings, size + 1))
        return error_memory();
    memcpy(c->tables->member_strings.at, c->strings.strings.at, size);
    c->tables->member_strings.at[size] = '\0';
    c->tables->member_strings.count = size + 1;
    return NULL;
}

struct crateld_error *link_bundle_count(struct link *link, struct crate_tables *tables)
{
    struct counting counting = {.link = link, .tables = tables};
    crate_tables_init(&counting.strings);
    struct crateld_error *error = count_all(&counting);
    crate_tables_deinit(&counting.strings);
    return error;
}

/* The modules that the relink section has of the member: its objects are neighbours. */
static struct crate_slice modules_of(const struct bundle_member *member)
{
    uint32_t count = member->relink.module_count;
    return (struct crate_slice){count ? member->objects[0]->priority : 0, count};
}

struct crateld_error *link_bundle_fill(struct link *link, struct crate_tables *tables, struct crate_header *header)
{
    for (size_t i = 0; i < link->bundle->count; i++) {
        const struct bundle_member *member = link->bundle->members.at[i];
        struct crate_member *entry = &tables->members.at[i];
        entry->modules = modules_of(member);
        entry->init_array = array_of(link, member, ".init_array");
        entry->fini_array = array_of(link, member, ".fini_array");
        for (uint32_t k = 0; k < entry->exports.count; k++) {
            struct crate_export *export = &tables->member_exports.at[entry->exports.first + k];
            const struct bundle_export *from = &member->exports.at[export->rva];
            link_tables_fill_export(link, member->symbols[from->symbol], export);
        }
    }
    fill_text(link, tables);
    const struct bundle_member *first = link->bundle->members.at[0];
    header->flags |= CRATE_FLAG_BUNDLE;
    header->preinit_array = array_of(link, first, ".preinit_array");
    header->init_array = tables->members.at[0].init_array;
    header->fini_array = tables->members.at[0].fini_array;
    return NULL;
}
