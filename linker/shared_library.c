#include "linker/shared_library.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "reloc/start_files.h"

enum {
    VERSION_INDEX_MASK = 0x7fff, /* of a DT_VERSYM entry; the bit above says hidden */
    VERSION_HIDDEN = 0x8000,
    GNU_HASH_HEADER_SIZE = 16, /* bucket count, first symbol, Bloom words, Bloom shift */
};

/* Entries of the dynamic segment that are used, by their place in struct dynamic. */
enum dynamic_entry {
    DYN_STRTAB,
    DYN_STRSZ,
    DYN_SYMTAB,
    DYN_HASH,
    DYN_GNU_HASH,
    DYN_VERSYM,
    DYN_VERDEF,
    DYN_VERDEFNUM,
    DYN_VERNEED,
    DYN_VERNEEDNUM,
    DYN_SONAME,
    DYN_RPATH,
    DYN_RUNPATH,
    DYN_INIT,
    DYN_INIT_ARRAY,
    DYN_INIT_ARRAYSZ,
    DYN_PREINIT_ARRAYSZ,
    DYN_RELA,
    DYN_RELASZ,
    DYN_FLAGS,
    DYN_FLAGS_1,
    DYN_COUNT,
};

static const int64_t dynamic_tags[DYN_COUNT] = {
    [DYN_STRTAB] = DT_STRTAB,
    [DYN_STRSZ] = DT_STRSZ,
    [DYN_SYMTAB] = DT_SYMTAB,
    [DYN_HASH] = DT_HASH,
    [DYN_GNU_HASH] = DT_GNU_HASH,
    [DYN_VERSYM] = DT_VERSYM,
    [DYN_VERDEF] = DT_VERDEF,
    [DYN_VERDEFNUM] = DT_VERDEFNUM,
    [DYN_VERNEED] = DT_VERNEED,
    [DYN_VERNEEDNUM] = DT_VERNEEDNUM,
    [DYN_SONAME] = DT_SONAME,
    [DYN_RPATH] = DT_RPATH,
    [DYN_RUNPATH] = DT_RUNPATH,
    [DYN_INIT] = DT_INIT,
    [DYN_INIT_ARRAY] = DT_INIT_ARRAY,
    [DYN_INIT_ARRAYSZ] = DT_INIT_ARRAYSZ,
    [DYN_RELA] = DT_RELA,
    [DYN_RELASZ] = DT_RELASZ,
    [DYN_FLAGS] = DT_FLAGS,
    [DYN_FLAGS_1] = DT_FLAGS_1,
    [DYN_PREINIT_ARRAYSZ] = DT_PREINIT_ARRAYSZ,
};

struct dynamic {
    struct span entries; /* Elf64_Dyn[], up to DT_NULL */
    uint64_t value[DYN_COUNT];
    bool has[DYN_COUNT];
};

/* An error about the file's contents. */
#define FAULT(library, ...) error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s", (library)->path)

/* The file's bytes from `vaddr` to the end of its segment; false: not in the file. */
static bool image_at(const struct shared_library *library, uint64_t vaddr, struct span *ret)
{
    for (uint32_t i = 0; i < library->segment_count; i++) {
        const struct shared_segment *segment = &library->segments[i];
        if (vaddr >= segment->vaddr && vaddr - segment->vaddr < segment->data.size) {
            *ret = span_from(segment->data, vaddr - segment->vaddr);
            return true;
        }
    }
    return false;
}

/* The string at `off` of the dynamic strings, which end in NUL; NULL if that is outside. */
static const char *string_at(const struct shared_library *library, uint64_t off)
{
    return off < library->strings.size ? (const char *)library->strings.data + off : NULL;
}

static struct crateld_error *check_header(struct shared_library *library, uint16_t machine, Elf64_Ehdr *ret)
{
    if (!span_read(library->data, 0, ret, sizeof *ret) || memcmp(ret->e_ident, ELFMAG, SELFMAG) != 0)
        return FAULT(library, "no ELF file");
    if (ret->e_ident[EI_CLASS] != ELFCLASS64 || ret->e_ident[EI_DATA] != ELFDATA2LSB)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: ELF class %u, data encoding %u; wanted 64-bit, little-endian",
                            library->path, ret->e_ident[EI_CLASS], ret->e_ident[EI_DATA]);
    if (ret->e_type != ET_DYN)
        return FAULT(library, "ELF type %u, a shared library has %u", ret->e_type, ET_DYN);
    if (ret->e_machine != machine)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is for machine %u, wanted %u", library->path, ret->e_machine,
                            machine);
    if (ret->e_phentsize != sizeof(Elf64_Phdr))
        return FAULT(library, "program headers have %u bytes, wanted %zu", ret->e_phentsize, sizeof(Elf64_Phdr));
    library->machine = ret->e_machine;
    return NULL;
}

