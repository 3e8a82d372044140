#include "linker/elf_file.h"

#include <string.h>

#include "base/file.h"
#include "crate/build_id.h"
#include "linker/emit.h"
#include "linker/relink_section.h"
#include "linker/rest.h"
#include "linker/state.h"
#include "linker/tables.h"

enum { MAX_PROGRAM_HEADERS = 9 };

/* What follows the loaded part of the file. */
struct file_tail {
    struct link_symtab dynsym;     /* owned */
    VEC(char) section_names;       /* owned */
    VEC(Elf64_Shdr) headers;       /* owned */
    struct relink_builder *relink; /* owned; NULL: there is none */
    size_t relink_size;
    uint64_t relink_off;
    uint64_t symtab_off, strtab_off;
    uint64_t dynsym_off, dynstr_off;
    uint64_t names_off;
    uint64_t headers_off;
    uint64_t size;
};

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static struct crateld_error *add_section_header(struct file_tail *tail, const char *name, Elf64_Shdr header)
{
    size_t size = strlen(name) + 1;
    header.sh_name = (Elf64_Word)tail->section_names.count;
    if (!VEC_RESERVE(&tail->section_names, size) || !VEC_PUSH(&tail->headers, header) || !tail->section_names.at)
        return error_memory();
    memcpy(tail->section_names.at + tail->section_names.count, name, size);
    tail->section_names.count += size;
    return NULL;
}

/* Gives the unloaded output sections their places behind the loaded part, and lists all output sections. */
static struct crateld_error *add_outputs(struct link *link, const struct link_image *image, struct file_tail *tail)
{
    uint64_t end = image->loaded_size;
    TRY(add_section_header(tail, "", (Elf64_Shdr){0}));
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        bool is_loaded = output->segment != CRATE_SEGMENT_COUNT;
        if (!is_loaded) {
            output->off = align_up(end, UINT64_C(1) << output->align_log2);
            end = output->off + output->size;
        }
        Elf64_Shdr header = {
            .sh_type = output->type,
            .sh_flags = output->flags,
            .sh_addr = is_loaded ? link->preferred_base + output->rva : 0,
            .sh_offset = output->off,
            .sh_size = output->size,
            .sh_addralign = UINT64_C(1) << output->align_log2,
            .sh_entsize = output->flags & SHF_MERGE ? output->entry_size : 0,
        };
        TRY(add_section_header(tail, output->name, header));
    }
    tail->size = end;
    return NULL;
}

/* Appends `size` bytes to the file, and their section header. */
static struct crateld_error *add_tail_section(struct file_tail *tail, const char *name, Elf64_Shdr header,
                                              uint64_t size, uint64_t *ret_off)
{
    *ret_off = align_up(tail->size, 8);
    tail->size = *ret_off + size;
    header.sh_offset = *ret_off;
    header.sh_size = size;
    header.sh_addralign = header.sh_type == SHT_STRTAB ? 1 : 8;
    return add_section_header(tail, name, header);
}

/* Appends a table of symbols, and that of their names. */
static struct crateld_error *add_symbol_table(struct file_tail *tail, const struct link_symtab *symtab, Elf64_Word type,
                                              const char *name, const char *strings, uint64_t *ret_off,
                                              uint64_t *ret_strings_off)
{
    Elf64_Shdr header = {
        .sh_type = type,
        .sh_link = (Elf64_Word)tail->headers.count + 1,
        .sh_info = symtab->first_global,
        .sh_entsize = sizeof(Elf64_Sym),
    };
    TRY(add_tail_section(tail, name, header, symtab->symbols.count * sizeof(Elf64_Sym), ret_off));
    return add_tail_section(tail, strings, (Elf64_Shdr){.sh_type = SHT_STRTAB}, symtab->names.count, ret_strings_off);
}

