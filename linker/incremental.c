#define _GNU_SOURCE
#include "linker/incremental.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "crate/build_id.h"
#include "linker/input.h"
#include "linker/relink_section.h"
#include "linker/shape.h"
#include "linker/state.h"
#include "reloc/relink_reader.h"

enum { SAME_TICK_NS = 50000000 }; /* file systems tell times within this from each other, at least */

struct updating {
    struct link *link;
    struct link_state state;
    uint8_t *bytes; /* owned private mapping: the crate, and what is changed of it */
    size_t size;
    struct crate_view view;
    uint64_t header_off;
    struct relink_view relink;
    struct span relink_bytes;
};

#define NOT_POSSIBLE(...) error_create(CRATELD_ERROR_UNSUPPORTED, __VA_ARGS__)

static bool is_same(const struct file_stamp *a, const struct file_stamp *b)
{
    return !memcmp(a, b, sizeof *a);
}

/* Whether the stamp was taken so soon after a change that another one may have the same. */
static bool is_fresh(const struct updating *u, const struct file_stamp *stamp)
{
    int64_t latest = stamp->modified_ns > stamp->changed_ns ? stamp->modified_ns : stamp->changed_ns;
    return stamp->inode && latest + SAME_TICK_NS >= u->state.header->started_ns;
}

/* That no file but objects has changed, come or gone. */
static struct crateld_error *check_files(const struct updating *u)
{
    for (uint32_t i = 0; i < u->state.header->file_count; i++) {
        const struct link_state_file *file = &u->state.files[i];
        const char *path = link_state_string(&u->state, file->path);
        if (!path)
            return NOT_POSSIBLE("a file without a name");
        struct file_stamp now = file_stamp_at(path);
        if (!is_same(&now, &file->stamp) || is_fresh(u, &file->stamp))
            return NOT_POSSIBLE("%s: has changed", path);
    }
    return NULL;
}