/* Takes the build id out of the notes at `notes`, if it is there; notes that break off are ignored, as ld.so
 * does. */
static void read_build_id(struct shared_library *library, struct span notes, uint64_t align)
{
    static const char owner[] = "GNU";
    uint64_t mask = align == 8 ? 7 : 3, off = 0;
    Elf64_Nhdr note;
    while (span_read(notes, off, &note, sizeof note)) {
        uint64_t name_off = off + sizeof note;
        uint64_t data_off = (name_off + note.n_namesz + mask) & ~mask;
        char name[sizeof owner];
        struct span data;
        if (!span_slice(notes, data_off, note.n_descsz, &data))
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof owner &&
            span_read(notes, name_off, name, sizeof name) && memcmp(name, owner, sizeof owner) == 0)
            library->build_id = data;
        off = (data_off + note.n_descsz + mask) & ~mask;
    }
}

/* Enters one program header. */
static struct crateld_error *read_segment(struct shared_library *library, const Elf64_Phdr *header, unsigned idx,
                                          struct dynamic *dynamic)
{
    struct span data;
    if (header->p_type == PT_TLS)
        library->has_tls = true;
    if (header->p_type != PT_LOAD && header->p_type != PT_DYNAMIC && header->p_type != PT_NOTE)
        return NULL;
    if (!span_slice(library->data, header->p_offset, header->p_filesz, &data))
        return FAULT(library, "program header %u: %" PRIu64 " bytes at 0x%" PRIx64 ", the file has %zu", idx,
                     header->p_filesz, header->p_offset, library->data.size);
    if (header->p_type == PT_DYNAMIC)
        dynamic->entries = data;
    if (header->p_type == PT_NOTE)
        read_build_id(library, data, header->p_align);
    if (header->p_type != PT_LOAD)
        return NULL;
    if (header->p_memsz < header->p_filesz || header->p_vaddr > UINT64_MAX - header->p_memsz)
        return FAULT(library, "program header %u: 0x%" PRIx64 " bytes in memory at 0x%" PRIx64, idx, header->p_memsz,
                     header->p_vaddr);
    library->segments[library->segment_count++] =
        (struct shared_segment){header->p_vaddr, data, header->p_memsz, header->p_flags};
    return NULL;
}

static struct crateld_error *read_segments(struct shared_library *library, const Elf64_Ehdr *header,
                                           struct dynamic *dynamic)
{
    struct span headers;
    if (!span_slice(library->data, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr), &headers))
        return FAULT(library, "%u program headers at 0x%" PRIx64 ", the file has %zu bytes", header->e_phnum,
                     header->e_phoff, library->data.size);
    library->segments = arena_alloc_array(&library->arena, header->e_phnum, sizeof *library->segments);
    if (!library->segments)
        return error_memory();
    for (unsigned i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, headers.data + i * sizeof segment, sizeof segment);
        TRY(read_segment(library, &segment, i, dynamic));
    }
    if (!dynamic->entries.data)
        return FAULT(library, "no PT_DYNAMIC: not a shared library");
    return NULL;
}

static void read_dynamic(struct dynamic *dynamic)
{
    Elf64_Dyn entry;
    uint64_t off = 0;
    for (; span_read(dynamic->entries, off, &entry, sizeof entry) && entry.d_tag != DT_NULL; off += sizeof entry) {
        for (int i = 0; i < DYN_COUNT; i++) {
            if (dynamic_tags[i] == entry.d_tag) {
                dynamic->value[i] = entry.d_un.d_val;
                dynamic->has[i] = true;
            }
        }
    }
    dynamic->entries.size = (size_t)off;
}