static struct crateld_error *write_symbol_table(const struct link_symtab *symtab, uint64_t off, uint64_t strings_off,
                                                struct output_file *file)
{
    TRY(output_file_write(file, off, symtab->symbols.at, symtab->symbols.count * sizeof(Elf64_Sym)));
    return output_file_write(file, strings_off, symtab->names.at, symtab->names.count);
}

static struct crateld_error *place_tail(const struct link *link, const struct link_symtab *symbols,
                                        struct file_tail *tail)
{
    if (tail->relink_size)
        TRY(add_tail_section(tail, ".crate.relink", (Elf64_Shdr){.sh_type = SHT_PROGBITS}, tail->relink_size,
                             &tail->relink_off));
    if (link->options->has_dynamic_symbols)
        TRY(add_symbol_table(tail, &tail->dynsym, SHT_DYNSYM, ".dynsym", ".dynstr", &tail->dynsym_off,
                             &tail->dynstr_off));
    if (!link->options->is_strip_all)
        TRY(add_symbol_table(tail, symbols, SHT_SYMTAB, ".symtab", ".strtab", &tail->symtab_off, &tail->strtab_off));
    uint64_t names_size = tail->section_names.count + sizeof ".shstrtab";
    TRY(add_tail_section(tail, ".shstrtab", (Elf64_Shdr){.sh_type = SHT_STRTAB}, names_size, &tail->names_off));
    tail->headers_off = align_up(tail->size, 8);
    tail->size = tail->headers_off + tail->headers.count * sizeof(Elf64_Shdr);
    return NULL;
}

/* PT_INTERP: one of the crate's strings, with its NUL. */
static Elf64_Phdr interpreter_header(const struct link *link, const struct link_image *image)
{
    uint64_t rva = image->header.tables[CRATE_TABLE_STRINGS].rva + image->interpreter;
    uint64_t size = strlen(link->options->interpreter) + 1;
    return (Elf64_Phdr){PT_INTERP, PF_R, rva, link->preferred_base + rva, link->preferred_base + rva, size, size, 1};
}

static uint32_t write_program_headers(const struct link *link, const struct link_image *image, uint8_t *file)
{
    static const uint32_t protections[CRATE_SEGMENT_COUNT] = {PF_R, PF_R | PF_X, PF_R, PF_R | PF_W};
    Elf64_Phdr headers[MAX_PROGRAM_HEADERS] = {0};
    uint32_t count = 0;
    if (image->interpreter) /* before any PT_LOAD: gABI, chapter 5 */
        headers[count++] = interpreter_header(link, image);
    for (int i = 0; i < CRATE_SEGMENT_COUNT; i++) {
        const struct crate_segment *segment = &image->header.segments[i];
        uint64_t vaddr = link->preferred_base + segment->rva;
        if (segment->mem_size)
            headers[count++] = (Elf64_Phdr){PT_LOAD, protections[i],     segment->rva,      vaddr,
                                            vaddr,   segment->file_size, segment->mem_size, image->header.image_align};
    }
    uint64_t base = link->preferred_base;
    if (link->tls_mem_size)
        headers[count++] = (Elf64_Phdr){PT_TLS,
                                        PF_R,
                                        link->tls_rva,
                                        base + link->tls_rva,
                                        base + link->tls_rva,
                                        link->tls_file_size,
                                        link->tls_mem_size,
                                        link->tls_align};
    uint64_t hdr = image->header.eh_frame_hdr_rva, hdr_size = image->header.eh_frame_hdr_size;
    if (hdr)
        headers[count++] = (Elf64_Phdr){PT_GNU_EH_FRAME, PF_R, hdr, base + hdr, base + hdr, hdr_size, hdr_size, 4};
    uint32_t stack = PF_R | PF_W | (image->header.flags & CRATE_FLAG_EXEC_STACK ? PF_X : 0);
    headers[count++] = (Elf64_Phdr){PT_GNU_STACK, stack, 0, 0, 0, 0, 0, 16};
    headers[count++] = (Elf64_Phdr){CRATE_PT_CRATE,
                                    PF_R,
                                    CRATE_HEADER_RVA,
                                    base + CRATE_HEADER_RVA,
                                    base + CRATE_HEADER_RVA,
                                    sizeof(struct crate_header),
                                    sizeof(struct crate_header),
                                    8};
    _Static_assert(sizeof(Elf64_Ehdr) + sizeof headers <= CRATE_HEADER_RVA, "the crate header comes behind them");
    memcpy(file + sizeof(Elf64_Ehdr), headers, count * sizeof *headers);
    return count;
}

