#define _GNU_SOURCE
#include "loader/tls.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "loader/export_object.h"
#include "loader/heap.h"

/* ld.so's own, for the modules that are not ours. */
extern void *__tls_get_addr(const struct tls_index *index);

#define TLS_OURS (UINT64_C(1) << 63) /* alone: the static pool, and the offset counts from the thread pointer */

enum {
    TLS_LATE_ROUNDS = 3, /* PTHREAD_DESTRUCTOR_ITERATIONS - 1: rounds that we let pass before we free */
};

/* In .tdata, although it is zero: then the template has all of its bytes, and ld.so copies them. */
static __thread char pool[TLS_POOL_SIZE] __attribute__((section(".tdata"), aligned(TLS_POOL_ALIGN)));

#ifdef CRATELD_HOST
enum { HAS_POOL = false };
#else
enum { HAS_POOL = true };
#endif

/* What is given away, under the process's lock. */
static uint64_t pool_used;

/* The crates with dynamic blocks, by number - 1; appended to under the process's lock, read by any thread: a
 * number reaches a thread only after its entry was written, and outgrown arrays are kept. */
static struct loaded_crate **_Atomic dynamic_crates;
static size_t dynamic_count, dynamic_capacity;

/* The calling thread's dynamic blocks, by the same number. */
struct thread_blocks {
    void **at; /* owned, and each block too */
    size_t count;
    int rounds; /* of destructors that this thread has run */
};
static __thread struct thread_blocks blocks;

static pthread_key_t blocks_key;
static pthread_once_t blocks_once = PTHREAD_ONCE_INIT;

/* pthread keys are destroyed in rounds, in no useful order; other destructors may still use our variables, so we
 * put ourselves off to the last round. */
static void free_blocks(void *unused)
{
    (void)unused;
    if (blocks.rounds++ < TLS_LATE_ROUNDS) {
        (void)pthread_setspecific(blocks_key, &blocks);
        return;
    }
    for (size_t i = 0; i < blocks.count; i++)
        free(blocks.at[i]);
    free(blocks.at);
    blocks.at = NULL;
    blocks.count = 0;
}

static void make_key(void)
{
    if (pthread_key_create(&blocks_key, free_blocks) != 0)
        abort();
}

/* There is nobody to report to: the access is an expression of the program. ld.so does the same. */
_Noreturn static void die_of_memory(void)
{
    static const char message[] = "crateld: out of memory for thread-locals\n";
    (void)!write(STDERR_FILENO, message, sizeof message - 1);
    abort();
}

/* Makes the calling thread's block `number`. */
static void *make_block(size_t number)
{
    pthread_once(&blocks_once, make_key);
    if (number >= blocks.count) {
        void **grown = realloc(blocks.at, (number + 1) * sizeof *grown);
        if (!grown)
            die_of_memory();
        memset(grown + blocks.count, 0, (number + 1 - blocks.count) * sizeof *grown);
        blocks.at = grown;
        blocks.count = number + 1;
    }
    const struct loaded_crate *crate = atomic_load_explicit(&dynamic_crates, memory_order_acquire)[number];
    const struct crate_header *header = &crate->view.header;
    void *block = NULL;
    size_t align = header->tls_align < sizeof(void *) ? sizeof(void *) : header->tls_align;
    if (posix_memalign(&block, align, header->tls_mem_size) != 0 || pthread_setspecific(blocks_key, &blocks) != 0)
        die_of_memory();
    memcpy(block, crate->base + header->tls_rva, header->tls_file_size);
    memset((char *)block + header->tls_file_size, 0, header->tls_mem_size - header->tls_file_size);
    if (heap_add_block(block, header->tls_mem_size))
        die_of_memory();
    return blocks.at[number] = block;
}

char *tls_pool(void)
{
    return pool;
}

size_t tls_block_count(void)
{
    return blocks.count;
}

char *tls_block(size_t i, size_t *ret_size)
{
    *ret_size = atomic_load_explicit(&dynamic_crates, memory_order_acquire)[i]->view.header.tls_mem_size;
    return blocks.at[i];
}