/* The dynamic strings, shortened to end in NUL. */
static struct crateld_error *read_strings(struct shared_library *library, const struct dynamic *dynamic)
{
    struct span rest;
    if (!dynamic->has[DYN_STRTAB])
        return NULL;
    if (!image_at(library, dynamic->value[DYN_STRTAB], &rest) ||
        !span_slice(rest, 0, dynamic->value[DYN_STRSZ], &library->strings))
        return FAULT(library, "DT_STRTAB: 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not in the file",
                     dynamic->value[DYN_STRSZ], dynamic->value[DYN_STRTAB]);
    while (library->strings.size && library->strings.data[library->strings.size - 1])
        library->strings.size--;
    return NULL;
}

/* Soname, needed libraries and flags. */
static struct crateld_error *read_names(struct shared_library *library, const struct dynamic *dynamic)
{
    size_t count = dynamic->entries.size / sizeof(Elf64_Dyn);
    library->needed = arena_alloc_array(&library->arena, count, sizeof *library->needed);
    if (!library->needed)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        Elf64_Dyn entry;
        memcpy(&entry, dynamic->entries.data + i * sizeof entry, sizeof entry);
        if (entry.d_tag != DT_NEEDED)
            continue;
        const char *name = string_at(library, entry.d_un.d_val);
        if (!name)
            return FAULT(library, "DT_NEEDED: name at 0x%" PRIx64 " of %zu bytes of strings", entry.d_un.d_val,
                         library->strings.size);
        library->needed[library->needed_count++] = name;
    }
    const char *slash = strrchr(library->path, '/');
    library->soname = slash ? slash + 1 : library->path;
    library->has_soname = dynamic->has[DYN_SONAME];
    if (library->has_soname)
        library->soname = string_at(library, dynamic->value[DYN_SONAME]);
    if (!library->soname || !library->soname[0])
        return FAULT(library, "DT_SONAME: no name at 0x%" PRIx64 " of %zu bytes of strings", dynamic->value[DYN_SONAME],
                     library->strings.size);
    if (dynamic->has[DYN_RUNPATH] || dynamic->has[DYN_RPATH])
        library->runpath = string_at(library, dynamic->value[dynamic->has[DYN_RUNPATH] ? DYN_RUNPATH : DYN_RPATH]);
    library->is_static_tls = dynamic->value[DYN_FLAGS] & DF_STATIC_TLS;
    library->is_nodelete = dynamic->value[DYN_FLAGS_1] & DF_1_NODELETE;
    library->is_pie = dynamic->value[DYN_FLAGS_1] & DF_1_PIE;
    return NULL;
}

/* The i-th 32-bit word, 0 outside. */
static uint32_t word_at(struct span span, uint64_t i)
{
    uint32_t word = 0;
    span_read(span, i * sizeof word, &word, sizeof word);
    return word;
}

/* A DT_GNU_HASH table, taken apart. */
struct gnu_hash {
    uint32_t first_symbol; /* the symbols from this one on are in the table */
    uint32_t bloom_count;  /* a power of two */
    uint32_t bloom_shift;
    struct span bloom;
    struct span buckets; /* uint32_t[]; at least one */
    struct span chains;  /* uint32_t[], one for each symbol from first_symbol on */
};

/* False: the table is broken. */
static bool split_gnu_hash(struct span table, struct gnu_hash *ret)
{
    if (table.size < GNU_HASH_HEADER_SIZE)
        return false;
    uint64_t bucket_size = (uint64_t)word_at(table, 0) * sizeof(uint32_t);
    ret->first_symbol = word_at(table, 1);
    ret->bloom_count = word_at(table, 2);
    ret->bloom_shift = word_at(table, 3);
    uint64_t bloom_size = (uint64_t)ret->bloom_count * sizeof(uint64_t);
    if (!bucket_size || !bloom_size || (ret->bloom_count & (ret->bloom_count - 1)) || ret->bloom_shift >= 32 ||
        !span_slice(table, GNU_HASH_HEADER_SIZE, bloom_size, &ret->bloom) ||
        !span_slice(table, GNU_HASH_HEADER_SIZE + bloom_size, bucket_size, &ret->buckets))
        return false;
    ret->chains = span_from(table, GNU_HASH_HEADER_SIZE + bloom_size + bucket_size);
    return true;
}

/* The number of symbols as the hash table knows it: the end of its last chain. 0: the chain has no end, or
 * the table is empty and knows nothing of undefined symbols. */
