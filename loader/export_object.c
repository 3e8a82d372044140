#define _GNU_SOURCE
#include "loader/export_object.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "loader/activate.h"
#include "loader/current.h"
#include "loader/log.h"
#include "loader/resolve.h"

enum { DYNAMIC_COUNT = 7, PHDR_COUNT = 4, PAGE = 4096, NAME_SIZE = 128 };

/* Where the parts lie in the object, which is one read-only segment; but for the dynamic section, which ld.so writes
 * to. */
struct object_layout {
    size_t symbols, hash, buckets, chains, strings, dynamic, end;
    uint32_t symbol_count; /* with the null symbol */
    uint32_t bucket_count, string_size;
};

/* The hash of DT_GNU_HASH: Bernstein's. */
static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (uint8_t)*name;
    return hash;
}

static size_t align_up(size_t value, size_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static struct object_layout lay_out(const char *soname, const struct export_symbol *symbols, size_t count)
{
    struct object_layout layout = {.symbol_count = (uint32_t)count + 1};
    layout.bucket_count = count / 2 + 1 > UINT32_MAX ? UINT32_MAX : (uint32_t)(count / 2 + 1);
    size_t string_size = strlen(soname) + 2;
    for (size_t i = 0; i < count; i++)
        string_size += strlen(symbols[i].name) + 1;
    layout.string_size = (uint32_t)string_size;
    layout.symbols = sizeof(Elf64_Ehdr) + PHDR_COUNT * sizeof(Elf64_Phdr);
    layout.hash = layout.symbols + layout.symbol_count * sizeof(Elf64_Sym);
    layout.buckets = layout.hash + 4 * sizeof(uint32_t) + sizeof(uint64_t); /* one word of Bloom filter */
    layout.chains = layout.buckets + layout.bucket_count * sizeof(uint32_t);
    layout.strings = layout.chains + count * sizeof(uint32_t);
    layout.dynamic = align_up(layout.strings + layout.string_size, PAGE);
    layout.end = layout.dynamic + DYNAMIC_COUNT * sizeof(Elf64_Dyn);
    return layout;
}

/* `stack_flags`: ld.so makes all stacks executable for an object that says so, and for one that says nothing. */
static void write_headers(uint8_t *at, const struct object_layout *layout, uint32_t stack_flags)
{
    Elf64_Ehdr ehdr = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_DYN,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = PHDR_COUNT,
    };
    size_t dynamic_size = DYNAMIC_COUNT * sizeof(Elf64_Dyn);
    Elf64_Phdr phdrs[PHDR_COUNT] = {
        {.p_type = PT_LOAD, .p_flags = PF_R, .p_filesz = layout->dynamic, .p_memsz = layout->dynamic, .p_align = PAGE},
        {.p_type = PT_LOAD,
         .p_flags = PF_R | PF_W,
         .p_offset = layout->dynamic,
         .p_vaddr = layout->dynamic,
         .p_filesz = dynamic_size,
         .p_memsz = dynamic_size,
         .p_align = PAGE},
        {.p_type = PT_DYNAMIC,
         .p_flags = PF_R | PF_W,
         .p_offset = layout->dynamic,
         .p_vaddr = layout->dynamic,
         .p_filesz = dynamic_size,
         .p_memsz = dynamic_size,
         .p_align = 8},
        {.p_type = PT_GNU_STACK, .p_flags = stack_flags, .p_align = 16},
    };
    Elf64_Dyn dynamic[DYNAMIC_COUNT] = {
        {DT_SONAME, {1}},
        {DT_GNU_HASH, {layout->hash}},
        {DT_STRTAB, {layout->strings}},
        {DT_STRSZ, {layout->string_size}},
        {DT_SYMTAB, {layout->symbols}},
        {DT_SYMENT, {sizeof(Elf64_Sym)}},
        {DT_NULL, {0}},
    };
    memcpy(at, &ehdr, sizeof ehdr);
    memcpy(at + sizeof ehdr, phdrs, sizeof phdrs);
    memcpy(at + layout->dynamic, dynamic, sizeof dynamic);
}

