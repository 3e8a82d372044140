#define _GNU_SOURCE
#include "loader/initial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Initial values that patches have. */

static bool is_active(const struct loaded_crate *patch, uint32_t module)
{
    return patch->is_active_module[module];
}

/* Calls `visit` for each initial value that an active module of the base's patches has. */
static struct crateld_error *for_each_value(struct initial_values *values, struct loaded_crate *base,
                                            struct crateld_error *(*visit)(struct initial_values *values,
                                                                           struct initial_value value))
{
    for (size_t n = 0; n < base->versions->patches.count; n++) {
        const struct loaded_crate *patch = base->versions->patches.at[n];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_INITS); i++) {
            const struct crate_init *init = &patch->view.inits[i];
            struct initial_value value = {base, init->base_rva, init->size, init->name, patch, init->image_rva};
            if (is_active(patch, init->module))
                TRY(visit(values, value));
        }
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_GROWN); i++) {
            const struct crate_grown *grown = &patch->view.grown[i];
            struct initial_value value = {base, grown->base_rva, grown->new_size, grown->name, patch, grown->image_rva};
            if (is_active(patch, grown->module))
                TRY(visit(values, value));
        }
    }
    return NULL;
}

static struct crateld_error *note(struct initial_values *values, struct initial_value value)
{
    return VEC_PUSH(&values->noted, value) ? NULL : error_memory();
}

struct crateld_error *initial_note(struct initial_values *values, struct loaded_crate *base)
{
    return for_each_value(values, base, note);
}

/* The base's own initial values. */

/* Reads `size` bytes at `rva` of the crate's file; what is behind the file's part of the data is zero. */
static struct crateld_error *read_file(const struct loaded_crate *crate, uint32_t rva, uint8_t *bytes, uint32_t size)
{
    const struct crate_segment *data = &crate->view.header.segments[CRATE_SEGMENT_DATA];
    uint64_t end = data->rva + data->file_size, have = rva < end ? end - rva : 0, done = 0;
    if (have > size)
        have = size;
    memset(bytes, 0, size);
    while (done < have) {
        ssize_t got = pread(crate->fd, bytes + done, have - done, (off_t)(rva + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_errno(got ? errno : EIO, "%s: cannot read initial values", crate->path);
        done += (uint64_t)got;
    }
    return NULL;
}

/* Moves the words among the bytes that hold addresses of the crate itself. */
static struct crateld_error *relocate_own(const struct loaded_crate *crate, uint32_t rva, uint8_t *bytes, uint32_t size)
{
    uint64_t distance = loaded_address(crate, 0) - crate->view.header.preferred_base;
    struct crate_relr_cursor cursor = {0};
    uint32_t place = 0;
    while (crate_view_relr_next(&crate->view, &cursor, &place) == CRATE_RELR_PLACE) {
        if (place < rva || place - rva > size || size - (place - rva) < 8)
            continue;
        uint64_t word;
        memcpy(&word, bytes + (place - rva), sizeof word);
        word += distance;
        memcpy(bytes + (place - rva), &word, sizeof word);
    }
    return NULL;
}

/* Fills in the words that hold addresses of imports. */
static struct crateld_error *relocate_imported(const struct loaded_crate *crate, uint32_t rva, uint8_t *bytes,
                                               uint32_t size)
{
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_DATA_RELOCS); i++) {
        struct crate_data_reloc reloc;
        struct crate_import import;
        TRY(crate_view_data_reloc(&crate->view, i, &reloc));
        if (reloc.place_rva < rva || reloc.place_rva - rva > size || size - (reloc.place_rva - rva) < 8)
            continue;
        TRY(crate_view_import(&crate->view, reloc.import, &import));
        uint64_t word = loaded_global_slots(crate)[import.slot] + (uint64_t)reloc.addend;
        memcpy(bytes + (reloc.place_rva - rva), &word, sizeof word);
    }
    return NULL;
}

/* Sets *ret to the bytes that the base began with; the caller frees them. NULL if its file is not at hand. */
static struct crateld_error *read_pristine(const struct loaded_crate *base, uint32_t rva, uint32_t size, uint8_t **ret)
{
    *ret = NULL;
    if (base->fd < 0)
        return NULL;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return error_memory();
    struct crateld_error *error = read_file(base, rva, bytes, size);
    if (!error)
        error = relocate_own(base, rva, bytes, size);
    if (!error)
        error = relocate_imported(base, rva, bytes, size);
    if (error)
        free(bytes);
    else
        *ret = bytes;
    return error;
}

static const struct growth *find_growth(const struct initial_values *values, const struct loaded_crate *base,
                                        uint32_t rva)
{
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        if (growth->base == base && rva >= growth->base_rva && rva - growth->base_rva < growth->base_size)
            return growth;
    }
    return NULL;
}

static bool is_storage(const struct moved_variable *variable, const struct initial_value *value)
{
    return variable && variable->image && variable->crate == value->patch && variable->rva == value->image_rva;
}