static uint64_t count_by_gnu_hash(const struct gnu_hash *hash)
{
    uint32_t last = 0;
    for (size_t i = 0; i < hash->buckets.size / sizeof(uint32_t); i++)
        if (word_at(hash->buckets, i) > last)
            last = word_at(hash->buckets, i);
    if (last < hash->first_symbol)
        return 0;
    uint64_t chain_count = hash->chains.size / sizeof(uint32_t);
    for (uint64_t i = last - hash->first_symbol; i < chain_count; i++)
        if (word_at(hash->chains, i) & 1)
            return hash->first_symbol + i + 1;
    return 0;
}

/* The number of symbols by the section headers, which need not be there. */
static uint64_t count_by_sections(const struct shared_library *library, uint64_t symtab_vaddr)
{
    Elf64_Ehdr header;
    Elf64_Shdr section;
    if (!span_read(library->data, 0, &header, sizeof header) || header.e_shentsize != sizeof section ||
        !span_has(library->data, header.e_shoff, (uint64_t)header.e_shnum * sizeof section))
        return 0;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        span_read(library->data, header.e_shoff + i * sizeof section, &section, sizeof section);
        if (section.sh_type == SHT_DYNSYM && section.sh_addr == symtab_vaddr)
            return section.sh_size / sizeof(Elf64_Sym);
    }
    return 0;
}

/* Finds the symbol table and how long it is, which the dynamic segment does not say. */
static struct crateld_error *read_symbol_table(struct shared_library *library, const struct dynamic *dynamic)
{
    struct span symbols, table;
    struct gnu_hash hash;
    uint64_t count = 0, vaddr = dynamic->value[DYN_SYMTAB];
    if (!dynamic->has[DYN_SYMTAB])
        return NULL;
    if (!image_at(library, vaddr, &symbols))
        return FAULT(library, "DT_SYMTAB: 0x%" PRIx64 " is not in the file", vaddr);
    if (dynamic->has[DYN_GNU_HASH]) {
        if (!image_at(library, dynamic->value[DYN_GNU_HASH], &table) || !split_gnu_hash(table, &hash))
            return FAULT(library, "DT_GNU_HASH: no hash table at 0x%" PRIx64, dynamic->value[DYN_GNU_HASH]);
        count = count_by_gnu_hash(&hash);
        library->gnu_hash = count ? table : (struct span){0};
    }
    if (!count && dynamic->has[DYN_HASH]) {
        if (!image_at(library, dynamic->value[DYN_HASH], &table) || table.size < 2 * sizeof(uint32_t))
            return FAULT(library, "DT_HASH: no hash table at 0x%" PRIx64, dynamic->value[DYN_HASH]);
        count = word_at(table, 1);
    }
    if (!count)
        count = count_by_sections(library, vaddr);
    if (count > UINT32_MAX || !span_slice(symbols, 0, count * sizeof(Elf64_Sym), &library->symbols))
        return FAULT(library, "DT_SYMTAB: %" PRIu64 " symbols at 0x%" PRIx64 " are not in the file", count, vaddr);
    library->symbol_count = (uint32_t)count;
    if (!dynamic->has[DYN_VERSYM])
        return NULL;
    if (!image_at(library, dynamic->value[DYN_VERSYM], &table) ||
        !span_slice(table, 0, count * sizeof(Elf64_Half), &library->versions))
        return FAULT(library, "DT_VERSYM: %" PRIu64 " entries at 0x%" PRIx64 " are not in the file", count,
                     dynamic->value[DYN_VERSYM]);
    return NULL;
}

/* Enters the version `idx`, whose name is at `name_off`. */
static struct crateld_error *add_version(struct shared_library *library, uint32_t idx, uint64_t name_off)
{
    const char *name = string_at(library, name_off);
    if (!name)
        return FAULT(library, "symbol version %u: name at 0x%" PRIx64 " of %zu bytes of strings", idx, name_off,
                     library->strings.size);
    /* Each index occurs once, so there can not be more entries; broken chains may overlap endlessly. */
    if (library->version_count++ == VERSION_INDEX_MASK)
        return FAULT(library, "more than %d symbol versions", VERSION_INDEX_MASK);
    idx &= VERSION_INDEX_MASK;
    while (library->version_names.count <= idx)
        if (!VEC_PUSH(&library->version_names, NULL))
            return error_memory();
    library->version_names.at[idx] = name;
    return NULL;
}

