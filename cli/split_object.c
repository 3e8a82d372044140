#define _GNU_SOURCE
#include "cli/split_object.h"

#include <ctype.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "base/vec.h"

/* A relocatable object: its sections and symbols. */
struct object {
    const char *path;
    struct span file;
    Elf64_Shdr *sections; /* owned */
    uint32_t section_count;
    Elf64_Sym *symbols; /* owned */
    uint32_t symbol_count;
    uint32_t local_count;
    struct span strings, section_names;
};

/* A function or variable: a section of the result. */
struct piece {
    uint32_t section; /* of the input */
    uint64_t start, size;
    const char *name; /* the new section's; the arena's */
    Elf64_Shdr header;
    VEC(Elf64_Rela) relocs;
};

struct split {
    struct object object, model;
    struct hash_index model_names; /* of the model's symbols, less their numbers */
    VEC(struct piece) pieces;
    struct arena arena;
    VEC(uint8_t) bytes; /* the result */
};

#define FAULT(code, object, ...) error_prefix(error_create(code, __VA_ARGS__), "%s", (object)->path)

/* Reading. */

static struct crateld_error *read_table(const struct object *object, uint64_t off, uint64_t size, uint64_t entry_size,
                                        void *ret, uint32_t *count)
{
    struct span bytes;
    if (size % entry_size || size / entry_size > UINT32_MAX || !span_slice(object->file, off, size, &bytes))
        return FAULT(CRATELD_ERROR_FORMAT, object, "a table that is not within the file");
    void *table = calloc(bytes.size + 1, 1);
    if (!table)
        return error_memory();
    if (bytes.size)
        memcpy(table, bytes.data, bytes.size);
    *(void **)ret = table;
    *count = (uint32_t)(size / entry_size);
    return NULL;
}

static struct crateld_error *read_symbols(struct object *object)
{
    for (uint32_t i = 1; i < object->section_count; i++) {
        const Elf64_Shdr *header = &object->sections[i];
        if (header->sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Shdr *strings = header->sh_link < object->section_count ? &object->sections[header->sh_link] : NULL;
        if (object->symbols || !strings ||
            !span_slice(object->file, strings->sh_offset, strings->sh_size, &object->strings))
            return FAULT(CRATELD_ERROR_FORMAT, object, "its symbols have no strings");
        object->local_count = header->sh_info;
        TRY(read_table(object, header->sh_offset, header->sh_size, sizeof(Elf64_Sym), &object->symbols,
                       &object->symbol_count));
    }
    return object->symbols ? NULL : FAULT(CRATELD_ERROR_FORMAT, object, "has no symbols");
}

static struct crateld_error *read_object(const char *path, struct span file, struct object *ret)
{
    Elf64_Ehdr ehdr = {0};
    *ret = (struct object){.path = path, .file = file};
    if (!span_read(file, 0, &ehdr, sizeof ehdr) || memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0 ||
        ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_ident[EI_DATA] != ELFDATA2LSB || ehdr.e_type != ET_REL)
        return FAULT(CRATELD_ERROR_FORMAT, ret, "is no relocatable object");
    TRY(read_table(ret, ehdr.e_shoff, (uint64_t)ehdr.e_shnum * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr), &ret->sections,
                   &ret->section_count));
    if (ehdr.e_shstrndx >= ret->section_count ||
        !span_slice(file, ret->sections[ehdr.e_shstrndx].sh_offset, ret->sections[ehdr.e_shstrndx].sh_size,
                    &ret->section_names))
        return FAULT(CRATELD_ERROR_FORMAT, ret, "its sections have no names");
    return read_symbols(ret);
}

static const char *symbol_name(const struct object *object, const Elf64_Sym *symbol)
{
    const char *name = span_string(object->strings, symbol->st_name);
    return name ? name : "";
}

static bool is_thing(const struct object *object, const Elf64_Sym *symbol)
{
    int type = ELF64_ST_TYPE(symbol->st_info);
    return (type == STT_FUNC || type == STT_OBJECT) && symbol->st_shndx && symbol->st_shndx < object->section_count;
}

/* The model. */

/* Bytes of the name without the number that compilers put behind those of static variables. */
static size_t stem_size(const char *name)
{
    size_t size = strlen(name), end = size;
    while (end && isdigit((unsigned char)name[end - 1]))
        end--;
    return end > 1 && end < size && name[end - 1] == '.' ? end - 1 : size;
}