void *tls_get_address(const struct tls_index *index)
{
    if (!(index->module & TLS_OURS))
        return __tls_get_addr(index);
    if (index->module == TLS_OURS)
        return (char *)__builtin_thread_pointer() + index->offset;
    size_t number = (index->module & ~TLS_OURS) - 1;
    void *block = number < blocks.count ? blocks.at[number] : NULL;
    if (__builtin_expect(!block, 0)) {
        int saved = errno;
        block = make_block(number);
        errno = saved;
    }
    return (char *)block + index->offset;
}

bool tls_is_static(const struct loaded_crate *crate)
{
    return crate->tls.module == TLS_OURS;
}

struct tls_index tls_index_of(const struct loaded_crate *crate, uint64_t offset)
{
    return (struct tls_index){crate->tls.module, crate->tls.tp_offset + offset};
}

/* Whether the image holds a byte that is not zero. */
static bool has_values(const struct loaded_crate *crate)
{
    const uint8_t *image = crate->base + crate->view.header.tls_rva;
    for (uint32_t i = 0; i < crate->view.header.tls_file_size; i++) {
        if (image[i])
            return true;
    }
    return false;
}

/* Takes the crate's block from the pool; whether there was room. */
static bool reserve_static(struct loaded_crate *crate, uint64_t keep)
{
    const struct crate_header *header = &crate->view.header;
    if (header->tls_align > TLS_POOL_ALIGN || !HAS_POOL)
        return false;
    uint64_t start = (pool_used + header->tls_align - 1) & ~(uint64_t)(header->tls_align - 1);
    if (start + keep > TLS_POOL_SIZE || header->tls_mem_size > TLS_POOL_SIZE - keep - start)
        return false;
    pool_used = start + header->tls_mem_size;
    crate->tls.module = TLS_OURS;
    crate->tls.tp_offset = (uint64_t)(&pool[start] - (char *)__builtin_thread_pointer());
    return true;
}

static struct crateld_error *reserve_dynamic(struct loaded_crate *crate)
{
    struct loaded_crate **crates = atomic_load_explicit(&dynamic_crates, memory_order_relaxed);
    if (dynamic_count == dynamic_capacity) {
        /* Other threads may be reading the old array: it is kept. All of them together are no bigger than this one. */
        size_t capacity = dynamic_capacity ? dynamic_capacity * 2 : 16;
        struct loaded_crate **grown = calloc(capacity, sizeof *grown);
        if (!grown)
            return error_memory();
        if (dynamic_count)
            memcpy(grown, crates, dynamic_count * sizeof *grown);
        crates = grown;
        dynamic_capacity = capacity;
    }
    crates[dynamic_count++] = crate;
    atomic_store_explicit(&dynamic_crates, crates, memory_order_release);
    crate->tls.module = TLS_OURS | dynamic_count;
    crate->tls.tp_offset = 0;
    return NULL;
}

bool tls_adopt(struct loaded_crate *crate, const uint64_t *place)
{
    struct loaded_tls wanted = {place[0] ? place[0] : TLS_OURS, place[1], true};
    if (!crate->tls.module)
        crate->tls = wanted;
    return crate->tls.is_adopted && crate->tls.module == wanted.module && crate->tls.tp_offset == wanted.tp_offset;
}

struct crateld_error *tls_reserve(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    if (crate->tls.module)
        return NULL;
    /* Threads that run already have their copies of the pool, whose free part is zero. */
    bool can_fill = __libc_single_threaded || !has_values(crate);
    if (!(header->flags & CRATE_FLAG_STATIC_TLS)) {
        if (can_fill && reserve_static(crate, TLS_POOL_KEEP))
            return NULL;
        return reserve_dynamic(crate);
    }
    if (!can_fill)
        return error_create(CRATELD_ERROR_RANGE,
                            "%s: its thread-locals have initial values and must lie in the static pool, but threads "
                            "run already: compile it with -fPIC, or let the program need it from its start",
                            crate->path);
    if (!reserve_static(crate, 0))
        return error_create(CRATELD_ERROR_RANGE,
                            "%s: %" PRIu64 " bytes of thread-locals (aligned to %u) do not fit into what is left of "
                            "the static pool, %" PRIu64 " bytes: compile it with -fPIC",
                            crate->path, header->tls_mem_size, header->tls_align, TLS_POOL_SIZE - pool_used);
    return NULL;
}