/* Maps the crate that is to be updated, and finds its parts. */
static struct crateld_error *open_crate(struct updating *u)
{
    const char *path = u->link->options->output;
    struct open_file file;
    TRY(file_open_only(path, &file));
    int fd AUTO_CLOSE = file.fd;
    if (!is_same(&file.stamp, &u->state.header->crate))
        return NOT_POSSIBLE("%s: not the file that the last link wrote", path);
    void *bytes = mmap(NULL, file.stamp.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return error_errno(errno, "%s: cannot map", path);
    u->bytes = bytes;
    u->size = file.stamp.size;
    struct span whole = {u->bytes, u->size};
    TRY(crate_view_open(path, whole, &u->view));
    TRY(crate_header_find(path, whole, &u->header_off));
    TRY(crate_view_relink(&u->view, whole, &u->relink_bytes));
    return relink_view_open(path, u->relink_bytes, &u->relink);
}

/* Overwrites bytes of the relink section, which is in the mapping. */
static struct crateld_error *put_relink(struct updating *u, enum relink_part_kind part, uint64_t off, uint64_t value)
{
    if (!span_has(u->relink.parts[part], off, sizeof value))
        return NOT_POSSIBLE("the relink section is not as it was");
    memcpy(u->bytes + (u->relink.parts[part].data + off - u->bytes), &value, sizeof value);
    return NULL;
}

/* Takes the next recorded relocation, which must be there. */
static struct crateld_error *next_record(struct relink_cursor *cursor, struct relink_reloc *ret)
{
    bool is_end;
    TRY(relink_cursor_next(cursor, ret, &is_end));
    return is_end ? NOT_POSSIBLE("a relocation that was not recorded") : NULL;
}

/* Does to `code`, the section's new bytes, what relocation `i` did to the old ones, of which `image` is the result:
 * nothing has moved, so the value is the same. */
static struct crateld_error *repeat_reloc(const struct updating *u, const struct link_section *section, uint32_t i,
                                          struct relink_cursor *cursor, const uint8_t *image, uint8_t *code)
{
    const struct reloc_machine *machine = u->link->machine;
    const Elf64_Rela *reloc = &section->relocs[i];
    uint32_t type = (uint32_t)ELF64_R_TYPE(reloc->r_info);
    const struct reloc_howto *howto = machine->howto(type);
    struct relink_reloc record;
    uint64_t off = reloc->r_offset;
    if (howto->formula == RELOC_NOTHING)
        return NULL;
    if (howto->formula == RELOC_TLS_DESC_CALL) {
        machine->relax_tls_desc_call(code + off);
        return NULL;
    }
    TRY(next_record(cursor, &record));
    if (record.type != type && howto->formula == RELOC_SLOT_RELAX && record.type == machine->type_branch)
        off = (uint64_t)(machine->relax_branch(code + off, off) - code);
    else if (record.type != type && howto->formula == RELOC_SLOT_RELAX && record.type == machine->type_relative)
        machine->relax_load(code + off);
    else if (record.type != type && howto->formula == RELOC_TLS_DESC && record.type == machine->type_tls_offset)
        machine->relax_tls_desc(code + off);
    else if (record.type != type)
        return NOT_POSSIBLE("a relocation that was recorded otherwise");
    if (record.off != off || off > section->size || howto->size > section->size - off)
        return NOT_POSSIBLE("a relocation that was recorded elsewhere");
    memcpy(code + off, image + off, howto->size);
    return NULL;
}

/* Puts the section's new bytes in place of the old ones. */
static struct crateld_error *replace_section(struct updating *u, const struct link_section *section, uint32_t number,
                                             const struct relink_section *record)
{
    struct relink_cursor cursor;
    bool is_end;
    struct relink_reloc extra;
    uint8_t *code = arena_alloc_bytes(&u->link->arena, section->size);
    if (!code)
        return error_memory();
    if (record->rva > u->size || section->size > u->size - record->rva)
        return NOT_POSSIBLE("the relink section is not as it was");
    memcpy(code, section->data.data, section->size);
    TRY(relink_view_relocs_in(&u->relink, number, 0, record->size, &cursor));
    for (uint32_t i = 0; i < section->reloc_count; i++)
        TRY(repeat_reloc(u, section, i, &cursor, u->bytes + record->rva, code));
    TRY(relink_cursor_next(&cursor, &extra, &is_end));
    if (!is_end)
        return NOT_POSSIBLE("a relocation is missing");
    memcpy(u->bytes + record->rva, code, section->size);
    return NULL;
}

static struct crateld_error *update_section(struct updating *u, const struct link_section *section, uint32_t number)
{
    struct relink_section record;
    TRY(relink_view_section(&u->relink, number, &record));
    if (strcmp(record.name, section->name) != 0 || record.size != section->size)
        return NOT_POSSIBLE("the relink section has other sections");
    uint64_t hash = link_relink_hash(section);
    if (hash == record.hash)
        return NULL;
    if (!link_shape_is_open(section))
        return NOT_POSSIBLE("section %s has changed", section->name);
    TRY(put_relink(u, RELINK_PART_SECTIONS,
                   number * sizeof(struct relink_section_record) + offsetof(struct relink_section_record, hash), hash));
    return record.rva == RELINK_NONE ? NULL : replace_section(u, section, number, &record);
}

/* Gives each global symbol of the object, which is in no link, what hashes need of it. */
static struct crateld_error *describe_globals(struct updating *u, struct link_object *object)
{
    struct link_symbol *symbols =
        arena_alloc_array(&u->link->arena, (size_t)(object->symbol_count - object->first_global) + 1, sizeof *symbols);
    if (!symbols)
        return error_memory();
    for (uint32_t i = object->first_global; i < object->symbol_count; i++) {
        symbols[i - object->first_global].name = link_object_symbol_name(object, i);
        object->symbols[i] = &symbols[i - object->first_global];
    }
    return NULL;
}

/* The contents of the section of type `type` of the crate as an ELF file; *link is its sh_link. */
static bool find_elf_section(const struct updating *u, uint32_t type, uint32_t number, struct span *ret, uint32_t *link)
{
    Elf64_Ehdr header;
    struct span whole = {u->bytes, u->size};
    if (!span_read(whole, 0, &header, sizeof header))
        return false;
    for (uint32_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        if (!span_read(span_from(whole, header.e_shoff), i * sizeof section, &section, sizeof section))
            return false;
        if (section.sh_type != type || (number && i != number))
            continue;
        *link = section.sh_link;
        return span_slice(whole, section.sh_offset, section.sh_size, ret);
    }
    return false;
}

/* Puts the name of the object's source, which may be another one of the same length, into the symbol table. */
static struct crateld_error *update_source_name(struct updating *u, const struct link_object *object,
                                                uint32_t first_listed)
{
    struct span symbols, names;
    uint32_t names_index, none;
    Elf64_Sym symbol;
    bool has_name = object->symbol_count > 1 && ELF64_ST_TYPE(object->elf_symbols[1].st_info) == STT_FILE;
    const char *name = has_name ? link_object_symbol_name(object, 1) : "";
    if (!*name || u->link->options->is_strip_all)
        return NULL;
    if (!find_elf_section(u, SHT_SYMTAB, 0, &symbols, &names_index) ||
        !find_elf_section(u, SHT_STRTAB, names_index, &names, &none) ||
        !span_read(symbols, first_listed * sizeof symbol, &symbol, sizeof symbol) ||
        ELF64_ST_TYPE(symbol.st_info) != STT_FILE || !span_has(names, symbol.st_name, strlen(name) + 1) ||
        names.data[symbol.st_name + strlen(name)])
        return NOT_POSSIBLE("the symbol table is not as it was");
    memcpy(u->bytes + (names.data + symbol.st_name - u->bytes), name, strlen(name));
    return NULL;
}

static struct crateld_error *replace_object(struct updating *u, struct link_object *object,
                                            const struct link_state_object *known)
{
    struct relink_module module;
    TRY(relink_view_module(&u->relink, known->module, &module));
    if (strcmp(module.path, object->path) != 0 || *module.member)
        return NOT_POSSIBLE("the relink section has other modules");
    TRY(describe_globals(u, object));
    uint32_t next = module.first_section, end = next + module.section_count;
    for (uint32_t i = 1; i < object->section_count; i++) {
        if (!link_relink_records(&object->sections[i]))
            continue;
        if (next == end)
            return NOT_POSSIBLE("the relink section has less sections");
        TRY(update_section(u, &object->sections[i], next++));
    }
    if (next != end)
        return NOT_POSSIBLE("the relink section has more sections");
    TRY(put_relink(u, RELINK_PART_MODULES,
                   known->module * sizeof(struct relink_module_record) + offsetof(struct relink_module_record, hash),
                   object->hash));
    return update_source_name(u, object, known->first_listed);
}

/* Looks at an object of the link again: takes over what has changed in it. */
static struct crateld_error *update_object(struct updating *u, struct link_state_object *known)
{
    struct link *link = u->link;
    struct link_input input;
    const char *path = link_state_string(&u->state, known->path);
    if (!path)
        return NOT_POSSIBLE("an object without a name");
    struct file_stamp now = file_stamp_at(path);
    if (is_same(&now, &known->stamp) && !is_fresh(u, &known->stamp))
        return NULL;
    struct crateld_error *error = link_input_open(link, &link->arena, path, &input);
    if (!error && input.kind != INPUT_OBJECT)
        error = NOT_POSSIBLE("no object any more");
    if (!error) {
        input.object->hash = hash_bytes(input.object->image.data, input.object->image.size);
        if (input.object->hash != known->hash && (!known->shape || input.object->shape != known->shape))
            error = NOT_POSSIBLE("%s: more has changed than bytes between relocations", path);
        else if (input.object->hash != known->hash)
            error = replace_object(u, input.object, known);
        known->stamp = input.stamp;
        known->hash = input.object->hash;
    }
    file_close(&input.file);
    return error;
}

/* What is done at the same time: the new build id and hash are found, and the file is written but for them. */
enum { FIND_HASHES, WRITE_FILE, FINISH_COUNT };

struct finishing {
    const struct updating *u;
    struct output_file file;
    bool is_created;
    struct crate_header header; /* with the new hashes */
};

static struct crateld_error *finish(void *context, uint32_t worker, size_t what)
{
    struct finishing *f = context;
    const struct updating *u = f->u;
    (void)worker;
    if (what == FIND_HASHES) {
        crate_seal((struct span){u->bytes, u->size}, u->header_off, &f->header);
        return NULL;
    }
    TRY(output_file_create_from(u->link->options->output, u->bytes, u->size, &f->file));
    f->is_created = true;
    return NULL;
}

static struct crateld_error *write_crate(struct updating *u)
{
    struct finishing f = {.u = u, .header = u->view.header};
    struct crateld_error *error = workers_run(u->link->workers, FINISH_COUNT, finish, &f);
    if (!error)
        error = output_file_write(&f.file, u->header_off, &f.header, sizeof f.header);
    if (!error)
        error = output_file_commit(&f.file, u->state.header->mode);
    if (!error) {
        u->state.header->crate = file_stamp_of(f.file.fd);
        link_state_rewrite(u->link, &u->state);
    }
    if (f.is_created)
        output_file_discard(&f.file);
    return error;
}

static struct crateld_error *update(struct updating *u)
{
    TRY(link_state_read(u->link, &u->state));
    TRY(check_files(u));
    TRY(open_crate(u));
    for (uint32_t i = 0; i < u->state.header->object_count; i++)
        TRY(update_object(u, &u->state.objects[i]));
    return write_crate(u);
}

struct crateld_error *link_update(struct link *link)
{
    struct updating u = {.link = link};
    if (!link->keeps_state)
        return NULL;
    struct crateld_error *reason = update(&u);
    link->is_updated = !reason;
    if (reason && (link->options->is_verbose || link->options->show_times))
        fprintf(stderr, "crateld: links everything: %s\n", crateld_error_message(reason));
    crateld_error_destroy(reason);
    if (u.bytes)
        munmap(u.bytes, u.size);
    link_state_deinit(&u.state);
    return NULL;
}