/* The versions that the library defines. */
static struct crateld_error *read_verdef(struct shared_library *library, const struct dynamic *dynamic)
{
    struct span table;
    if (!dynamic->has[DYN_VERDEF])
        return NULL;
    if (!image_at(library, dynamic->value[DYN_VERDEF], &table))
        return FAULT(library, "DT_VERDEF: 0x%" PRIx64 " is not in the file", dynamic->value[DYN_VERDEF]);
    uint64_t off = 0;
    for (uint64_t i = 0; i < dynamic->value[DYN_VERDEFNUM]; i++) {
        Elf64_Verdef def;
        Elf64_Verdaux name;
        if (!span_read(table, off, &def, sizeof def) || !span_read(table, off + def.vd_aux, &name, sizeof name))
            return FAULT(library, "DT_VERDEF: entry %" PRIu64 " of %" PRIu64 " is not in the file", i,
                         dynamic->value[DYN_VERDEFNUM]);
        if (!(def.vd_flags & VER_FLG_BASE)) /* that one is the library's own name */
            TRY(add_version(library, def.vd_ndx, name.vda_name));
        if (!def.vd_next)
            break;
        off += def.vd_next;
    }
    return NULL;
}

/* The versions that it wants of one other library, whose entry is at `off`. */
static struct crateld_error *read_vernaux(struct shared_library *library, struct span table, uint64_t off,
                                          unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        Elf64_Vernaux version;
        if (!span_read(table, off, &version, sizeof version))
            return FAULT(library, "DT_VERNEED: version at 0x%" PRIx64 " is not in the file", off);
        TRY(add_version(library, version.vna_other, version.vna_name));
        if (!version.vna_next)
            break;
        off += version.vna_next;
    }
    return NULL;
}

/* The versions that it wants. */
static struct crateld_error *read_verneed(struct shared_library *library, const struct dynamic *dynamic)
{
    struct span table;
    if (!dynamic->has[DYN_VERNEED])
        return NULL;
    if (!image_at(library, dynamic->value[DYN_VERNEED], &table))
        return FAULT(library, "DT_VERNEED: 0x%" PRIx64 " is not in the file", dynamic->value[DYN_VERNEED]);
    uint64_t off = 0;
    for (uint64_t i = 0; i < dynamic->value[DYN_VERNEEDNUM]; i++) {
        Elf64_Verneed need;
        if (!span_read(table, off, &need, sizeof need))
            return FAULT(library, "DT_VERNEED: entry %" PRIu64 " of %" PRIu64 " is not in the file", i,
                         dynamic->value[DYN_VERNEEDNUM]);
        TRY(read_vernaux(library, table, off + need.vn_aux, need.vn_cnt));
        if (!need.vn_next)
            break;
        off += need.vn_next;
    }
    return NULL;
}

/* Where the first entry of DT_INIT_ARRAY leads: by its relocation, else by its bytes. 0: by a symbol, or
 * unknown. */
static uint64_t first_initialiser(const struct shared_library *library, const struct dynamic *dynamic)
{
    struct span relocations, word;
    uint64_t vaddr = 0, place = dynamic->value[DYN_INIT_ARRAY];
    if (image_at(library, place, &word))
        span_read(word, 0, &vaddr, sizeof vaddr);
    if (!dynamic->has[DYN_RELA] || !image_at(library, dynamic->value[DYN_RELA], &relocations))
        return vaddr;
    Elf64_Rela relocation;
    for (uint64_t off = 0;
         off < dynamic->value[DYN_RELASZ] && span_read(relocations, off, &relocation, sizeof relocation);
         off += sizeof relocation)
        if (relocation.r_offset == place)
            return ELF64_R_SYM(relocation.r_info) ? 0 : (uint64_t)relocation.r_addend;
    return vaddr;
}

/* Whether the function at `vaddr` is frame_dummy. */
static bool is_frame_dummy(const struct shared_library *library, uint64_t vaddr)
{
    for (uint32_t i = 0; i < library->segment_count; i++) {
        const struct shared_segment *segment = &library->segments[i];
        if (vaddr >= segment->vaddr && vaddr - segment->vaddr < segment->data.size)
            return start_files_is_frame_dummy(library->machine, segment->data, vaddr - segment->vaddr);
    }
    return false;
}

