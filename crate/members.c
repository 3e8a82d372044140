#include "crate/members.h"

#include <string.h>

enum { KNOWN_MEMBER_FLAGS = CRATE_MEMBER_FLAG_EAGER | CRATE_MEMBER_FLAG_LATE, MAX_BUCKET_BITS = 30 };

/* A FORMAT error about element `i` of a table. */
#define FAULT(view, table, i, ...)                                                                                     \
    error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: %s[%u]", (view)->path, table, i)

static const void *table_of(const struct crate_view *view, enum crate_table_kind kind)
{
    return view->image.data + view->header.tables[kind].rva;
}

const char *crate_member_string(const struct crate_view *bundle, uint32_t off)
{
    const char *strings = table_of(bundle, CRATE_TABLE_MEMBER_STRINGS);
    uint32_t size = crate_view_count(bundle, CRATE_TABLE_MEMBER_STRINGS);
    return off < size && !strings[size - 1] ? strings + off : NULL;
}

/* Whether the slice lies within a table of `count` elements. */
static bool is_within(struct crate_slice slice, uint32_t count)
{
    return slice.first <= count && slice.count <= count - slice.first;
}

static struct crateld_error *check_array(const struct crate_view *view, uint32_t i, struct crate_array array)
{
    if (array.count && (array.rva % 8 || !crate_segment_has(&view->header, CRATE_SEGMENT_DATA, array.rva,
                                                            (uint64_t)array.count * 8, true)))
        return FAULT(view, "members", i, "%u pointers at 0x%x are not aligned or not within the data", array.count,
                     array.rva);
    return NULL;
}

struct crateld_error *crate_view_member(const struct crate_view *bundle, uint32_t i, struct crate_member *ret)
{
    uint32_t count = crate_view_count(bundle, CRATE_TABLE_MEMBERS);
    if (i >= count)
        return FAULT(bundle, "members", i, "there are only %u", count);
    struct crate_member member;
    memcpy(&member, (const struct crate_member *)table_of(bundle, CRATE_TABLE_MEMBERS) + i, sizeof member);
    const char *name = crate_member_string(bundle, member.name), *file = crate_member_string(bundle, member.file);
    if (!name || !file || !*name)
        return FAULT(bundle, "members", i, "its name at 0x%x or that of its file at 0x%x is empty or not there",
                     member.name, member.file);
    if (member.flags & ~(uint32_t)KNOWN_MEMBER_FLAGS)
        return FAULT(bundle, "members", i, "unknown flags 0x%x", member.flags);
    if (!is_within(member.exports, crate_view_count(bundle, CRATE_TABLE_MEMBER_EXPORTS)) ||
        !is_within(member.needs, crate_view_count(bundle, CRATE_TABLE_MEMBER_NEEDS)))
        return FAULT(bundle, "members", i, "its exports or needs are not within their table");
    uint32_t bucket_count = i ? (UINT32_C(1) << (member.bucket_bits & 31)) + 1 : 0;
    if (member.bucket_bits > MAX_BUCKET_BITS || !is_within((struct crate_slice){member.first_bucket, bucket_count},
                                                           crate_view_count(bundle, CRATE_TABLE_MEMBER_BUCKETS)))
        return FAULT(bundle, "members", i, "its buckets are not within their table");
    TRY(check_array(bundle, i, member.init_array));
    TRY(check_array(bundle, i, member.fini_array));
    *ret = member;
    return NULL;
}

uint32_t crate_find_member(const struct crate_view *bundle, const char *name, bool by_file)
{
    const struct crate_member *members = table_of(bundle, CRATE_TABLE_MEMBERS);
    for (uint32_t i = 0; i < crate_view_count(bundle, CRATE_TABLE_MEMBERS); i++) {
        const char *own = crate_member_string(bundle, by_file ? members[i].file : members[i].name);
        if (own && strcmp(own, name) == 0)
            return i;
    }
    return CRATE_NONE;
}

