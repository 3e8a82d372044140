#include "linker/type_compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/hash_index.h"

enum {
    MAX_DEPTH = 100, /* of values in values: what is deeper counts as the same */
    MAX_BASES = 16,  /* of classes derived from each other */
};

/* Where a type was met, for messages. */
struct place {
    struct type record; /* whose member it is; OPAQUE: it is the variable's own */
    const char *member;
    bool is_led_to; /* the record is behind a pointer */
    bool is_target; /* the type is what the member, or the variable, points to */
};

/* Types behind pointers, which are compared when the values before them were. */
struct queued {
    struct type old, new;
    struct place place;
};

struct pair {
    const void *old, *new;
    bool may_grow;
};

struct comparison {
    VEC(struct queued) queue;
    VEC(struct pair) pairs; /* that were begun: they are the same unless a difference is found */
    struct hash_index pair_index;
    struct type_difference *difference;
};

/* Adds the pair unless it is known; *is_new tells. */
static struct crateld_error *enter_pair(struct comparison *c, const struct type *old, const struct type *new,
                                        bool may_grow, bool *is_new)
{
    struct pair pair = {old->die.addr, new->die.addr, may_grow};
    const uintptr_t key[] = {(uintptr_t)pair.old, (uintptr_t)pair.new, may_grow};
    uint64_t hash = hash_bytes(key, sizeof key);
    size_t cursor = 0;
    uint32_t i;
    *is_new = false;
    while ((i = hash_index_next(&c->pair_index, hash, &cursor)) != HASH_INDEX_NONE)
        if (c->pairs.at[i].old == pair.old && c->pairs.at[i].new == pair.new && c->pairs.at[i].may_grow == may_grow)
            return NULL;
    *is_new = true;
    return VEC_PUSH(&c->pairs, pair) && hash_index_add(&c->pair_index, hash) ? NULL : error_memory();
}

/* Says what differs; the type is changed then. */
static enum type_relation differ(struct comparison *c, const struct type *record, bool is_led_to, const char *format,
                                 ...) __attribute__((format(printf, 4, 5)));

static enum type_relation differ(struct comparison *c, const struct type *record, bool is_led_to, const char *format,
                                 ...)
{
    char what[256], name[120] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (record)
        type_print(record, name, sizeof name);
    snprintf(c->difference->text, sizeof c->difference->text, "%s%s%s%s", name, is_led_to ? ", to which it leads" : "",
             record ? ": " : "", what);
    return TYPE_CHANGED;
}

static enum type_relation differ_in_types(struct comparison *c, const struct place *place, const struct type *old,
                                          const struct type *new)
{
    char found[100], wanted[100];
    type_print(new, found, sizeof found);
    type_print(old, wanted, sizeof wanted);
    const char *is = place->is_target ? "leads to" : "is", *was = place->is_target ? "led to" : "was";
    if (place->record.kind == TYPE_OPAQUE)
        return differ(c, NULL, false, "it %s '%s', and %s '%s'", is, found, was, wanted);
    return differ(c, &place->record, place->is_led_to, "member '%s' %s '%s', and %s '%s'", place->member, is, found,
                  was, wanted);
}

static struct crateld_error *compare(struct comparison *c, const struct place *place, const struct type *old,
                                     const struct type *new, bool may_grow, int depth, enum type_relation *ret);

/* Members. */

static bool is_data(const struct type_member *member)
{
    return member->kind == MEMBER_DATA || member->kind == MEMBER_BASE;
}

static const struct type_member *find_named(const struct type_members *members, size_t first, const char *name,
                                            enum member_kind kind)
{
    for (size_t i = 0; i < members->list.count; i++) { /* mostly it is where it was */
        const struct type_member *member = &members->list.at[(first + i) % members->list.count];
        if (member->kind == kind && !strcmp(member->name, name))
            return member;
    }
    return NULL;
}

static bool is_same_place(const struct type_member *a, const struct type_member *b)
{
    return a->kind == b->kind && a->at == b->at && a->size == b->size;
}

/* The member of `members` that old[i] is now: that of its name, or, if both names are in one of the two only, the one
 * in its place. NULL: none. */
