#define _GNU_SOURCE
#include "loader/change.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/relocate.h"

static bool is_in(const struct loaded_crate *crate, enum crate_segment_kind kind, uint32_t rva, uint32_t size)
{
    return crate_segment_has(&crate->view.header, kind, rva, size, kind != CRATE_SEGMENT_DATA);
}

/* Makes room for one more write, and leaves no copy of the others behind: a later search for pointers is not to find
 * it.
 */
static bool reserve(struct change *change)
{
    size_t capacity = change->writes.capacity ? 2 * change->writes.capacity : 64;
    if (change->writes.count < change->writes.capacity)
        return true;
    struct change_write *writes = calloc(capacity, sizeof *writes);
    if (!writes)
        return false;
    if (change->writes.count) {
        memcpy(writes, change->writes.at, change->writes.count * sizeof *writes);
        explicit_bzero(change->writes.at, change->writes.count * sizeof *writes);
    }
    free(change->writes.at);
    change->writes.at = writes;
    change->writes.capacity = capacity;
    return true;
}

static struct crateld_error *add(struct change *change, struct loaded_crate *crate, uint32_t rva, uint32_t size,
                                 uint64_t value)
{
    bool is_data = is_in(crate, CRATE_SEGMENT_DATA, rva, size), is_text = is_in(crate, CRATE_SEGMENT_TEXT, rva, size);
    if (!is_data && !is_text && !is_in(crate, CRATE_SEGMENT_RODATA, rva, size))
        return error_create(CRATELD_ERROR_FORMAT, "%s: a place to be changed, 0x%x, is not within the crate",
                            crate->path, rva);
    if (!memcmp(crate->base + rva, &value, size)) /* little-endian: the low half comes first */
        return NULL;
    if (!reserve(change))
        return error_memory();
    change->writes.at[change->writes.count++] = (struct change_write){crate, rva, size, value};
    return is_data ? NULL
                   : pages_add(&change->pages, crate->base + rva, size, is_text ? PROT_READ | PROT_EXEC : PROT_READ);
}

struct crateld_error *change_fix(struct change *change, struct loaded_crate *crate, uint32_t rva, uint32_t kind,
                                 uint64_t value)
{
    if (kind == CRATE_FIXUP_PC32)
        value -= loaded_address(crate, rva);
    if (!relocate_fits(kind, value))
        return error_create(CRATELD_ERROR_RANGE, "%s: the 32-bit reference at 0x%x is out of reach (0x%" PRIx64 ")",
                            crate->path, rva, value);
    return add(change, crate, rva, kind == CRATE_FIXUP_ABS64 ? 8 : 4, value);
}

struct crateld_error *change_word(struct change *change, struct loaded_crate *crate, uint32_t rva, uint64_t value)
{
    return add(change, crate, rva, 8, value);
}

static bool is_data_write(const struct change_write *write)
{
    return is_in(write->crate, CRATE_SEGMENT_DATA, write->rva, write->size);
}

struct crateld_error *change_prepare(struct change *change)
{
    TRY(pages_copy(&change->pages));
    for (size_t i = 0; i < change->writes.count; i++) {
        const struct change_write *write = &change->writes.at[i];
        if (!is_data_write(write))
            pages_write(&change->pages, write->crate->base + write->rva, &write->value, write->size);
    }
    return pages_seal(&change->pages);
}

/* One store where the place is aligned, as all are that threads may read meanwhile. */
static void store(const struct change_write *write)
{
    uint8_t *place = write->crate->base + write->rva;
    if (write->size == 8 && (uintptr_t)place % 8 == 0)
        __atomic_store_n((uint64_t *)place, write->value, __ATOMIC_RELEASE);
    else if (write->size == 4 && (uintptr_t)place % 4 == 0)
        __atomic_store_n((uint32_t *)place, (uint32_t)write->value, __ATOMIC_RELEASE);
    else
        memcpy(place, &write->value, write->size);
}

struct crateld_error *change_make(struct change *change)
{
    TRY(pages_replace(&change->pages));
    for (size_t i = 0; i < change->writes.count; i++)
        if (is_data_write(&change->writes.at[i]))
            store(&change->writes.at[i]);
    return NULL;
}

void change_deinit(struct change *change)
{
    /* A later search for pointers is not to find these. */
    if (change->writes.count)
        explicit_bzero(change->writes.at, change->writes.count * sizeof *change->writes.at);
    free(change->writes.at);
    pages_deinit(&change->pages);
    *change = (struct change){0};
}