static void write_elf_header(const struct link *link, const struct link_image *image, const struct file_tail *tail,
                             uint8_t *file)
{
    uint32_t program_headers = write_program_headers(link, image, file);
    uint32_t section_count = (uint32_t)tail->headers.count;
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV},
        .e_type = ET_DYN,
        .e_machine = link->machine->elf_machine,
        .e_version = EV_CURRENT,
        .e_entry = image->header.entry_rva ? link->preferred_base + image->header.entry_rva : 0,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_shoff = tail->headers_off,
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = (Elf64_Half)program_headers,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = (Elf64_Half)section_count,
        .e_shstrndx = (Elf64_Half)(section_count - 1),
    };
    memcpy(file, &header, sizeof header);
}

/* Writes what is behind the loaded part past the mapping of the file: it is big, and never looked at again. */
static struct crateld_error *write_tail(const struct link *link, const struct link_symtab *symbols,
                                        const struct file_tail *tail, struct output_file *file)
{
    for (size_t i = 0; tail->relink_size && i < RELINK_PIECES; i++) {
        uint64_t off;
        struct span piece = relink_builder_piece(tail->relink, i, &off);
        TRY(output_file_write(file, tail->relink_off + off, piece.data, piece.size));
    }
    if (link->options->has_dynamic_symbols)
        TRY(write_symbol_table(&tail->dynsym, tail->dynsym_off, tail->dynstr_off, file));
    if (!link->options->is_strip_all)
        TRY(write_symbol_table(symbols, tail->symtab_off, tail->strtab_off, file));
    TRY(output_file_write(file, tail->names_off, tail->section_names.at, tail->section_names.count));
    return output_file_write(file, tail->headers_off, tail->headers.at, tail->headers.count * sizeof(Elf64_Shdr));
}

static void release_tail(struct file_tail *tail)
{
    relink_builder_destroy(tail->relink);
    link_symtab_deinit(&tail->dynsym);
    free(tail->section_names.at);
    free(tail->headers.at);
    *tail = (struct file_tail){.size = tail->size};
}

/* What is made at the same time: the relink section, its strings, the tables, and everything else that takes long. */
struct making {
    struct link *link;
    struct link_image *image;
    struct file_tail *tail;
    const struct output_file *file;
    struct latch has_names; /* opened when the relink section has all that has a name, or can not */
    bool is_named;          /* it has; once the latch is */
};

enum { MAKE_RELINK, MAKE_CONTENTS, MAKE_TABLES, MAKE_NAMES, MAKE_COUNT };

static struct crateld_error *make_relink(struct making *making)
{
    struct relink_builder **builder = &making->tail->relink;
    struct crateld_error *error = link_relink_begin(making->link, builder);
    making->is_named = !error;
    latch_open(&making->has_names);
    return error ? error : link_relink_relocs(making->link, *builder);
}

static struct crateld_error *make_contents(const struct making *making)
{
    struct link *link = making->link;
    TRY(link_emit(link, making->file->data));
    link_emit_debug(link, making->file->data);
    output_file_rest(making->file, 0, making->file->size);
    if (!link->options->is_strip_all)
        link_symtab_fill(link, &making->image->symtab);
    return link->options->has_dynamic_symbols ? link_dynamic_symtab_init(link, &making->tail->dynsym) : NULL;
}