static struct crateld_error *index_model(struct split *split)
{
    for (uint32_t i = 0; i < split->model.symbol_count; i++) {
        const char *name = symbol_name(&split->model, &split->model.symbols[i]);
        if (!hash_index_add(&split->model_names, hash_bytes(name, stem_size(name))))
            return error_memory();
    }
    return NULL;
}

/* How many variables the model's section has. */
static uint32_t count_variables(const struct object *model, uint32_t section)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < model->symbol_count; i++)
        count += is_thing(model, &model->symbols[i]) && model->symbols[i].st_shndx == section &&
                 ELF64_ST_TYPE(model->symbols[i].st_info) == STT_OBJECT;
    return count;
}

/* Sets *ret to the model's section of the variable, 0 if it has none. */
static struct crateld_error *find_in_model(const struct split *split, const char *name, uint32_t *ret)
{
    size_t cursor = 0, size = stem_size(name);
    uint32_t i;
    *ret = 0;
    while ((i = hash_index_next(&split->model_names, hash_bytes(name, size), &cursor)) != HASH_INDEX_NONE) {
        const Elf64_Sym *symbol = &split->model.symbols[i];
        const char *known = symbol_name(&split->model, symbol);
        if (!is_thing(&split->model, symbol) || stem_size(known) != size || memcmp(known, name, size) != 0)
            continue;
        if (*ret || count_variables(&split->model, symbol->st_shndx) != 1)
            return FAULT(CRATELD_ERROR_UNSUPPORTED, &split->model, "which variable is '%s' can not be told", name);
        *ret = symbol->st_shndx;
    }
    return NULL;
}

/* Pieces. */

/* Gives the piece the section that the variable has in the model, if that is constant. */
static struct crateld_error *name_constant(struct split *split, const char *name, struct piece *piece, bool *ret)
{
    uint32_t known = 0;
    TRY(find_in_model(split, name, &known));
    const Elf64_Shdr *header = &split->model.sections[known];
    const char *section = span_string(split->model.section_names, header->sh_name);
    *ret = known && section && (!(header->sh_flags & SHF_WRITE) || !strncmp(section, ".data.rel.ro", 12));
    if (!*ret)
        return NULL;
    piece->header.sh_flags = header->sh_flags & (SHF_ALLOC | SHF_WRITE);
    piece->name = section;
    return NULL;
}

static struct crateld_error *name_piece(struct split *split, const Elf64_Sym *symbol, struct piece *piece)
{
    const Elf64_Shdr *from = &split->object.sections[piece->section];
    const char *name = symbol_name(&split->object, symbol);
    bool is_constant = false;
    piece->header = (Elf64_Shdr){.sh_type = from->sh_type,
                                 .sh_flags = from->sh_flags & (SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR),
                                 .sh_size = piece->size,
                                 .sh_addralign = piece->start & 15 ? piece->start & -piece->start : 16};
    if (from->sh_flags & SHF_EXECINSTR) {
        piece->name = arena_printf(&split->arena, ".text.%s", name);
    } else if (!strncmp(name, "L.", 2)) { /* a string or another constant of tcc's */
        piece->header.sh_flags = SHF_ALLOC;
        piece->name = arena_printf(&split->arena, ".rodata.%s", name);
    } else {
        TRY(name_constant(split, name, piece, &is_constant));
        if (!is_constant)
            piece->name = arena_printf(&split->arena, "%s.%s", from->sh_type == SHT_NOBITS ? ".bss" : ".data", name);
    }
    return piece->name ? NULL : error_memory();
}

/* The piece that the place is in; NULL if there is none. */
static struct piece *find_piece(const struct split *split, uint32_t section, uint64_t off)
{
    for (size_t i = 0; i < split->pieces.count; i++) {
        struct piece *piece = &split->pieces.at[i];
        if (piece->section == section && off >= piece->start && off - piece->start < piece->size)
            return piece;
    }
    return NULL;
}

static struct crateld_error *add_pieces(struct split *split)
{
    const struct object *object = &split->object;
    for (uint32_t i = 1; i < object->symbol_count; i++) {
        const Elf64_Sym *symbol = &object->symbols[i];
        if (!is_thing(object, symbol))
            continue;
        const Elf64_Shdr *section = &object->sections[symbol->st_shndx];
        struct piece piece = {.section = symbol->st_shndx, .start = symbol->st_value, .size = symbol->st_size};
        if (!piece.size || piece.start > section->sh_size || piece.size > section->sh_size - piece.start ||
            find_piece(split, piece.section, piece.start) ||
            find_piece(split, piece.section, piece.start + piece.size - 1))
            return FAULT(CRATELD_ERROR_UNSUPPORTED, object, "'%s' is not a part of its section by itself",
                         symbol_name(object, symbol));
        TRY(name_piece(split, symbol, &piece));
        if (!VEC_PUSH(&split->pieces, piece))
            return error_memory();
    }
    return NULL;
}