struct crateld_error *crate_view_of_member(const struct crate_view *bundle, uint32_t i, struct crate_view *ret)
{
    struct crate_member member = {0};
    TRY(crate_view_member(bundle, i, &member));
    struct crate_view view = *bundle;
    struct crate_header *header = &view.header;
    const struct crate_array none = {0};
    header->name = member.name;
    header->entry_rva = 0;
    header->bucket_bits = member.bucket_bits;
    memcpy(header->build_id, member.build_id, sizeof header->build_id);
    header->preinit_array = none;
    header->init_array = member.init_array;
    header->fini_array = member.fini_array;
    header->flags &= ~(uint32_t)CRATE_FLAG_EAGER;
    if (member.flags & CRATE_MEMBER_FLAG_EAGER)
        header->flags |= CRATE_FLAG_EAGER;
    uint32_t exports_rva = header->tables[CRATE_TABLE_MEMBER_EXPORTS].rva;
    header->tables[CRATE_TABLE_EXPORTS] = (struct crate_table){
        exports_rva + member.exports.first * (uint32_t)sizeof(struct crate_export), member.exports.count};
    header->tables[CRATE_TABLE_BUCKETS] = (struct crate_table){header->tables[CRATE_TABLE_MEMBER_BUCKETS].rva +
                                                                   member.first_bucket * (uint32_t)sizeof(uint32_t),
                                                               (UINT32_C(1) << member.bucket_bits) + 1};
    header->tables[CRATE_TABLE_HASHES] = (struct crate_table){0};
    header->tables[CRATE_TABLE_STRINGS] = header->tables[CRATE_TABLE_MEMBER_STRINGS];
    view.exports = (const struct crate_export *)table_of(bundle, CRATE_TABLE_MEMBER_EXPORTS) + member.exports.first;
    view.buckets = (const uint32_t *)table_of(bundle, CRATE_TABLE_MEMBER_BUCKETS) + member.first_bucket;
    view.strings = table_of(bundle, CRATE_TABLE_MEMBER_STRINGS);
    *ret = view;
    return NULL;
}

struct crateld_error *crate_member_need(const struct crate_view *bundle, const struct crate_member *member, uint32_t k,
                                        uint32_t *ret)
{
    if (k >= member->needs.count)
        return FAULT(bundle, "members' needs", k, "there are only %u", member->needs.count);
    uint32_t need;
    memcpy(&need, (const uint32_t *)table_of(bundle, CRATE_TABLE_MEMBER_NEEDS) + member->needs.first + k, sizeof need);
    uint32_t count = crate_view_count(bundle, need & CRATE_NEED_MEMBER ? CRATE_TABLE_MEMBERS : CRATE_TABLE_NEEDED);
    if ((need & CRATE_NEED_INDEX) >= count)
        return FAULT(bundle, "members' needs", k, "0x%x: there are only %u", need, count);
    *ret = need;
    return NULL;
}

struct crateld_error *crate_view_start(const struct crate_view *bundle, uint32_t i, uint32_t *ret)
{
    uint32_t start, count = crate_view_count(bundle, CRATE_TABLE_STARTS);
    if (i >= count)
        return FAULT(bundle, "starts", i, "there are only %u", count);
    memcpy(&start, (const uint32_t *)table_of(bundle, CRATE_TABLE_STARTS) + i, sizeof start);
    if (!start || start >= crate_view_count(bundle, CRATE_TABLE_MEMBERS))
        return FAULT(bundle, "starts", i, "member %u of %u", start, crate_view_count(bundle, CRATE_TABLE_MEMBERS));
    *ret = start;
    return NULL;
}

uint32_t crate_member_at(const struct crate_view *bundle, uint32_t rva)
{
    const struct crate_member_text *text = table_of(bundle, CRATE_TABLE_MEMBER_TEXT);
    uint32_t low = 0, high = crate_view_count(bundle, CRATE_TABLE_MEMBER_TEXT);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (text[middle].rva <= rva)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t member = low ? text[low - 1].member : CRATE_NONE;
    return member < crate_view_count(bundle, CRATE_TABLE_MEMBERS) ? member : CRATE_NONE;
}