static const struct type_member *find_member(const struct type_members *old, const struct type_members *members,
                                             size_t i)
{
    const struct type_member *member = &old->list.at[i];
    const struct type_member *named = *member->name ? find_named(members, i, member->name, member->kind) : NULL;
    if (named)
        return named;
    for (size_t k = 0; k < members->list.count; k++) {
        const struct type_member *other = &members->list.at[(i + k) % members->list.count];
        bool is_old_name = *other->name && find_named(old, i, other->name, other->kind);
        if (is_data(other) && is_same_place(member, other) && !*member->name == !*other->name && !is_old_name)
            return other;
    }
    return NULL;
}

static enum type_relation differ_in_place(struct comparison *c, const struct type *record, bool is_led_to,
                                          const struct type_member *old, const struct type_member *new)
{
    const char *word = old->kind == MEMBER_BASE ? "base class" : "member";
    if (old->at != new->at && (old->at % 8 || new->at % 8))
        return differ(c, record, is_led_to, "%s '%s' is at bit %" PRIu64 ", and was at bit %" PRIu64, word, old->name,
                      new->at, old->at);
    if (old->at != new->at)
        return differ(c, record, is_led_to, "%s '%s' is at byte %" PRIu64 ", and was at byte %" PRIu64, word, old->name,
                      new->at / 8, old->at / 8);
    return differ(c, record, is_led_to, "%s '%s' has %" PRIu64 " bits, and had %" PRIu64 " (0: all of its type's)",
                  word, old->name, new->size, old->size);
}

/* Two versions of a struct, class or union with their members. */
struct records {
    const struct type *old, *new;
    struct type_members old_members, new_members;
    bool is_led_to;
    bool may_grow;
    int depth;
};

static struct crateld_error *compare_old_members(struct comparison *c, const struct records *r, enum type_relation *ret)
{
    size_t count = r->old_members.list.count;
    while (count && !is_data(&r->old_members.list.at[count - 1]))
        count--;
    for (size_t i = 0; i < count; i++) {
        const struct type_member *old = &r->old_members.list.at[i];
        if (!is_data(old))
            continue;
        const struct type_member *new = find_member(&r->old_members, &r->new_members, i);
        bool is_last = i + 1 == count && r->old->kind == TYPE_RECORD;
        enum type_relation relation = TYPE_SAME;
        if (!new) {
            relation = differ(c, r->new, r->is_led_to, "member '%s' is gone", old->name);
        } else if (!is_same_place(old, new)) {
            relation = differ_in_place(c, r->new, r->is_led_to, old, new);
        } else {
            struct type old_type = type_of(old->die), new_type = type_of(new->die);
            struct place place = {*r->new, new->name, r->is_led_to, false};
            TRY(compare(c, &place, &old_type, &new_type, r->may_grow && is_last, r->depth + 1, &relation));
        }
        if (relation > *ret)
            *ret = relation;
        if (relation == TYPE_CHANGED)
            return NULL;
    }
    return NULL;
}

/* A member that is new is behind all that was there, or in the way of it. */
static enum type_relation compare_new_members(struct comparison *c, const struct records *r)
{
    enum type_relation relation = TYPE_SAME;
    for (size_t i = 0; i < r->new_members.list.count; i++) {
        const struct type_member *new = &r->new_members.list.at[i];
        if (!is_data(new) || find_member(&r->new_members, &r->old_members, i))
            continue;
        if (!r->may_grow || r->old->kind == TYPE_UNION || new->at / 8 < r->old->size)
            return differ(c, r->new, r->is_led_to, "member '%s' is new", new->name);
        relation = TYPE_GROWN;
    }
    return relation;
}

/* What is in a class's table of virtual functions. */
struct table {
    int64_t highest; /* slot of a function; -1: none */
    bool has_destructor;
};

/* Compilers do not agree on the slots of destructors. */
static bool is_destructor(const struct type_member *member)
{
    return *member->name == '~';
}