static struct crateld_error *make(void *context, uint32_t worker, size_t what)
{
    struct making *making = context;
    (void)worker;
    if (what == MAKE_CONTENTS)
        return make_contents(making);
    if (what == MAKE_TABLES)
        return link_tables_fill(making->link, making->image);
    if (!making->link->options->keep_relink)
        return NULL;
    if (what == MAKE_RELINK)
        return make_relink(making);
    latch_wait(&making->has_names);
    return making->is_named ? relink_builder_end_names(making->tail->relink) : NULL;
}

/* Makes what takes long, as far as it is possible before everything has its size. */
static struct crateld_error *make_all(struct link *link, struct link_image *image, struct file_tail *tail,
                                      const struct output_file *file)
{
    struct making making = {link, image, tail, file, LATCH_INITIALIZER, false};
    uint32_t workers = link_workers_for(link, link->objects.count);
    struct crateld_error *error = workers_run(workers, MAKE_COUNT, make, &making);
    latch_deinit(&making.has_names);
    if (!error && tail->relink)
        error = relink_builder_finish(tail->relink, workers, &tail->relink_size);
    return error;
}

/* What is done at the same time in the end. */
struct ending {
    const struct link *link;
    struct link_image *image;
    struct file_tail *tail;
    struct output_file *file;
};

enum { END_TAIL, END_SEAL, END_COUNT };

static struct crateld_error *end_file(void *context, uint32_t worker, size_t what)
{
    const struct ending *ending = context;
    (void)worker;
    if (what == END_SEAL) {
        crate_seal((struct span){ending->file->data, ending->file->size}, CRATE_HEADER_RVA, &ending->image->header);
        return NULL;
    }
    TRY(write_tail(ending->link, &ending->image->symtab, ending->tail, ending->file));
    release_tail(ending->tail);
    return NULL;
}

static struct crateld_error *write_contents(struct link *link, struct link_image *image, struct file_tail *tail,
                                            struct output_file *file)
{
    TRY(make_all(link, image, tail, file));
    TRY(link_tables_places(link, image));
    struct crateld_error *faults = link_take_errors(link);
    if (faults)
        return faults;
    TRY(place_tail(link, &image->symtab, tail));
    TRY(output_file_grow(file, tail->size));
    image->header.relink_off = tail->relink_size ? tail->relink_off : 0;
    image->header.relink_size = tail->relink_size;
    write_elf_header(link, image, tail, file->data);
    crate_tables_write(&image->tables, &image->header, file->data);
    struct ending ending = {link, image, tail, file};
    TRY(workers_run(link_workers_for(link, link->objects.count), END_COUNT, end_file, &ending));
    memcpy(file->data + CRATE_HEADER_RVA, &image->header, sizeof image->header);
    return NULL;
}

static struct crateld_error *write_all(struct link *link, struct link_image *image, struct file_tail *tail)
{
    struct output_file created = {.fd = -1};
    struct output_file *file = link->options->adopted ? link->options->adopted : &created;
    for (size_t i = 0; i < link->objects.count; i++)
        link_rest_after(link, i);
    TRY(add_outputs(link, image, tail));
    TRY(link->options->adopted ? output_file_grow(file, tail->size)
                               : output_file_create(link->options->output, tail->size, file));
    struct crateld_error *error = write_contents(link, image, tail, file);
    uint32_t mode = image->interpreter ? 0777 : 0666;
    if (!error)
        error = output_file_commit(file, mode);
    if (!error && link->keeps_state) {
        struct file_stamp stamp = file_stamp_of(file->fd);
        link_state_write(link, &stamp, mode);
    }
    output_file_discard(&created);
    return error;
}

struct crateld_error *link_write_file(struct link *link, struct link_image *image)
{
    struct file_tail tail = {0};
    struct crateld_error *error = write_all(link, image, &tail);
    release_tail(&tail);
    return error;
}