/* Sorts the section's relocations by pieces. */
static struct crateld_error *take_relocs(struct split *split, const Elf64_Shdr *header)
{
    const struct object *object = &split->object;
    Elf64_Rela *relocs AUTO_FREE = NULL;
    uint32_t count = 0;
    TRY(read_table(object, header->sh_offset, header->sh_size, sizeof *relocs, &relocs, &count));
    for (uint32_t i = 0; i < count; i++) {
        struct piece *piece = find_piece(split, header->sh_info, relocs[i].r_offset);
        uint64_t symbol = ELF64_R_SYM(relocs[i].r_info);
        if (!piece || !symbol || symbol >= object->symbol_count ||
            ELF64_ST_TYPE(object->symbols[symbol].st_info) == STT_SECTION)
            return FAULT(CRATELD_ERROR_UNSUPPORTED, object, "a relocation that belongs to nothing, or names nothing");
        relocs[i].r_offset -= piece->start;
        if (!VEC_PUSH(&piece->relocs, relocs[i]))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *take_all_relocs(struct split *split)
{
    for (uint32_t i = 1; i < split->object.section_count; i++) {
        const Elf64_Shdr *header = &split->object.sections[i];
        bool is_loaded = header->sh_info < split->object.section_count &&
                         split->object.sections[header->sh_info].sh_flags & SHF_ALLOC;
        if (header->sh_type == SHT_RELA && is_loaded)
            TRY(take_relocs(split, header));
    }
    return NULL;
}

/* The result. */

static bool put(struct split *split, const void *bytes, size_t size)
{
    if (!VEC_RESERVE(&split->bytes, size + 16))
        return false;
    if (size)
        memcpy(split->bytes.at + split->bytes.count, bytes, size);
    split->bytes.count += size;
    return true;
}

static bool align(struct split *split)
{
    static const uint8_t zero[16];
    return put(split, zero, -split->bytes.count & 15);
}

/* Symbols name their pieces. */
static void move_symbols(struct split *split)
{
    for (uint32_t i = 1; i < split->object.symbol_count; i++) {
        Elf64_Sym *symbol = &split->object.symbols[i];
        if (!is_thing(&split->object, symbol))
            continue;
        const struct piece *piece = find_piece(split, symbol->st_shndx, symbol->st_value);
        symbol->st_shndx = (uint16_t)(1 + (piece - split->pieces.at));
        symbol->st_value = 0;
    }
}

struct names {
    VEC(char) text;
};

static bool add_name(struct names *names, const char *name, Elf64_Shdr *header)
{
    size_t size = strlen(name) + 1;
    header->sh_name = (uint32_t)names->text.count;
    if (!VEC_RESERVE(&names->text, size))
        return false;
    memcpy(names->text.at + names->text.count, name, size);
    names->text.count += size;
    return true;
}

/* Appends a section's bytes, and its header with the name. */
static bool put_section(struct split *split, struct names *names, const char *name, Elf64_Shdr *header,
                        const void *bytes)
{
    if (!align(split) || !add_name(names, name, header))
        return false;
    header->sh_offset = split->bytes.count;
    return header->sh_type == SHT_NOBITS || put(split, bytes, header->sh_size);
}

/* Null, the pieces, then their relocations, then the tables. */
static struct crateld_error *write_sections(struct split *split, struct names *names, Elf64_Shdr *headers)
{
    uint16_t count = 0, pieces = (uint16_t)split->pieces.count, symtab = (uint16_t)(1 + 2 * pieces);
    bool is_good = put_section(split, names, "", &headers[count++], NULL);
    for (uint16_t i = 0; i < pieces; i++) {
        const struct piece *piece = &split->pieces.at[i];
        struct span bytes = {0};
        headers[count] = piece->header;
        if (piece->header.sh_type != SHT_NOBITS &&
            !span_slice(split->object.file, split->object.sections[piece->section].sh_offset + piece->start,
                        piece->size, &bytes))
            return FAULT(CRATELD_ERROR_FORMAT, &split->object, "a section that is not within the file");
        is_good &= put_section(split, names, piece->name, &headers[count++], bytes.data);
    }
    for (uint16_t i = 0; i < pieces; i++) {
        const struct piece *piece = &split->pieces.at[i];
        headers[count] = (Elf64_Shdr){.sh_type = SHT_RELA,
                                      .sh_link = symtab,
                                      .sh_info = 1u + i,
                                      .sh_addralign = 8,
                                      .sh_entsize = sizeof(Elf64_Rela),
                                      .sh_flags = SHF_INFO_LINK,
                                      .sh_size = piece->relocs.count * sizeof(Elf64_Rela)};
        is_good &= put_section(split, names, ".rela", &headers[count++], piece->relocs.at);
    }
    headers[count] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                                  .sh_link = symtab + 1u,
                                  .sh_info = split->object.local_count,
                                  .sh_addralign = 8,
                                  .sh_entsize = sizeof(Elf64_Sym),
                                  .sh_size = split->object.symbol_count * sizeof(Elf64_Sym)};
    is_good &= put_section(split, names, ".symtab", &headers[count++], split->object.symbols);
    headers[count] = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_addralign = 1, .sh_size = split->object.strings.size};
    is_good &= put_section(split, names, ".strtab", &headers[count++], split->object.strings.data);
    headers[count] = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_addralign = 1};
    is_good &= add_name(names, ".shstrtab", &headers[count]) && align(split);
    headers[count].sh_offset = split->bytes.count;
    headers[count++].sh_size = names->text.count;
    is_good &= put(split, names->text.at, names->text.count) && align(split);
    return is_good ? NULL : error_memory();
}

