#include "loader/heap.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "crateld/gc.h"
#include "loader/elf_library.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/tls.h"

/* What is used of the library; its errors are its own. */
struct heap_library {
    struct crateld_error *(*shared_heap)(struct crateld_gc_heap **ret);
    struct crateld_gc_mutator *(*mutator)(struct crateld_gc_heap *heap);
    void (*range)(const struct crateld_gc_heap *heap, uintptr_t *base, uintptr_t *bound);
    struct crateld_error *(*type_add)(struct crateld_gc_heap *heap, const struct crateld_gc_type *type, uint32_t *ret);
    struct crateld_error *(*roots_add)(struct crateld_gc_heap *heap, const void *key,
                                       const struct crateld_gc_root_range *ranges, size_t count);
    void (*roots_withdraw)(struct crateld_gc_heap *heap, const void *key);
    enum crateld_error_code (*error_code)(const struct crateld_error *error);
    const char *(*error_message)(const struct crateld_error *error);
    void (*error_destroy)(struct crateld_error *error);
};

/* Written once, under the process's lock, before `the_mutator` is. */
static struct heap_library functions;
static struct crateld_gc_heap *the_heap;               /* borrowed, from the library */
static struct crateld_gc_mutator *_Atomic the_mutator; /* likewise; NULL: there is no heap */

static struct crateld_gc_mutator *current_mutator(void)
{
    return atomic_load_explicit(&the_mutator, memory_order_acquire);
}

bool heap_is_library(const char *soname)
{
    return strcmp(soname, "libcrateld-gc.so.0") == 0;
}

static struct crateld_error *find_functions(struct elf_library *library, struct heap_library *ret)
{
    const struct {
        const char *name;
        void *place;
    } wanted[] = {
        {"crateld_gc_shared_heap", &ret->shared_heap},
        {"crateld_gc_mutator", &ret->mutator},
        {"crateld_gc_range", &ret->range},
        {"crateld_gc_type_add", &ret->type_add},
        {"crateld_gc_roots_add", &ret->roots_add},
        {"crateld_gc_roots_withdraw", &ret->roots_withdraw},
        {"crateld_error_code", &ret->error_code},
        {"crateld_error_message", &ret->error_message},
        {"crateld_error_destroy", &ret->error_destroy},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *function = dlsym(library->handle, wanted[i].name);
        if (!function)
            return error_create(CRATELD_ERROR_UNDEFINED, "ELF library %s: it does not define '%s'", library->soname,
                                wanted[i].name);
        memcpy(wanted[i].place, &function, sizeof function);
    }
    return NULL;
}

/* One of our errors for one of the library's, which is destroyed. */
static struct crateld_error *translate(const struct heap_library *library, struct crateld_error *theirs)
{
    if (!theirs)
        return NULL;
    struct crateld_error *error = error_create(library->error_code(theirs), "%s", library->error_message(theirs));
    library->error_destroy(theirs);
    return error;
}

static struct crateld_error *add_roots(const void *key, void *start, size_t size)
{
    struct crateld_gc_root_range range = {start, size / CRATELD_GC_WORD, CRATELD_GC_AMBIGUOUS};
    return translate(&functions, functions.roots_add(the_heap, key, &range, 1));
}

/* How many bytes from `address` on are constants or data of the crate; 0 if none are. */
static uint64_t bytes_at(const struct loaded_crate *crate, uint64_t address)
{
    uint64_t rva = address - loaded_address(crate, 0);
    for (int kind = CRATE_SEGMENT_RODATA; kind <= CRATE_SEGMENT_DATA; kind++) {
        const struct crate_segment *segment = &crate->view.header.segments[kind];
        uint64_t size = kind == CRATE_SEGMENT_DATA ? segment->mem_size : segment->file_size;
        if (rva >= segment->rva && rva - segment->rva < size)
            return size - (rva - segment->rva);
    }
    return 0;
}

/* The address that the word at `at` holds, if `size` bytes there are the crate's, and aligned; else NULL. */
static const void *checked_pointer(const struct loaded_crate *crate, const void *at, uint64_t size, uint64_t align)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return size <= bytes_at(crate, word) && word % align == 0 ? (const void *)(uintptr_t)word : NULL;
}

static bool is_string(const struct loaded_crate *crate, const char *text)
{
    uint64_t size = bytes_at(crate, (uint64_t)(uintptr_t)text);
    return size && memchr(text, 0, size);
}