static uint64_t page_of(uint64_t address)
{
    return address & ~(uint64_t)(CRATE_PAGE_SIZE - 1);
}

/* The template's copy of the pool, and what ld.so made read-only after its work. */
struct template
{
    char *pool;
    uint64_t relro_start, relro_end;
};

/* ld.so keeps using the program's PT_TLS segment where it is mapped. */
static struct crateld_error *find_template(struct template *ret)
{
    const Elf64_Phdr *phdrs = (const Elf64_Phdr *)getauxval(AT_PHDR);
    size_t count = getauxval(AT_PHNUM);
    uint64_t bias = 0;
    const Elf64_Phdr *tls = NULL, *relro = NULL;
    for (size_t i = 0; phdrs && i < count; i++) {
        if (phdrs[i].p_type == PT_PHDR)
            bias = (uint64_t)(uintptr_t)phdrs - phdrs[i].p_vaddr;
        if (phdrs[i].p_type == PT_TLS)
            tls = &phdrs[i];
        if (phdrs[i].p_type == PT_GNU_RELRO)
            relro = &phdrs[i];
    }
    if (!tls)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "this program has no template of thread-locals");
    /* x86-64 is of variant II: the block ends at the thread pointer, rounded to its alignment. */
    uint64_t size = (tls->p_memsz + tls->p_align - 1) & ~(tls->p_align - 1);
    uint64_t off = size - (uint64_t)((char *)__builtin_thread_pointer() - pool);
    if (off > tls->p_filesz || tls->p_filesz - off < TLS_POOL_SIZE)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "this program's template of thread-locals lacks the pool");
    ret->pool = (char *)(uintptr_t)(bias + tls->p_vaddr + off);
    /* ld.so protects whole pages: from the one of the start to, but for, the one of the end. */
    ret->relro_start = relro ? page_of(bias + relro->p_vaddr) : 0;
    ret->relro_end = relro ? page_of(bias + relro->p_vaddr + relro->p_memsz) : 0;
    return NULL;
}

struct crateld_error *tls_publish(struct loaded_crate *crate)
{
    if (!tls_is_static(crate) || crate->tls.is_adopted || !has_values(crate))
        return NULL;
    const struct crate_header *header = &crate->view.header;
    char *own = (char *)__builtin_thread_pointer() + crate->tls.tp_offset;
    struct template template = {0};
    TRY(find_template(&template));
    char *place = template.pool + (own - pool);
    uint64_t start = page_of((uint64_t)(uintptr_t)place);
    uint64_t end = (uint64_t)(uintptr_t)place + header->tls_file_size;
    bool is_relro = start >= template.relro_start && start < template.relro_end;
    if (is_relro && mprotect((void *)(uintptr_t)start, end - start, PROT_READ | PROT_WRITE) != 0)
        return error_errno(errno, "%s: cannot change the template of thread-locals", crate->path);
    memcpy(place, crate->base + header->tls_rva, header->tls_file_size);
    memcpy(own, place, header->tls_file_size);
    if (is_relro && mprotect((void *)(uintptr_t)start, end - start, PROT_READ) != 0)
        return error_errno(errno, "%s: cannot protect the template of thread-locals", crate->path);
    return NULL;
}