/* A copy of the bytes of a patch's initial value: where its image became the variable's storage, they were kept. */
static struct crateld_error *copy_value(const struct initial_values *values, const struct initial_value *value,
                                        uint8_t **ret)
{
    const struct moved_variable *variable = versions_variable(value->base, value->base_rva);
    const struct growth *growth = find_growth(values, value->base, value->base_rva);
    const uint8_t *from = value->patch->base + value->image_rva;
    if (is_storage(variable, value))
        from = variable->image;
    else if (growth && is_storage(&growth->before, value))
        from = growth->before.image;
    *ret = malloc(value->size);
    if (!*ret)
        return error_memory();
    memcpy(*ret, from, value->size);
    return NULL;
}

uint64_t initial_address_before(const struct initial_values *values, const struct loaded_crate *base, uint32_t rva)
{
    const struct growth *growth = find_growth(values, base, rva);
    return growth ? (uint64_t)(uintptr_t)growth_from(growth) + (rva - growth->base_rva) : versions_address(base, rva);
}

/* Planning. */

/* Takes up the variable, whose value before and after is that of a patch, or, if NULL, the base's own. */
static struct crateld_error *add_change(struct initial_values *values, const struct initial_value *before,
                                        const struct initial_value *after)
{
    const struct initial_value *known = after ? after : before;
    uint32_t size = before && before->size < known->size ? before->size : known->size;
    struct value_change change = {.base = known->base,
                                  .base_rva = known->base_rva,
                                  .size = size,
                                  .name = crate_view_string(&known->patch->view, known->name)};
    if (!before || !after) {
        const struct moved_variable *variable = versions_variable(known->base, known->base_rva);
        if (variable && variable->base_size < change.size)
            change.size = variable->base_size;
    }
    if (!crate_segment_has(&known->base->view.header, CRATE_SEGMENT_DATA, known->base_rva, 1, false) ||
        !crate_segment_has(&known->base->view.header, CRATE_SEGMENT_DATA, known->base_rva,
                           before && after && versions_variable(known->base, known->base_rva) ? 1 : change.size, false))
        return error_create(CRATELD_ERROR_FORMAT, "%s: '%s', %u bytes at 0x%x, is not within the data of %s",
                            known->patch->path, change.name, change.size, known->base_rva, known->base->path);
    if (!VEC_RESERVE(&values->changes, 1))
        return error_memory();
    struct value_change *added = &values->changes.at[values->changes.count++];
    *added = change;
    TRY(before ? copy_value(values, before, &added->before)
               : read_pristine(known->base, known->base_rva, change.size, &added->before));
    return after ? copy_value(values, after, &added->after)
                 : read_pristine(known->base, known->base_rva, change.size, &added->after);
}

static const struct initial_value *find_noted(const struct initial_values *values, const struct initial_value *value)
{
    for (size_t i = values->noted.count; i > 0; i--)
        if (values->noted.at[i - 1].base == value->base && values->noted.at[i - 1].base_rva == value->base_rva)
            return &values->noted.at[i - 1];
    return NULL;
}

static struct crateld_error *plan_after(struct initial_values *values, struct initial_value value)
{
    const struct initial_value *before = find_noted(values, &value);
    if (before && before->patch == value.patch && before->image_rva == value.image_rva)
        return NULL;
    return add_change(values, before, &value);
}

/* Of the values before: those that no active patch has any more. */
static struct crateld_error *plan_gone(struct initial_values *values, const struct loaded_crate *base)
{
    for (size_t i = 0; i < values->noted.count; i++) {
        const struct initial_value *noted = &values->noted.at[i];
        bool is_there = noted->base != base;
        for (size_t n = 0; !is_there && n < base->versions->patches.count; n++) {
            const struct loaded_crate *patch = base->versions->patches.at[n];
            for (uint32_t k = 0; k < crate_view_count(&patch->view, CRATE_TABLE_INITS); k++)
                is_there |=
                    patch->view.inits[k].base_rva == noted->base_rva && is_active(patch, patch->view.inits[k].module);
            for (uint32_t k = 0; k < crate_view_count(&patch->view, CRATE_TABLE_GROWN); k++)
                is_there |=
                    patch->view.grown[k].base_rva == noted->base_rva && is_active(patch, patch->view.grown[k].module);
        }
        if (!is_there)
            TRY(add_change(values, noted, NULL));
    }
    return NULL;
}

/* Keeps the initial values of variables whose new storage they are in. */
static struct crateld_error *keep_images(struct initial_values *values, struct loaded_crate *base)
{
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        if (growth->base != base || growth->has_been_there)
            continue;
        struct moved_variable *variable = versions_variable(base, growth->base_rva);
        variable->image = malloc(growth->new_size);
        if (!variable->image)
            return error_memory();
        memcpy(variable->image, growth_to(growth), growth->new_size);
    }
    return NULL;
}