static bool has_initialisers(const struct shared_library *library, const struct dynamic *dynamic)
{
    struct span code;
    if (dynamic->value[DYN_PREINIT_ARRAYSZ])
        return true;
    if (dynamic->value[DYN_INIT] &&
        !(image_at(library, dynamic->value[DYN_INIT], &code) && start_files_is_plain_init(library->machine, code)))
        return true;
    uint64_t size = dynamic->has[DYN_INIT_ARRAY] ? dynamic->value[DYN_INIT_ARRAYSZ] : 0;
    if (size != sizeof(uint64_t))
        return size > 0;
    return !is_frame_dummy(library, first_initialiser(library, dynamic));
}

/* Whether a link may bind to `symbol`. */
static bool is_linkable(const struct shared_symbol *symbol)
{
    return symbol->is_defined &&
           (symbol->binding == STB_GLOBAL || symbol->binding == STB_WEAK || symbol->binding == STB_GNU_UNIQUE) &&
           (symbol->visibility == STV_DEFAULT || symbol->visibility == STV_PROTECTED) && symbol->type != STT_SECTION &&
           symbol->type != STT_FILE;
}

/* Indexes the symbols that can be found by name, for libraries without DT_GNU_HASH. */
static struct crateld_error *build_index(struct shared_library *library)
{
    if (library->gnu_hash.size)
        return NULL;
    library->index_symbols = arena_alloc_array(&library->arena, library->symbol_count, sizeof(uint32_t));
    if (!library->index_symbols || !hash_index_reserve(&library->index, library->symbol_count))
        return error_memory();
    for (uint32_t i = 0; i < library->symbol_count; i++) {
        struct shared_symbol symbol;
        if (!shared_library_symbol(library, i, &symbol) || !is_linkable(&symbol))
            continue;
        library->index_symbols[library->index.count] = i;
        if (!hash_index_add(&library->index, hash_string(symbol.name)))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *read_library(struct shared_library *library, uint16_t machine)
{
    Elf64_Ehdr header;
    struct dynamic dynamic = {0};
    TRY(check_header(library, machine, &header));
    TRY(read_segments(library, &header, &dynamic));
    read_dynamic(&dynamic);
    TRY(read_strings(library, &dynamic));
    TRY(read_names(library, &dynamic));
    TRY(read_symbol_table(library, &dynamic));
    TRY(read_verneed(library, &dynamic));
    TRY(read_verdef(library, &dynamic));
    library->has_initialisers = has_initialisers(library, &dynamic);
    return build_index(library);
}

struct crateld_error *shared_library_init(struct span data, const char *path, uint16_t machine,
                                          struct shared_library *ret)
{
    struct shared_library library = {.data = data};
    arena_init(&library.arena);
    hash_index_init(&library.index);
    library.path = arena_strndup(&library.arena, path, strlen(path));
    struct crateld_error *error = library.path ? read_library(&library, machine) : error_memory();
    if (error) {
        shared_library_deinit(&library);
        return error;
    }
    *ret = library;
    return NULL;
}

struct crateld_error *shared_library_open(const char *path, uint16_t machine, struct shared_library *ret)
{
    struct file file;
    TRY(file_open(path, &file));
    struct crateld_error *error = shared_library_init(file.data, path, machine, ret);
    if (error)
        file_close(&file);
    else
        ret->file = file;
    return error;
}

void shared_library_deinit(struct shared_library *library)
{
    hash_index_deinit(&library->index);
    free(library->version_names.at);
    arena_deinit(&library->arena);
    file_close(&library->file);
    *library = (struct shared_library){0};
}

bool shared_library_symbol(const struct shared_library *library, uint32_t idx, struct shared_symbol *ret)
{
    Elf64_Sym raw;
    Elf64_Half version = VER_NDX_GLOBAL;
    if (!span_read(library->symbols, (uint64_t)idx * sizeof raw, &raw, sizeof raw))
        return false;
    const char *name = string_at(library, raw.st_name);
    if (!name || !name[0])
        return false;
    span_read(library->versions, (uint64_t)idx * sizeof version, &version, sizeof version);
    uint32_t version_idx = version & VERSION_INDEX_MASK;
    bool is_versioned = version_idx > VER_NDX_GLOBAL && version_idx < library->version_names.count;
    *ret = (struct shared_symbol){
        .name = name,
        .version = is_versioned ? library->version_names.at[version_idx] : NULL,
        .value = raw.st_value,
        .size = raw.st_size,
        .idx = idx,
        .type = ELF64_ST_TYPE(raw.st_info),
        .binding = version_idx == VER_NDX_LOCAL && raw.st_shndx != SHN_UNDEF ? STB_LOCAL : ELF64_ST_BIND(raw.st_info),
        .visibility = ELF64_ST_VISIBILITY(raw.st_other),
        .is_defined = raw.st_shndx != SHN_UNDEF,
        .is_default = !(version & VERSION_HIDDEN),
        .is_absolute = raw.st_shndx == SHN_ABS,
    };
    return true;
}

/* Whether `symbol` is what `name` and `version` ask for. */
static bool is_wanted(const struct shared_symbol *symbol, const char *name, const char *version)
{
    if (strcmp(symbol->name, name) != 0 || !is_linkable(symbol))
        return false;
    return version ? symbol->version && strcmp(symbol->version, version) == 0 : symbol->is_default;
}

/* The hash of DT_GNU_HASH. */
static uint32_t gnu_hash_of(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (uint8_t)*name;
    return hash;
}

static bool find_by_gnu_hash(const struct shared_library *library, const char *name, const char *version,
                             struct shared_symbol *ret)
{
    enum { BLOOM_BITS = 64 };
    struct gnu_hash hash;
    if (!split_gnu_hash(library->gnu_hash, &hash))
        return false;
    uint32_t wanted = gnu_hash_of(name);
    uint64_t bloom = 0;
    span_read(hash.bloom, (wanted / BLOOM_BITS & (hash.bloom_count - 1)) * sizeof bloom, &bloom, sizeof bloom);
    if (!(bloom >> wanted % BLOOM_BITS & bloom >> (wanted >> hash.bloom_shift) % BLOOM_BITS & 1))
        return false;
    uint32_t i = word_at(hash.buckets, wanted % (hash.buckets.size / sizeof(uint32_t)));
    if (i < hash.first_symbol)
        return false;
    for (; i < library->symbol_count; i++) {
        uint32_t link = word_at(hash.chains, i - hash.first_symbol);
        struct shared_symbol symbol;
        if ((link | 1) == (wanted | 1) && shared_library_symbol(library, i, &symbol) &&
            is_wanted(&symbol, name, version)) {
            *ret = symbol;
            return true;
        }
        if (link & 1)
            break;
    }
    return false;
}

bool shared_library_find(const struct shared_library *library, const char *name, const char *version,
                         struct shared_symbol *ret)
{
    if (library->gnu_hash.size)
        return find_by_gnu_hash(library, name, version, ret);
    size_t cursor = 0;
    uint64_t hash = hash_string(name);
    for (uint32_t i; (i = hash_index_next(&library->index, hash, &cursor)) != HASH_INDEX_NONE;) {
        struct shared_symbol symbol;
        if (shared_library_symbol(library, library->index_symbols[i], &symbol) && is_wanted(&symbol, name, version)) {
            *ret = symbol;
            return true;
        }
    }
    return false;
}

bool shared_library_next_alias(const struct shared_library *library, const struct shared_symbol *symbol,
                               uint32_t *cursor, struct shared_symbol *ret)
{
    while (*cursor < library->symbol_count) {
        struct shared_symbol other;
        if (shared_library_symbol(library, (*cursor)++, &other) && is_linkable(&other) && !other.is_absolute &&
            other.value == symbol->value && (other.type == STT_OBJECT || other.type == STT_COMMON)) {
            *ret = other;
            return true;
        }
    }
    return false;
}

/* Whether the segment that has the vaddr has `flag`, PF_*. */
static bool has_flag(const struct shared_library *library, uint64_t vaddr, uint32_t flag)
{
    for (uint32_t i = 0; i < library->segment_count; i++) {
        const struct shared_segment *segment = &library->segments[i];
        if (vaddr >= segment->vaddr && vaddr - segment->vaddr < segment->mem_size)
            return segment->flags & flag;
    }
    return false;
}

bool shared_library_is_writable(const struct shared_library *library, uint64_t vaddr)
{
    return has_flag(library, vaddr, PF_W);
}

bool shared_library_is_executable(const struct shared_library *library, uint64_t vaddr)
{
    return has_flag(library, vaddr, PF_X);
}