struct crateld_error *tls_index_of_elf(void *handle, const char *name, const void *address, struct tls_index *ret)
{
    size_t module = 0;
    void *block = NULL;
    if (dlinfo(handle, RTLD_DI_TLS_MODID, &module) != 0 || !module || dlinfo(handle, RTLD_DI_TLS_DATA, &block) != 0 ||
        !block || (const char *)address < (const char *)block)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "thread-local '%s' is not where its library keeps them", name);
    *ret = (struct tls_index){module, (uint64_t)((const char *)address - (const char *)block)};
    return NULL;
}

enum { PROBE_DYNAMIC_COUNT = 8, PROBE_NAME_SIZE = 512 };

/* An ELF object whose one word ld.so relocates to the offset of a thread-local: it tells it to nobody else. */
struct probe {
    Elf64_Ehdr ehdr;
    Elf64_Phdr phdrs[3];
    Elf64_Sym symbols[2]; /* none, and the variable */
    Elf64_Rela rela;
    Elf64_Dyn dynamic[PROBE_DYNAMIC_COUNT];
    uint64_t word;
    char strings[PROBE_NAME_SIZE]; /* "", the name */
};

static void make_probe(struct probe *ret, const char *name, bool is_weak)
{
    *ret = (struct probe){
        .ehdr = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                 .e_type = ET_DYN,
                 .e_machine = EM_X86_64,
                 .e_version = EV_CURRENT,
                 .e_phoff = offsetof(struct probe, phdrs),
                 .e_ehsize = sizeof(Elf64_Ehdr),
                 .e_phentsize = sizeof(Elf64_Phdr),
                 .e_phnum = 3},
        .phdrs = {{.p_type = PT_LOAD,
                   .p_flags = PF_R | PF_W,
                   .p_filesz = sizeof *ret,
                   .p_memsz = sizeof *ret,
                   .p_align = CRATE_PAGE_SIZE},
                  {.p_type = PT_DYNAMIC,
                   .p_flags = PF_R | PF_W,
                   .p_offset = offsetof(struct probe, dynamic),
                   .p_vaddr = offsetof(struct probe, dynamic),
                   .p_filesz = sizeof ret->dynamic,
                   .p_memsz = sizeof ret->dynamic,
                   .p_align = 8},
                  {.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_align = 16}}, /* else all would be executable */
        .symbols = {{0}, {.st_name = 1, .st_info = ELF64_ST_INFO(is_weak ? STB_WEAK : STB_GLOBAL, STT_TLS)}},
        .rela = {.r_offset = offsetof(struct probe, word), .r_info = ELF64_R_INFO(1, R_X86_64_TPOFF64)},
        .dynamic = {{DT_SYMTAB, {offsetof(struct probe, symbols)}},
                    {DT_SYMENT, {sizeof(Elf64_Sym)}},
                    {DT_STRTAB, {offsetof(struct probe, strings)}},
                    {DT_STRSZ, {sizeof ret->strings}},
                    {DT_RELA, {offsetof(struct probe, rela)}},
                    {DT_RELASZ, {sizeof(Elf64_Rela)}},
                    {DT_RELAENT, {sizeof(Elf64_Rela)}},
                    {DT_NULL, {0}}},
    };
    memcpy(ret->strings + 1, name, strlen(name) + 1);
}

struct crateld_error *tls_offset_of_elf(const char *name, bool is_weak, uint64_t *ret)
{
    struct probe probe;
    void *handle = NULL;
    struct link_map *map;
    if (strlen(name) > PROBE_NAME_SIZE - 2)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "thread-local '%s': its name is too long", name);
    make_probe(&probe, name, is_weak);
    /* The object stays: closing it would free nothing of the static block. */
    struct crateld_error *error = export_object_load(&probe, sizeof probe, RTLD_NOW | RTLD_LOCAL, &handle);
    if (error)
        return error_prefix(error,
                            "thread-local '%s' is not to be had at a fixed distance from the thread pointer "
                            "(compile what uses it with -fPIC)",
                            name);
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "thread-local '%s': ld.so knows no link map", name);
    memcpy(ret, (const char *)(uintptr_t)map->l_addr + offsetof(struct probe, word), sizeof *ret);
    return NULL;
}
