#define _GNU_SOURCE
#include "loader/introspect.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "crate/members.h"
#include "loader/address_index.h"
#include "loader/current.h"
#include "loader/debugger.h"
#include "loader/next_function.h"
#include "loader/resolve.h"

enum { STUB_REACH = 64 }; /* an address this near behind a function's entry stub is taken to be in it */

/* Where the part of the export that `address` lies in starts: the function or variable, or its entry stub; 0 if it lies
 * in neither. */
static uint64_t covering_start(const struct loaded_crate *crate, const struct crate_export *export, uint64_t address)
{
    uint64_t start = loaded_address(crate, export->rva), stub = loaded_address(crate, export->canonical_rva);
    if (address == start || (address > start && address - start < export->size))
        return start;
    return address == stub || (stub != start && address > stub && address - stub < STUB_REACH) ? stub : 0;
}

/* Looks among the exports of the crate, or of `view`, which is one of its members. */
static void search_exports(const struct loaded_crate *crate, const struct crate_view *view, uint64_t address,
                           struct introspect_symbol *ret)
{
    uint32_t count = crate_view_count(view, CRATE_TABLE_EXPORTS);
    for (uint32_t i = 0; i < count; i++) {
        const struct crate_export *export = &view->exports[i];
        const char *name = crate_view_string(view, export->name);
        uint64_t start = export->kind <= CRATE_EXPORT_DATA && name ? covering_start(crate, export, address) : 0;
        if (start && start >= ret->address)
            *ret = (struct introspect_symbol){name, start};
    }
}

void introspect_address(const struct loaded_crate *crate, uint64_t address, struct introspect_symbol *ret)
{
    *ret = (struct introspect_symbol){0};
    search_exports(crate, &crate->view, address, ret);
    if (!crate_is_bundle(&crate->view.header))
        return;
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_MEMBERS);
    for (uint32_t i = 1; i < count; i++) {
        struct crate_view view;
        struct crateld_error *error = crate_view_of_member(&crate->view, i, &view);
        if (!error)
            search_exports(crate, &view, address, ret);
        crateld_error_destroy(error);
    }
}

/* What dladdr says of an address in a crate. */
static void fill_info(const struct loaded_crate *crate, const void *address, Dl_info *ret)
{
    struct introspect_symbol symbol;
    introspect_address(crate, (uint64_t)(uintptr_t)address, &symbol);
    *ret = (Dl_info){
        .dli_fname = crate->path,
        .dli_fbase = crate->base,
        .dli_sname = symbol.name,
        .dli_saddr = (void *)(uintptr_t)symbol.address,
    };
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): glibc's have underscores */
__attribute__((visibility("default"))) int dladdr(const void *address, Dl_info *ret)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)address);
    if (!crate) {
        static int (*_Atomic next)(const void *, Dl_info *);
        if (!next)
            next = (int (*)(const void *, Dl_info *))next_function("dladdr");
        return next(address, ret);
    }
    fill_info(crate, address, ret);
    return 1;
}

/* The symbol table entry that dladdr1 gives: made up, one for each thread. */
static const Elf64_Sym *make_symbol(const Dl_info *info)
{
    static __thread Elf64_Sym symbol;
    symbol = (Elf64_Sym){
        .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
        .st_shndx = SHN_ABS,
        .st_value = (uint64_t)(uintptr_t)info->dli_saddr,
    };
    return info->dli_sname ? &symbol : NULL;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
__attribute__((visibility("default"))) int dladdr1(const void *address, Dl_info *ret, void **extra, int flags)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)address);
    if (!crate) {
        static int (*_Atomic next)(const void *, Dl_info *, void **, int);
        if (!next)
            next = (int (*)(const void *, Dl_info *, void **, int))next_function("dladdr1");
        return next(address, ret, extra, flags);
    }
    fill_info(crate, address, ret);
    if (flags == RTLD_DL_LINKMAP)
        *extra = debugger_link_map(crate);
    else if (flags == RTLD_DL_SYMENT)
        *extra = (void *)make_symbol(ret);
    return 1;
}