/* A symbol and its place in the hash table: buckets hold runs of symbols, so these are in the order of buckets. */
struct ordered {
    const struct export_symbol *symbol;
    uint32_t hash, bucket;
};

static int compare_ordered(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return x->symbol < y->symbol ? -1 : x->symbol > y->symbol;
}

static void write_symbols(uint8_t *at, const struct object_layout *layout, const char *soname,
                          const struct ordered *ordered, size_t count)
{
    /* gABI's DT_GNU_HASH: buckets, first symbol, size of the filter in words, shift; an all-ones filter says maybe. */
    uint32_t header[4] = {layout->bucket_count, 1, 1, 0};
    uint64_t filter = UINT64_MAX;
    memcpy(at + layout->hash, header, sizeof header);
    memcpy(at + layout->hash + sizeof header, &filter, sizeof filter);
    uint32_t string = 1;
    memcpy(at + layout->strings + string, soname, strlen(soname) + 1);
    string += (uint32_t)strlen(soname) + 1;
    for (size_t i = 0; i < count; i++) {
        const struct export_symbol *symbol = ordered[i].symbol;
        uint32_t index = (uint32_t)i + 1;
        Elf64_Sym entry = {
            .st_name = string,
            .st_info = ELF64_ST_INFO(STB_GLOBAL, symbol->is_function ? STT_FUNC : STT_OBJECT),
            .st_shndx = SHN_ABS,
            .st_value = symbol->address,
            .st_size = symbol->size,
        };
        bool is_first = !i || ordered[i - 1].bucket != ordered[i].bucket;
        bool is_last = i + 1 == count || ordered[i + 1].bucket != ordered[i].bucket;
        uint32_t chain = (ordered[i].hash & ~1u) | is_last;
        memcpy(at + layout->symbols + index * sizeof entry, &entry, sizeof entry);
        memcpy(at + layout->chains + i * sizeof chain, &chain, sizeof chain);
        if (is_first)
            memcpy(at + layout->buckets + ordered[i].bucket * sizeof index, &index, sizeof index);
        memcpy(at + layout->strings + string, symbol->name, strlen(symbol->name) + 1);
        string += (uint32_t)strlen(symbol->name) + 1;
    }
}

static struct crateld_error *build(const char *soname, const struct export_symbol *symbols, size_t count,
                                   uint32_t stack_flags, uint8_t **ret, size_t *ret_size)
{
    struct object_layout layout = lay_out(soname, symbols, count);
    uint8_t *bytes AUTO_FREE = calloc(1, layout.end);
    struct ordered *ordered AUTO_FREE = calloc(count + 1, sizeof *ordered);
    if (!bytes || !ordered)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        uint32_t hash = gnu_hash(symbols[i].name);
        ordered[i] = (struct ordered){&symbols[i], hash, hash % layout.bucket_count};
    }
    qsort(ordered, count, sizeof *ordered, compare_ordered);
    write_headers(bytes, &layout, stack_flags);
    write_symbols(bytes, &layout, soname, ordered, count);
    *ret = STEAL_PTR(bytes);
    *ret_size = layout.end;
    return NULL;
}

struct crateld_error *export_object_build(const char *soname, const struct export_symbol *symbols, size_t count,
                                          uint8_t **ret, size_t *ret_size)
{
    return build(soname, symbols, count, PF_R | PF_W, ret, ret_size);
}

/* A path of the object open at `fd`. ld.so takes objects of one name for one, and descriptors are used again: so the
 * name spells the count of objects, in parts of the path that mean nothing. Debuggers open the object by this name as
 * well, and /proc/self would be their own. */
static void name_object(char path[NAME_SIZE], int fd)
{
    static _Atomic uint32_t count;
    uint32_t number = count++;
    int length = snprintf(path, NAME_SIZE, "/proc/%d/fd/", (int)getpid());
    for (; number; number >>= 1)
        length += snprintf(path + length, NAME_SIZE - (size_t)length, "%s", number & 1 ? "./" : "/");
    snprintf(path + length, NAME_SIZE - (size_t)length, "%d", fd);
}