static struct table read_table(const struct type *type, int depth)
{
    struct type_members members = {0};
    struct table table = {-1, false};
    struct crateld_error *error = type_members(type, &members);
    for (size_t i = 0; !error && i < members.list.count; i++) {
        const struct type_member *member = &members.list.at[i];
        if (member->kind == MEMBER_FUNCTION && is_destructor(member))
            table.has_destructor = true;
        else if (member->kind == MEMBER_FUNCTION && (int64_t)member->at > table.highest)
            table.highest = (int64_t)member->at;
        if (member->kind == MEMBER_BASE && depth < MAX_BASES) {
            struct type base = type_of(member->die);
            struct table of_base = read_table(&base, depth + 1);
            table.highest = of_base.highest > table.highest ? of_base.highest : table.highest;
            table.has_destructor |= of_base.has_destructor;
        }
    }
    crateld_error_destroy(error);
    free(members.list.at);
    return table;
}

static const struct type_member *find_slot(const struct type_members *members, uint64_t slot)
{
    for (size_t i = 0; i < members->list.count; i++) {
        const struct type_member *member = &members->list.at[i];
        if (member->kind == MEMBER_FUNCTION && member->at == slot && !is_destructor(member))
            return member;
    }
    return NULL;
}

/* Objects that are there have the old class's table of virtual functions: what is called through a slot must be in it.
 */
static enum type_relation compare_functions(struct comparison *c, const struct records *r)
{
    struct table table = {-1, false};
    bool is_read = false;
    for (size_t i = 0; i < r->new_members.list.count; i++) {
        const struct type_member *new = &r->new_members.list.at[i];
        if (new->kind != MEMBER_FUNCTION)
            continue;
        const struct type_member *old = is_destructor(new) ? NULL : find_slot(&r->old_members, new->at);
        if (old && strcmp(old->name, new->name) != 0)
            return differ(c, r->new, r->is_led_to, "virtual function '%s' is in the place of '%s'", new->name,
                          old->name);
        if (!old && !is_read)
            table = read_table(r->old, 0);
        is_read |= !old;
        if (!old && (is_destructor(new) ? !table.has_destructor : (int64_t) new->at > table.highest))
            return differ(c, r->new, r->is_led_to, "virtual function '%s' is new", new->name);
    }
    return TYPE_SAME;
}

static struct crateld_error *compare_members(struct comparison *c, struct records *r, enum type_relation *ret)
{
    TRY(type_members(r->old, &r->old_members));
    TRY(type_members(r->new, &r->new_members));
    TRY(compare_old_members(c, r, ret));
    enum type_relation relation = *ret == TYPE_CHANGED ? TYPE_CHANGED : compare_new_members(c, r);
    if (relation != TYPE_CHANGED && compare_functions(c, r) == TYPE_CHANGED)
        relation = TYPE_CHANGED;
    if (relation > *ret)
        *ret = relation;
    if (*ret == TYPE_CHANGED || r->old->size == r->new->size)
        return NULL;
    *ret =
        r->may_grow && r->new->size > r->old->size
            ? TYPE_GROWN
            : differ(c, r->new, r->is_led_to, "it has %" PRIu64 " bytes, and had %" PRIu64, r->new->size, r->old->size);
    return NULL;
}

static struct crateld_error *compare_records(struct comparison *c, const struct place *place, const struct type *old,
                                             const struct type *new, bool may_grow, int depth, enum type_relation *ret)
{
    bool is_new;
    TRY(enter_pair(c, old, new, may_grow, &is_new));
    if (!is_new || depth == MAX_DEPTH)
        return NULL;
    struct records records = {.old = old,
                              .new = new,
                              .is_led_to = place->is_led_to || place->is_target,
                              .may_grow = may_grow,
                              .depth = depth};
    struct crateld_error *error = compare_members(c, &records, ret);
    free(records.old_members.list.at);
    free(records.new_members.list.at);
    return error;
}

/* A value that is stored means what it meant, whatever was added. */
static struct crateld_error *compare_enumerations(struct comparison *c, const struct place *place,
                                                  const struct type *old, const struct type *new,
                                                  enum type_relation *ret)
{
    struct type_members old_values = {0}, new_values = {0};
    struct crateld_error *error = type_members(old, &old_values);
    if (!error)
        error = type_members(new, &new_values);
    for (size_t i = 0; !error && *ret == TYPE_SAME && i < old_values.list.count; i++) {
        const struct type_member *value = &old_values.list.at[i];
        const struct type_member *now = find_named(&new_values, i, value->name, MEMBER_VALUE);
        if (now && now->at != value->at)
            *ret = differ(c, new, place->is_led_to || place->is_target, "'%s' is %" PRId64 ", and was %" PRId64,
                          value->name, (int64_t)now->at, (int64_t)value->at);
    }
    free(old_values.list.at);
    free(new_values.list.at);
    return error;
}

