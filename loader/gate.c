#define _GNU_SOURCE
#include "loader/gate.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "crate/build_id.h"
#include "crate/machine.h"
#include "loader/activate.h"
#include "loader/address_index.h"
#include "loader/bind.h"
#include "loader/debugger.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/valgrind.h"

enum {
    MAX_PAGES = 16, /* of gates in one crate */
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
    GATES_SIZE = MAX_PAGES * CRATE_PAGE_SIZE,
    AREA_SIZE = CRATE_PAGE_SIZE + GATES_SIZE,
};

/* MAX_PAGES of gates: shared memory, of which every crate's gates are another mapping. NULL: there are none yet. */
static uint8_t *gates;

static const struct toc_stub_ops *stubs_of(const struct loaded_crate *crate)
{
    return crate_machine_stubs(crate->view.header.machine);
}

/* Pages below 2 GiB: one with what gates call through, and the gates. NULL: there is no room for them. */
static uint8_t *map_low(void)
{
    uint8_t *pages = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    if ((uintptr_t)pages <= INT32_MAX - AREA_SIZE)
        return pages;
    munmap(pages, AREA_SIZE);
    return NULL;
}

/* Makes the pages of gates; false if that can not be. */
static bool make_gates(const struct toc_stub_ops *stubs)
{
    if (gates)
        return true;
    uint8_t *pages = map_low();
    if (!pages)
        return false;
    uint64_t target = (uint64_t)(uintptr_t)bind_gate;
    memcpy(pages, &target, sizeof target);
    for (uint32_t off = 0; off < GATES_SIZE; off += stubs->gate_size)
        stubs->write_gate(pages + CRATE_PAGE_SIZE + off, (uint64_t)(uintptr_t)pages);
    if (mprotect(pages, CRATE_PAGE_SIZE, PROT_READ) != 0 ||
        mprotect(pages + CRATE_PAGE_SIZE, GATES_SIZE, PROT_READ | PROT_EXEC) != 0) {
        munmap(pages, AREA_SIZE);
        return false;
    }
    gates = pages + CRATE_PAGE_SIZE;
    return true;
}

static bool has_ifuncs(const struct loaded_crate *crate)
{
    return activate_first_import(crate, CRATE_IMPORT_IFUNC) != activate_first_import(crate, CRATE_IMPORT_ADDRESS);
}

/* Whether the crate may be entered by gates, as far as that can be told without looking at its image. Code of one with
 * initialisers, ifuncs or fixups in its text is in use before all of it is ready. */
static bool seems_fit(const struct loaded_crate *crate)
{
    static const uint32_t unfit = CRATE_FLAG_EAGER | CRATE_FLAG_TEXT_FIXUPS | CRATE_FLAG_PATCH | CRATE_FLAG_BUNDLE;
    return !(crate->view.header.flags & unfit) && !crate->process->opts.binds_now && !crate->process->opts.trace &&
           !valgrind_is_running() && !debugger_is_watching();
}

/* The same, found out once, for a crate that is not active yet. */
static struct crateld_error *may_have_gates(struct loaded_crate *crate, bool *ret)
{
    *ret = false;
    if (atomic_load_explicit(&crate->state, memory_order_relaxed) != LOADED_FOUND)
        return NULL;
    if (crate->gate_fitness == LOADED_FITNESS_UNKNOWN && !seems_fit(crate))
        crate->gate_fitness = LOADED_UNFIT;
    if (crate->gate_fitness == LOADED_UNFIT)
        return NULL;
    TRY(activate_check_meta(crate));
    if (crate->gate_fitness == LOADED_FITNESS_UNKNOWN)
        crate->gate_fitness = has_ifuncs(crate) ? LOADED_UNFIT : LOADED_FIT;
    *ret = crate->gate_fitness == LOADED_FIT;
    return NULL;
}

/* Whether a gate can stand at the function's address. */
static bool has_room(const struct loaded_crate *crate, const struct crate_export *export)
{
    return (export->kind == CRATE_EXPORT_FUNCTION_PLAIN || export->kind == CRATE_EXPORT_FUNCTION_TOC) &&
           export->import == CRATE_NONE &&
           crate_segment_has(&crate->view.header, CRATE_SEGMENT_TEXT, export->canonical_rva, 1, true) &&
           export->canonical_rva % stubs_of(crate)->gate_size == 0;
}

/* The first gate of a crate: its file is kept open, since its pages are wanted back, and from now on its addresses are
 * known. Leaves *ret false if the file is not there any more, or there is no page of gates. */