/* A walk over everything that is loaded, handed to the caller's function one by one. */
struct walk {
    int (*callback)(struct dl_phdr_info *, size_t, void *);
    void *data;
    uint32_t added,
        removed;       /* added to the counters of what was loaded and unloaded, by which callers notice changes */
    bool was_program;  /* glibc's first object, this program, was met */
    bool is_sanitizer; /* who asks is a sanitizer's library */
};

/* What comes first and has no name. A sanitizer takes that for the file /proc/self/exe, whatever it is told, to find
 * functions and lines there: for it that is this program. */
static const struct loaded_crate *first_object(const struct walk *walk)
{
    return walk->is_sanitizer ? NULL : current_entry();
}

static int visit_crate(const struct walk *walk, const struct loaded_crate *crate, unsigned long long adds,
                       unsigned long long subs)
{
    Elf64_Ehdr header;
    memcpy(&header, crate->base, sizeof header);
    struct dl_phdr_info info = {
        .dlpi_addr = loaded_address(crate, 0) - crate->view.header.preferred_base,
        .dlpi_name = crate == first_object(walk) ? "" : crate->path,
        .dlpi_phdr = (const Elf64_Phdr *)(crate->base + header.e_phoff),
        .dlpi_phnum = header.e_phnum,
        .dlpi_adds = adds + walk->added,
        .dlpi_subs = subs + walk->removed,
    };
    return walk->callback(&info, sizeof info, walk->data);
}

/* The entry crate comes first and without a name, as the program does; this program comes behind it. */
static int visit_elf(struct dl_phdr_info *info, size_t size, void *data)
{
    struct walk *walk = data;
    struct dl_phdr_info changed = {0};
    memcpy(&changed, info, size < sizeof changed ? size : sizeof changed);
    if (!walk->was_program) {
        walk->was_program = true;
        const struct loaded_crate *first = first_object(walk);
        int result = first ? visit_crate(walk, first, info->dlpi_adds, info->dlpi_subs) : 0;
        if (result)
            return result;
        changed.dlpi_name = first ? "/proc/self/exe" : "";
    }
    changed.dlpi_adds += walk->added;
    changed.dlpi_subs += walk->removed;
    return walk->callback(&changed, size < sizeof changed ? size : sizeof changed, walk->data);
}

/* Each sanitizer's library has it; NULL: none was loaded with this program. */
extern void __sanitizer_print_stack_trace(void) __attribute__((weak));

/* Whether code at `address` belongs to a sanitizer's library. */
static bool is_in_sanitizer(void *address)
{
    struct dl_find_object object, sanitizer;
    return __sanitizer_print_stack_trace && !_dl_find_object((void *)__sanitizer_print_stack_trace, &sanitizer) &&
           !_dl_find_object(address, &object) && object.dlfo_link_map == sanitizer.dlfo_link_map;
}

__attribute__((visibility("default"))) int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *),
                                                           void *data)
{
    static int (*_Atomic next)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    if (!next)
        next = (int (*)(int (*)(struct dl_phdr_info *, size_t, void *), void *))next_function("dl_iterate_phdr");
    struct walk walk = {
        .callback = callback, .data = data, .is_sanitizer = is_in_sanitizer(__builtin_return_address(0))};
    address_index_counts(&walk.added, &walk.removed);
    int result = next(visit_elf, &walk);
    const struct loaded_crate *crate;
    uint32_t cursor = 0;
    while (!result && (crate = address_index_next(&cursor))) {
        if (crate != first_object(&walk))
            result = visit_crate(&walk, crate, 0, 0);
    }
    return result;
}

int introspect_find_object(void *address, struct dl_find_object *ret)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)address);
    if (!crate)
        return _dl_find_object(address, ret);
    const struct crate_header *header = &crate->view.header;
    if (!header->eh_frame_hdr_rva)
        return -1;
    *ret = (struct dl_find_object){
        .dlfo_map_start = crate->base,
        .dlfo_map_end = crate->base + header->image_size,
        .dlfo_link_map = debugger_link_map(crate),
        .dlfo_eh_frame = crate->base + header->eh_frame_hdr_rva,
    };
    return 0;
}