struct crateld_error *export_object_load(const void *bytes, size_t size, int mode, void **ret)
{
    int fd AUTO_CLOSE = memfd_create("crateld", MFD_CLOEXEC);
    if (fd < 0)
        return error_errno(errno, "cannot make a file in memory");
    for (size_t done = 0; done < size;) {
        ssize_t written = write(fd, (const char *)bytes + done, size - done);
        if (written < 0 && errno != EINTR)
            return error_errno(errno, "cannot write to a file in memory");
        done += written < 0 ? 0 : (size_t)written;
    }
    char path[NAME_SIZE];
    name_object(path, fd);
    *ret = dlopen(path, mode);
    return *ret ? NULL : error_create(CRATELD_ERROR_NOT_FOUND, "%s", dlerror());
}

/* All exports of all crates, those of earlier crates first: a name that is there already is left out by ld.so's
 * search, which takes the first of a bucket. */
static struct crateld_error *collect(struct process *process, struct export_symbol **ret, size_t *ret_count)
{
    VEC(struct export_symbol) symbols = {0};
    struct crateld_error *error = NULL;
    for (size_t n = 0; !error && n < process->crates.count; n++) {
        struct loaded_crate *crate = process->crates.at[n];
        error = activate_crate(crate);
        uint32_t count = error ? 0 : crate_view_count(&crate->view, CRATE_TABLE_EXPORTS);
        for (uint32_t i = 0; !error && i < count; i++) {
            struct crate_export export;
            struct export_symbol symbol = {0};
            error = crate_view_export(&crate->view, i, &export);
            if (error || export.kind == CRATE_EXPORT_TLS || export.flags & CRATE_EXPORT_FLAG_FORWARD)
                continue;
            symbol.name = crate_view_string(&crate->view, export.name);
            symbol.size = export.size;
            symbol.is_function = export.kind <= CRATE_EXPORT_FUNCTION_TOC;
            error = resolve_export_address(crate, &export, &symbol.address);
            if (!error && !VEC_PUSH(&symbols, symbol))
                error = error_memory();
        }
        crate->is_kept = true; /* ld.so may bind libraries to it from now on */
    }
    if (error) {
        free(symbols.at);
        return error;
    }
    *ret = symbols.at;
    *ret_count = symbols.count;
    return NULL;
}

struct crateld_error *export_object_open(void)
{
    static bool is_open; /* guarded by the process's lock */
    struct process *process = current_process();
    struct export_symbol *symbols AUTO_FREE = NULL;
    uint8_t *bytes AUTO_FREE = NULL;
    size_t count = 0, size = 0;
    void *handle;
    process_lock(process);
    struct crateld_error *error = NULL;
    if (!is_open && !(error = collect(process, &symbols, &count)) &&
        !(error = export_object_build("crateld-exports", symbols, count, &bytes, &size)))
        error = export_object_load(bytes, size, RTLD_NOW | RTLD_GLOBAL, &handle);
    is_open |= !error;
    process_unlock(process);
    if (!error)
        LOG(LOG_LOAD, "%zu exported symbols shown to ELF libraries", count);
    return error;
}

void export_object_cycle(void)
{
    uint8_t *bytes AUTO_FREE = NULL;
    size_t size = 0;
    void *handle = NULL;
    struct crateld_error *error = export_object_build("crateld-notice", NULL, 0, &bytes, &size);
    if (!error)
        error = export_object_load(bytes, size, RTLD_NOW | RTLD_LOCAL, &handle);
    if (handle)
        dlclose(handle);
    crateld_error_destroy(error);
}

struct crateld_error *export_object_make_stacks_executable(void)
{
    static bool is_done;
    uint8_t *bytes AUTO_FREE = NULL;
    size_t size = 0;
    void *handle;
    if (is_done)
        return NULL;
    TRY(build("crateld-stack", NULL, 0, PF_R | PF_W | PF_X, &bytes, &size));
    TRY(export_object_load(bytes, size, RTLD_NOW | RTLD_LOCAL, &handle));
    is_done = true;
    return NULL;
}