static struct crateld_error *begin(struct loaded_crate *crate, bool *ret)
{
    if (!make_gates(stubs_of(crate)) || !image_reopen_file(crate))
        return NULL;
    TRY(address_index_add(crate));
    crate->is_indexed = true;
    *ret = true;
    return NULL;
}

/* Maps gates over the pages from rva `first` to `end`, at most MAX_PAGES. */
static struct crateld_error *cover(struct loaded_crate *crate, uint32_t first, uint32_t end)
{
    /* An old size of 0: another mapping of the same shared memory (mremap(2)). */
    if (first < end && mremap(gates, 0, end - first, MREMAP_MAYMOVE | MREMAP_FIXED, crate->base + first) == MAP_FAILED)
        return error_errno(errno, "%s: cannot map gates", crate->path);
    return NULL;
}

/* The first gates of a crate, for the page at rva `page`. Where all of the text can have them it has: putting it back
 * is cheap if it is a mapping of its own. */
static struct crateld_error *cover_first(struct loaded_crate *crate, uint32_t page, bool *ret)
{
    const struct crate_segment *text = &crate->view.header.segments[CRATE_SEGMENT_TEXT];
    uint32_t text_size = (uint32_t)(text->file_size + PAGE_MASK) & ~(uint32_t)PAGE_MASK;
    bool is_all = text_size <= GATES_SIZE, has_begun = false;
    TRY(begin(crate, &has_begun));
    if (!has_begun)
        return NULL;
    crate->gates_rva = is_all ? (uint32_t)text->rva : page;
    crate->gates_end = is_all ? (uint32_t)text->rva + text_size : page + CRATE_PAGE_SIZE;
    TRY(cover(crate, crate->gates_rva, crate->gates_end));
    *ret = true;
    return NULL;
}

/* Sees to it that there are gates in the page of `rva`; they are on consecutive pages. */
static struct crateld_error *extend(struct loaded_crate *crate, uint32_t rva, bool *ret)
{
    uint32_t page = rva & ~(uint32_t)PAGE_MASK, first = crate->gates_rva, end = crate->gates_end;
    if (!end)
        return cover_first(crate, page, ret);
    uint32_t new_first = page < first ? page : first, new_end = page < end ? end : page + CRATE_PAGE_SIZE;
    if (new_end - new_first > GATES_SIZE)
        return NULL;
    crate->gates_rva = new_first;
    crate->gates_end = new_end;
    TRY(cover(crate, new_first, first));
    TRY(cover(crate, end, new_end));
    *ret = true;
    return NULL;
}

struct crateld_error *gate_close(const struct loaded_crate *user, const struct crate_import *import,
                                 struct loaded_crate *provider, bool *ret)
{
    *ret = false;
    bool is_possible = false;
    if (provider->bundle || import->flags & (CRATE_IMPORT_FLAG_VAGUE | CRATE_IMPORT_FLAG_BASE))
        return NULL;
    TRY(may_have_gates(provider, &is_possible));
    if (!is_possible)
        return NULL;
    uint32_t i = crate_view_find_imported(&provider->view, &user->view, import);
    struct crate_export export;
    if (i == CRATE_NONE)
        return NULL;
    TRY(crate_view_export(&provider->view, i, &export));
    return has_room(provider, &export) ? extend(provider, export.canonical_rva, ret) : NULL;
}

struct crateld_error *gate_open(struct loaded_crate *crate)
{
    const struct crate_segment *text = &crate->view.header.segments[CRATE_SEGMENT_TEXT];
    if (!crate->gates_end)
        return NULL;
    if (mmap(crate->base + text->rva, text->file_size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, crate->fd,
             (off_t)text->rva) == MAP_FAILED)
        return error_errno(errno, "%s: cannot map its text", crate->path);
    crate->gates_end = 0;
    image_release_file(crate);
    debugger_notify(); /* break points in the text are gone: a debugger that goes on sets them anew */
    return NULL;
}

/* Under the process's lock. */
static struct crateld_error *enter(struct loaded_crate *crate)
{
    TRY(activate_crate(crate));
    /* It is on its way to be active, and something that has been started for it calls: as if it had no gates. */
    return loaded_is_active(crate) ? NULL : gate_open(crate);
}

struct crateld_error *gate_enter(uint64_t address, uint64_t *ret)
{
    struct loaded_crate *crate = address_index_find(address);
    if (!crate)
        return error_create(CRATELD_ERROR_NOT_FOUND, "0x%llx: no crate is entered here", (unsigned long long)address);
    process_lock(crate->process);
    struct crateld_error *error = enter(crate);
    process_unlock(crate->process);
    *ret = address - stubs_of(crate)->gate_call_size;
    return error;
}