static struct crateld_error *make_result(struct split *split)
{
    struct names names = {0};
    Elf64_Ehdr ehdr;
    size_t count = 2 * split->pieces.count + 4;
    if (count >= SHN_LORESERVE)
        return FAULT(CRATELD_ERROR_UNSUPPORTED, &split->object, "too many functions and variables");
    Elf64_Shdr *headers AUTO_FREE = calloc(count, sizeof *headers);
    memcpy(&ehdr, split->object.file.data, sizeof ehdr);
    if (!headers || !put(split, &ehdr, sizeof ehdr))
        return error_memory();
    move_symbols(split);
    struct crateld_error *error = write_sections(split, &names, headers);
    free(names.text.at);
    ehdr.e_shoff = split->bytes.count;
    ehdr.e_shnum = (uint16_t)count;
    ehdr.e_shstrndx = (uint16_t)(count - 1);
    if (!error && !put(split, headers, count * sizeof *headers))
        error = error_memory();
    if (!error)
        memcpy(split->bytes.at, &ehdr, sizeof ehdr);
    return error;
}

static struct crateld_error *run(struct split *split, const char *path, struct span file, const char *model,
                                 struct span model_file)
{
    TRY(read_object(path, file, &split->object));
    TRY(read_object(model, model_file, &split->model));
    TRY(index_model(split));
    TRY(add_pieces(split));
    TRY(take_all_relocs(split));
    return make_result(split);
}

struct crateld_error *split_object_bytes(const char *path, struct span file, const char *model, struct span model_file,
                                         struct split_bytes *ret)
{
    struct split split = {0};
    arena_init(&split.arena);
    hash_index_init(&split.model_names);
    struct crateld_error *error = run(&split, path, file, model, model_file);
    for (size_t i = 0; i < split.pieces.count; i++)
        free(split.pieces.at[i].relocs.at);
    free(split.pieces.at);
    free(split.object.sections);
    free(split.object.symbols);
    free(split.model.sections);
    free(split.model.symbols);
    hash_index_deinit(&split.model_names);
    arena_deinit(&split.arena);
    if (error)
        free(split.bytes.at);
    else
        *ret = (struct split_bytes){split.bytes.at, split.bytes.count};
    return error;
}

struct crateld_error *split_object(const char *path, const char *model, const char *output)
{
    struct file file = {0}, model_file = {0};
    struct split_bytes bytes = {0};
    struct crateld_error *error = file_open(path, &file);
    if (!error)
        error = file_open(model, &model_file);
    if (!error)
        error = split_object_bytes(path, file.data, model, model_file.data, &bytes);
    if (!error)
        error = file_write(output, bytes.at, bytes.size, 0666);
    free(bytes.at);
    file_close(&file);
    file_close(&model_file);
    return error;
}