/* Makes the crate's type `i` known. */
static struct crateld_error *enter_type(struct loaded_crate *crate, uint32_t i)
{
    const uint8_t *entry = crate->base + crate->view.header.types.rva + i * sizeof(uint64_t);
    const struct crateld_gc_type *type = checked_pointer(crate, entry, sizeof *type, _Alignof(struct crateld_gc_type));
    uint64_t pointers_size = type ? (uint64_t)type->pointer_count * sizeof *type->pointers : 0;
    if (!type || !is_string(crate, type->name) ||
        (pointers_size && !checked_pointer(crate, &type->pointers, pointers_size, _Alignof(uint32_t))))
        return error_create(CRATELD_ERROR_FORMAT, "%s: types[%u] is not within the data, or not aligned", crate->path,
                            i);
    uint32_t number;
    struct crateld_error *error = translate(&functions, functions.type_add(the_heap, type, &number));
    if (error)
        return error_prefix(error, "%s: types[%u]", crate->path, i);
    memcpy((uint8_t *)crate->toc + crate->view.toc.type_ids + i * sizeof number, &number, sizeof number);
    return NULL;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

bool heap_is_type(const struct loaded_crate *crate, uint32_t rva, uint32_t size)
{
    const struct crate_array *types = &crate->view.header.types;
    bool is_found = overlaps(rva, size, types->rva, types->count * sizeof(uint64_t));
    for (uint32_t i = 0; i < types->count && !is_found; i++) {
        uint64_t description;
        memcpy(&description, crate->base + types->rva + i * sizeof description, sizeof description);
        is_found = overlaps(loaded_address(crate, rva), size, description, sizeof(struct crateld_gc_type));
    }
    return is_found;
}

/* Types, roots, TOC of a crate, with a heap. */
static struct crateld_error *enter(struct loaded_crate *crate)
{
    const struct crate_segment *data = &crate->view.header.segments[CRATE_SEGMENT_DATA];
    uintptr_t base, bound;
    if (crate->view.header.flags & CRATE_FLAG_PATCH) /* its types are those of the crate that it is for */
        crate->toc->type_ids = crate->needed[0].crate->toc->type_ids;
    else
        for (uint32_t i = 0; i < crate->view.header.types.count; i++)
            TRY(enter_type(crate, i));
    /* All that its code may write: TOC slots, variables, zeros behind the file's part. */
    struct crateld_error *error = add_roots(crate, crate->base + data->rva, data->mem_size);
    if (error)
        return error_prefix(error, "%s", crate->path);
    functions.range(the_heap, &base, &bound);
    crate->toc->gc_heap_base = base;
    crate->toc->gc_heap_bound = bound;
    crate->toc->gc_heap_data = (uint64_t)(uintptr_t)functions.mutator(the_heap);
    return NULL;
}

/* The calling thread's thread-locals are roots. */
static struct crateld_error *enter_thread(void)
{
    char *pool = tls_pool();
    TRY(add_roots(pool, pool, TLS_POOL_SIZE));
    for (size_t i = 0; i < tls_block_count(); i++) {
        size_t size;
        char *block = tls_block(i, &size);
        if (block)
            TRY(add_roots(block, block, size));
    }
    return NULL;
}

/* Makes the heap, which knows of nothing yet but the calling thread. */
static struct crateld_error *make_heap(struct elf_library *library)
{
    struct heap_library found;
    TRY(elf_library_open(library));
    TRY(find_functions(library, &found));
    struct crateld_error *error = translate(&found, found.shared_heap(&the_heap));
    functions = found;
    if (!error)
        error = enter_thread();
    return error ? error_prefix(error, "%s", library->soname) : NULL;
}

/* Whether the crate allocates from the shared heap, rather than from heaps of its own at most. */
static struct crateld_error *uses_heap(struct loaded_crate *crate, bool *ret)
{
    TRY(image_need(crate));
    uint64_t hash = hash_string("crateld_gc_shared_heap");
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS);
    bool is_asked_for = crate->view.header.types.count;
    for (uint32_t i = 0; i < count && !is_asked_for; i++)
        is_asked_for = crate->view.imports[i].hash == hash;
    *ret = is_asked_for;
    return NULL;
}

struct crateld_error *heap_open(struct process *process)
{
    bool is_used = false;
    if (!process->heap_library || current_mutator())
        return NULL;
    for (size_t i = 0; i < process->crates.count && !is_used; i++)
        TRY(uses_heap(process->crates.at[i], &is_used));
    if (!is_used)
        return NULL;
    TRY(make_heap(process->heap_library));
    LOG(LOG_LOAD, "%s: a heap for the crates", process->heap_library->soname);
    for (size_t i = 0; i < process->crates.count; i++)
        if (loaded_is_active(process->crates.at[i]))
            TRY(enter(process->crates.at[i]));
    atomic_store_explicit(&the_mutator, functions.mutator(the_heap), memory_order_release);
    return NULL;
}

struct crateld_error *heap_enter(struct loaded_crate *crate)
{
    TRY(heap_open(crate->process));
    if (current_mutator())
        return enter(crate);
    if (crate->view.header.types.count)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: has %u types of collected objects, but does not need "
                            "libcrateld-gc.so.0: link it with -lcrateld-gc",
                            crate->path, crate->view.header.types.count);
    return NULL;
}

void heap_leave(struct loaded_crate *crate)
{
    if (current_mutator())
        functions.roots_withdraw(the_heap, crate);
}

struct crateld_error *heap_add_block(void *block, size_t size)
{
    const struct crateld_gc_mutator *mutator = current_mutator();
    if (!mutator || mutator->thread != (uintptr_t)__builtin_thread_pointer())
        return NULL;
    return add_roots(block, block, size);
}