/* Where a pointer to a variable will lead that moves; other values stay what they are. */
static uint64_t follow(const struct initial_values *values, uint64_t word)
{
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        if (word - (uint64_t)(uintptr_t)growth_from(growth) < growth->size) /* it may go on from there */
            word = word - (uint64_t)(uintptr_t)growth_from(growth) + (uint64_t)(uintptr_t)growth_to(growth);
    }
    return word;
}

/* Pointers among the values are compared as they will be. */
static void follow_pointers(const struct initial_values *values, uint8_t *bytes, uint32_t size)
{
    for (uint32_t off = 0; bytes && off + 8 <= size; off += 8) {
        uint64_t word;
        memcpy(&word, bytes + off, sizeof word);
        word = follow(values, word);
        memcpy(bytes + off, &word, sizeof word);
    }
}

struct crateld_error *initial_plan(struct initial_values *values, struct loaded_crate *base)
{
    size_t first = values->changes.count;
    TRY(keep_images(values, base));
    TRY(for_each_value(values, base, plan_after));
    TRY(plan_gone(values, base));
    for (size_t i = 0; i < base->versions->variables.count; i++)
        follow_pointers(values, base->versions->variables.at[i].image, base->versions->variables.at[i].size);
    for (size_t i = first; i < values->changes.count; i++) {
        follow_pointers(values, values->changes.at[i].before, values->changes.at[i].size);
        follow_pointers(values, values->changes.at[i].after, values->changes.at[i].size);
    }
    return NULL;
}

/* Doing it. */

/* Sets what of the variable at `place` is still as it was before; in *set and *kept: whether anything was, and whether
 * anything that changes was not. */
static void set_value(const struct value_change *change, uint8_t *place, bool *set, bool *kept)
{
    for (uint32_t off = 0, size; off < change->size; off += size) {
        size = change->size - off < 8 ? change->size - off : 8;
        const uint8_t *before = change->before + off, *after = change->after + off;
        if (!memcmp(before, after, size))
            continue;
        if (size == 8 && (uintptr_t)(place + off) % 8 == 0) {
            uint64_t old, new;
            memcpy(&old, before, 8);
            memcpy(&new, after, 8);
            bool is_set = __atomic_compare_exchange_n((uint64_t *)(place + off), &old, new, false, __ATOMIC_ACQ_REL,
                                                      __ATOMIC_RELAXED);
            *set |= is_set;
            *kept |= !is_set;
        } else if (!memcmp(place + off, before, size)) {
            memcpy(place + off, after, size);
            *set = true;
        } else {
            *kept = true;
        }
    }
}

static const struct value_change *find_change(const struct initial_values *values, const struct growth *growth)
{
    for (size_t i = 0; i < values->changes.count; i++)
        if (values->changes.at[i].base == growth->base && values->changes.at[i].base_rva == growth->base_rva)
            return &values->changes.at[i];
    return NULL;
}

/* The new storage holds the new initial value: what the program made of the old one goes over it. */
void initial_move(const struct initial_values *values)
{
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        const struct value_change *change = find_change(values, growth);
        if (growth->way == GROWTH_INIT)
            initial_reset(versions_variable(growth->base, growth->base_rva));
        if (growth->way != GROWTH_COPY)
            continue;
        const uint8_t *before = change ? change->before : NULL;
        for (uint32_t off = 0, size; off < growth->size; off += size) {
            size = growth->size - off < 8 ? growth->size - off : 8;
            bool is_untouched =
                before && off + size <= change->size && !memcmp(growth_from(growth) + off, before + off, size);
            if (!is_untouched)
                memcpy(growth_to(growth) + off, growth_from(growth) + off, size);
        }
    }
}

static bool is_grown(const struct initial_values *values, const struct value_change *change)
{
    for (size_t i = 0; i < values->growths.count; i++)
        if (values->growths.at[i].base == change->base && values->growths.at[i].base_rva == change->base_rva)
            return true;
    return false;
}

void initial_set(struct initial_values *values)
{
    for (size_t i = 0; i < values->changes.count; i++) {
        const struct value_change *change = &values->changes.at[i];
        bool is_set = false, is_kept = false;
        if (is_grown(values, change))
            continue;
        if (change->before && change->after)
            set_value(change, (uint8_t *)(uintptr_t)versions_address(change->base, change->base_rva), &is_set,
                      &is_kept);
        else
            is_kept = true;
        values->set += is_set;
        values->kept += is_kept;
    }
}

/* Pointers among the values must not be found where they were. */
static void forget(uint8_t *bytes, uint32_t size)
{
    if (bytes)
        explicit_bzero(bytes, size);
    free(bytes);
}

void initial_deinit(struct initial_values *values)
{
    for (size_t i = 0; i < values->changes.count; i++) {
        forget(values->changes.at[i].before, values->changes.at[i].size);
        forget(values->changes.at[i].after, values->changes.at[i].size);
    }
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        if (growth->way == GROWTH_COPY)
            forget(growth->before.image, growth->before.size);
        forget(growth->old_value, growth->size);
    }
    free(values->noted.at);
    free(values->changes.at);
    free(values->growths.at);
    *values = (struct initial_values){0};
}