static struct crateld_error *compare_arrays(struct comparison *c, const struct place *place, const struct type *old,
                                            const struct type *new, bool may_grow, int depth, enum type_relation *ret)
{
    uint64_t was[TYPE_MAX_DIMENSIONS] = {0}, is[TYPE_MAX_DIMENSIONS] = {0};
    int count = type_dimensions(old, was);
    enum type_relation relation = TYPE_SAME;
    bool is_other = type_dimensions(new, is) != count;
    for (int i = 0; i < count && !is_other; i++) {
        bool is_grown = !i && may_grow && is[i] > was[i];
        is_other = was[i] && is[i] && was[i] != is[i] && !is_grown; /* 0: as many as there is room for */
        relation = is_grown && was[i] ? TYPE_GROWN : relation;
    }
    *ret = is_other ? differ_in_types(c, place, old, new) : relation;
    if (*ret == TYPE_CHANGED)
        return NULL;
    struct type old_element = type_target(old), new_element = type_target(new);
    relation = TYPE_SAME;
    TRY(compare(c, place, &old_element, &new_element, false, depth + 1, &relation));
    if (relation == TYPE_CHANGED && (old_element.kind != new_element.kind || old_element.kind == TYPE_BASE))
        relation = differ_in_types(c, place, old, new);
    *ret = relation > *ret ? relation : *ret;
    return NULL;
}

static struct crateld_error *compare_pointers(struct comparison *c, const struct place *place, const struct type *old,
                                              const struct type *new)
{
    struct queued queued = {type_target(old), type_target(new), *place};
    queued.place.is_target = true;
    return VEC_PUSH(&c->queue, queued) ? NULL : error_memory();
}

/* *ret is TYPE_SAME before. */
static struct crateld_error *compare(struct comparison *c, const struct place *place, const struct type *old,
                                     const struct type *new, bool may_grow, int depth, enum type_relation *ret)
{
    static const char is_anything[] = {[TYPE_OPAQUE] = 1, [TYPE_OTHER] = 1};
    if (depth > MAX_DEPTH || is_anything[old->kind] || is_anything[new->kind])
        return NULL;
    bool is_sized = old->kind == TYPE_BASE || old->kind == TYPE_ENUM || old->kind == TYPE_MEMBER_POINTER;
    if (old->kind != new->kind || (is_sized && (old->size != new->size || old->encoding != new->encoding))) {
        *ret = differ_in_types(c, place, old, new);
        return NULL;
    }
    switch (old->kind) {
    case TYPE_ENUM:
        return compare_enumerations(c, place, old, new, ret);
    case TYPE_RECORD:
    case TYPE_UNION:
        return compare_records(c, place, old, new, may_grow, depth, ret);
    case TYPE_ARRAY:
        return compare_arrays(c, place, old, new, may_grow, depth, ret);
    case TYPE_POINTER:
        return compare_pointers(c, place, old, new);
    default: /* functions: who is called has the same version as who calls */
        return NULL;
    }
}

/* Compares what is behind pointers, until nothing is left. */
static struct crateld_error *compare_targets(struct comparison *c, enum type_relation *ret)
{
    for (size_t i = 0; i < c->queue.count; i++) {
        struct queued queued = c->queue.at[i];
        enum type_relation relation = TYPE_SAME;
        bool is_record = queued.old.kind == TYPE_RECORD || queued.old.kind == TYPE_UNION;
        bool is_new = true;
        if (!is_record) /* those see to it themselves */
            TRY(enter_pair(c, &queued.old, &queued.new, false, &is_new));
        if (is_new)
            TRY(compare(c, &queued.place, &queued.old, &queued.new, false, 0, &relation));
        if (relation == TYPE_CHANGED) {
            *ret = TYPE_CHANGED;
            return NULL;
        }
    }
    return NULL;
}

struct crateld_error *type_compare(Dwarf_Die old_type, Dwarf_Die new_type, enum type_relation *ret,
                                   struct type_difference *ret_difference)
{
    struct comparison c = {.difference = ret_difference};
    struct place place = {.record = {.kind = TYPE_OPAQUE}};
    struct type old = type_of(old_type), new = type_of(new_type);
    enum type_relation relation = TYPE_SAME;
    hash_index_init(&c.pair_index);
    struct crateld_error *error = compare(&c, &place, &old, &new, true, 0, &relation);
    if (!error && relation != TYPE_CHANGED)
        error = compare_targets(&c, &relation);
    if (!error)
        *ret = relation;
    hash_index_deinit(&c.pair_index);
    free(c.pairs.at);
    free(c.queue.at);
    return error;
}

/* Fingerprints: of a description of the type, in which what was described is referred to by number. */

struct description {
    VEC(uint8_t) bytes;
    VEC(struct type) types; /* behind pointers, by number */
    struct hash_index numbers;
    bool is_out_of_memory;
};

static void put(struct description *d, const void *bytes, size_t size)
{
    if (!VEC_RESERVE(&d->bytes, size) || !d->bytes.at) {
        d->is_out_of_memory = true;
        return;
    }
    memcpy(d->bytes.at + d->bytes.count, bytes, size);
    d->bytes.count += size;
}

static void put_number(struct description *d, uint64_t number)
{
    put(d, &number, sizeof number);
}

/* The type's number, given to it if it has none. */
static uint64_t number_of(struct description *d, const struct type *type)
{
    uint64_t hash = hash_bytes(&type->die.addr, sizeof type->die.addr);
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&d->numbers, hash, &cursor)) != HASH_INDEX_NONE)
        if (d->types.at[i].die.addr == type->die.addr)
            return i;
    if (!VEC_PUSH(&d->types, *type) || !hash_index_add(&d->numbers, hash))
        d->is_out_of_memory = true;
    return d->types.count - 1;
}

static void describe(struct description *d, const struct type *type, int depth);

static void describe_members(struct description *d, const struct type *type, int depth)
{
    struct type_members members = {0};
    struct crateld_error *error = type_members(type, &members);
    d->is_out_of_memory |= error != NULL;
    crateld_error_destroy(error);
    for (size_t i = 0; i < members.list.count; i++) {
        const struct type_member *member = &members.list.at[i];
        const uint64_t numbers[] = {member->kind, member->at, member->size};
        put(d, numbers, sizeof numbers);
        put(d, member->name, strlen(member->name) + 1);
        if (is_data(member)) {
            struct type of_member = type_of(member->die);
            describe(d, &of_member, depth + 1);
        }
    }
    free(members.list.at);
}

static void describe(struct description *d, const struct type *type, int depth)
{
    const uint64_t numbers[] = {type->kind, type->size, type->encoding};
    uint64_t counts[TYPE_MAX_DIMENSIONS] = {0};
    struct type target = type->kind == TYPE_POINTER || type->kind == TYPE_ARRAY ? type_target(type) : *type;
    put(d, numbers, sizeof numbers);
    if (depth > MAX_DEPTH || d->is_out_of_memory)
        return;
    switch (type->kind) {
    case TYPE_POINTER:
        put_number(d, number_of(d, &target));
        break;
    case TYPE_ARRAY:
        (void)type_dimensions(type, counts);
        put(d, counts, sizeof counts);
        describe(d, &target, depth + 1);
        break;
    case TYPE_RECORD:
    case TYPE_UNION:
    case TYPE_ENUM:
        describe_members(d, type, depth);
        break;
    default:
        break;
    }
}

struct crateld_error *type_fingerprint(Dwarf_Die type, uint64_t *ret)
{
    struct description d = {.is_out_of_memory = false};
    struct type of_variable = type_of(type);
    hash_index_init(&d.numbers);
    describe(&d, &of_variable, 0);
    for (size_t i = 0; i < d.types.count && !d.is_out_of_memory; i++) {
        struct type behind_pointer = d.types.at[i];
        describe(&d, &behind_pointer, 0);
    }
    if (!d.is_out_of_memory)
        *ret = hash_bytes(d.bytes.at, d.bytes.count) | 1;
    hash_index_deinit(&d.numbers);
    free(d.types.at);
    free(d.bytes.at);
    return d.is_out_of_memory ? error_memory() : NULL;
}
