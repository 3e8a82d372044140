/* Which places of the base refer to what a patch moves: what the base's relink section has against the symbols there,
 * "by pointee", and what the linker made for them (slots, entry stubs, records in the TOC). */
#include "linker/patch_sites.h"

#include <inttypes.h>
#include <string.h>

#include "linker/function.h"
#include "linker/patch_known.h"
#include "toc/shape.h"
#include "toc/stubs.h"

/* What moved, for one search: places that refer to the bytes [rva, rva + size) of the base. */
struct subject {
    const char *name;
    uint32_t number; /* see struct crate_site */
    uint32_t rva;
    uint32_t size; /* of functions: 1, for only their start is entered from elsewhere */
    bool is_function;
    const struct patch_move *constant; /* NULL: it is none */
};

/* The walk over the references to one section of the base, in which all subjects lie. */
struct finding {
    struct link *link;
    struct relink_section section;
    uint32_t section_number;
    const struct subject *subjects;
    size_t count;
};

static struct crateld_error *add_site(struct link *link, uint32_t place, const struct subject *subject, int64_t addend,
                                      uint32_t kind)
{
    struct crate_site site = {place, subject->number, (int32_t)addend, kind};
    return VEC_PUSH(&link->patch->sites, site) ? NULL : error_memory();
}

/* The bytes of the base from rva `rva` on; zeros behind the file's part. */
static uint64_t read_base(const struct link_patch *patch, uint32_t rva, uint32_t size)
{
    uint64_t value = 0;
    (void)span_read(patch->base->file.data, rva, &value, size);
    return value;
}

/* Where the place, which holds an address or a distance to one, points: an rva, with the addend. */
struct pointed {
    uint32_t kind;  /* enum crate_fixup_kind */
    int64_t rva;    /* of the byte that it means: what a call goes to, what a load reads */
    int64_t target; /* S + A: rva, less what the instruction adds */
};

/* Whether the relocation is of a kind that sites can be. */
static bool read_place(const struct link *link, const struct relink_reloc *reloc, uint32_t place, struct pointed *ret)
{
    const struct reloc_howto *howto = link->machine->howto(reloc->type);
    const struct link_patch *patch = link->patch;
    uint64_t value = read_base(patch, place, howto->size);
    bool is_relative = howto->formula == RELOC_RELATIVE || howto->formula == RELOC_BRANCH;
    if (is_relative && howto->size == 4) {
        ret->kind = CRATE_FIXUP_PC32;
        ret->target = (int64_t)(int32_t)value + place;
        ret->rva = ret->target + link->machine->operand_bias;
        return true;
    }
    if (howto->formula != RELOC_ABSOLUTE || howto->size < 4)
        return false;
    int64_t address = howto->size == 8                       ? (int64_t)value
                      : howto->range == RELOC_RANGE_UNSIGNED ? (int64_t)(uint32_t)value
                                                             : (int64_t)(int32_t)value;
    ret->kind = howto->size == 8                       ? CRATE_FIXUP_ABS64
                : howto->range == RELOC_RANGE_UNSIGNED ? CRATE_FIXUP_ABS32
                                                       : CRATE_FIXUP_ABS32S;
    ret->target = ret->rva = address - (int64_t)patch->base->view.header.preferred_base;
    return true;
}

static const struct subject *find_subject(const struct finding *f, int64_t rva)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rva < f->subjects[middle].rva)
            high = middle;
        else
            low = middle + 1;
    }
    if (!low || rva >= (int64_t)f->subjects[low - 1].rva + f->subjects[low - 1].size)
        return NULL;
    return &f->subjects[low - 1];
}

static struct crateld_error *unsupported(const struct finding *f, const struct relink_reloc *reloc,
                                         const struct subject *subject)
{
    return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: '%s' moves, and a relocation %s to it can not be done again",
                        patch_base_name(f->link), subject->name, f->link->machine->howto(reloc->type)->name);
}

/* A module refers to the variable, which is to be noted, or to the constant, which must be of the type that the module
 * knows, unless it is among the new ones. */
static struct crateld_error *note_stranger(const struct finding *f, const struct subject *subject,
                                           const struct relink_section *from)
{
    struct link_patch *patch = f->link->patch;
    struct relink_module module;
    if (subject->constant && !subject->constant->difference)
        return NULL;
    TRY(relink_view_module(&patch->base->relink, from->module, &module));
    for (size_t i = 0; i < patch->objects.count; i++)
        if (patch->objects.at[i].module.first_section == module.first_section || !*module.path)
            return NULL;
    const char *stranger = *module.member ? module.member : module.path;
    if (subject->constant)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: constant '%s' is of another type, and %s refers to it: name the new version of that "
                            "as well%s%s",
                            subject->constant->symbol->object->path, subject->name, stranger,
                            *subject->constant->difference ? ": " : "", subject->constant->difference);
    patch->grown.at[subject->number - patch->moves.count].stranger = stranger;
    return NULL;
}

/* Of a variable, what the relocation means is what its symbol is: the operand may be elsewhere by a constant index. */
static struct crateld_error *add_reference(const struct finding *f, const struct relink_reloc *reloc,
                                           const struct relink_symbol *symbol)
{
    struct relink_section from;
    struct pointed pointed = {0};
    TRY(relink_view_section(&f->link->patch->base->relink, reloc->section, &from));
    bool is_function = f->count && f->subjects[0].is_function;
    /* Tables of labels belong to their function, and unwind tables to their text. */
    if (from.rva == RELINK_NONE || (is_function && !(from.flags & (RELINK_SECTION_TEXT | RELINK_SECTION_DATA))))
        return NULL;
    uint32_t place = from.rva + reloc->off;
    bool is_place = read_place(f->link, reloc, place, &pointed);
    const struct subject *subject;
    if (f->count && f->subjects[0].constant && symbol->type == STT_SECTION)
        return NULL; /* the module's own, which has changed with it */
    if (is_function)
        subject = is_place ? find_subject(f, pointed.rva) : NULL;
    else
        subject = find_subject(f, symbol->type == STT_SECTION ? (int64_t)f->section.rva
                                                              : (int64_t)f->section.rva + (int64_t)symbol->value);
    if (!subject)
        return NULL;
    if (!is_function)
        TRY(note_stranger(f, subject, &from));
    if (!is_place) {
        uint8_t formula = f->link->machine->howto(reloc->type)->formula;
        bool is_slot = formula == RELOC_SLOT || formula == RELOC_SLOT_RELAX || formula == RELOC_SLOT_OFFSET;
        return is_slot || formula == RELOC_SIZE ? NULL : unsupported(f, reloc, subject);
    }
    return add_site(f->link, place, subject, pointed.target - subject->rva, pointed.kind);
}

static struct crateld_error *add_word(struct link *link, uint32_t place, const struct subject *subject)
{
    return place == RELINK_NONE ? NULL : add_site(link, place, subject, 0, CRATE_FIXUP_ABS64);
}

/* The second word of a function's record: of one that calls va_start, where its entry stub enters it. */
static struct crateld_error *add_varargs(struct link *link, uint32_t ref, const struct subject *subject)
{
    const struct link_patch *patch = link->patch;
    const struct link_symbol *symbol = patch->moves.at[subject->number].symbol;
    const struct link_function *function = link_function_of_symbol(link, symbol);
    int64_t before = (int64_t)(read_base(patch, ref + 8, 8) - read_base(patch, ref, 8));
    int64_t after = function ? (int64_t)(function->varargs_entry - function->value) : before;
    if (before != after)
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: '%s' moves, and the entry for its variable arguments lies elsewhere in it: link anew",
                            patch_base_name(link), subject->name);
    return add_site(link, ref + 8, subject, after, CRATE_FIXUP_ABS64);
}

/* What the linker made for the symbol, which is a subject's. */
static struct crateld_error *add_made(const struct finding *f, const struct relink_symbol *symbol,
                                      const struct subject *subject)
{
    struct link *link = f->link;
    const struct link_patch *patch = link->patch;
    const struct toc_stub_ops *ops = link->machine->stubs;
    bool is_toc = f->section.flags & RELINK_SECTION_TOC_CODE;
    uint32_t stub = symbol->refs[RELINK_REF_ENTRY_STUB], func_ref = symbol->refs[RELINK_REF_FUNC_REF];
    if (!subject->is_function)
        return add_word(link, symbol->refs[RELINK_REF_SLOT_ADDRESS], subject);
    if (stub != RELINK_NONE)
        TRY(add_site(link, stub + (is_toc ? ops->entry_toc_field_off : ops->entry_plain_field_off), subject,
                     -link->machine->operand_bias, CRATE_FIXUP_PC32));
    if (func_ref != RELINK_NONE) {
        uint32_t ref = patch->base->view.header.toc_rva + (uint32_t)toc_func_ref_off(&patch->base->view.toc, func_ref);
        TRY(add_word(link, ref, subject));
        if (symbol->flags & RELINK_SYMBOL_VARARGS)
            TRY(add_varargs(link, ref, subject));
    }
    /* The address of a function without a stub is that of its text. */
    return stub == RELINK_NONE ? add_word(link, symbol->refs[RELINK_REF_SLOT_ADDRESS], subject) : NULL;
}

static struct crateld_error *find_references(const struct finding *f, uint32_t number,
                                             const struct relink_symbol *symbol)
{
    struct relink_cursor cursor;
    struct relink_reloc reloc;
    bool is_end;
    TRY(relink_view_relocs_to(&f->link->patch->base->relink, number, &cursor));
    for (;;) {
        TRY(relink_cursor_next(&cursor, &reloc, &is_end));
        if (is_end)
            return NULL;
        TRY(add_reference(f, &reloc, symbol));
    }
}

static struct crateld_error *find_sites(const struct finding *f)
{
    const struct relink_view *relink = &f->link->patch->base->relink;
    struct relink_module module;
    const struct base_module *known;
    TRY(relink_view_module(relink, f->section.module, &module));
    TRY(patch_module_names(f->link->patch->base, &module, &known));
    uint32_t first = known->sections[f->section_number - module.first_section].first_symbol;
    for (uint32_t i = first; i; i = known->next_symbols[i - 1]) {
        const struct relink_symbol *symbol = &known->symbols[i - 1];
        TRY(find_references(f, module.first_symbol + i - 1, symbol));
        const struct subject *subject = find_subject(f, (int64_t)f->section.rva + (int64_t)symbol->value);
        if (subject && symbol->type != STT_SECTION && f->section.rva + symbol->value == subject->rva)
            TRY(add_made(f, symbol, subject));
    }
    return NULL;
}

/* The moves from `first` on that lie in one section of the base, as subjects; *end is behind the last. */
static struct crateld_error *find_move_sites(struct link *link, size_t first, size_t *end)
{
    const struct link_patch *patch = link->patch;
    struct finding f = {.link = link, .section_number = patch->moves.at[first].section};
    for (*end = first; *end < patch->moves.count && patch->moves.at[*end].section == f.section_number;)
        ++*end;
    struct subject *subjects = arena_alloc_array(&link->arena, *end - first, sizeof *subjects);
    if (!subjects)
        return error_memory();
    for (size_t i = first; i < *end; i++) {
        const struct patch_move *move = &patch->moves.at[i];
        bool is_constant = move->move.flags & CRATE_MOVE_FLAG_CONSTANT;
        subjects[i - first] = (struct subject){move->symbol->name, (uint32_t)i,  move->move.old_rva,
                                               move->size,         !is_constant, is_constant ? move : NULL};
    }
    f.subjects = subjects;
    f.count = *end - first;
    TRY(relink_view_section(&patch->base->relink, f.section_number, &f.section));
    return find_sites(&f);
}

static struct crateld_error *find_grown_sites(struct link *link, size_t i)
{
    const struct patch_grown *grown = &link->patch->grown.at[i];
    struct subject subject = {
        grown->name, (uint32_t)(link->patch->moves.count + i), grown->grown.base_rva, grown->grown.old_size, false,
        NULL};
    struct finding f = {.link = link, .section_number = grown->base_section, .subjects = &subject, .count = 1};
    TRY(relink_view_section(&link->patch->base->relink, f.section_number, &f.section));
    return find_sites(&f);
}

static int compare_sites(const void *a, const void *b)
{
    const struct crate_site *x = a, *y = b;
    return (x->place_rva > y->place_rva) - (x->place_rva < y->place_rva);
}

/* Several names of one function, or a section's, yield a place once each. */
static void unite_sites(struct link_patch *patch)
{
    size_t count = 0;
    if (patch->sites.count)
        qsort(patch->sites.at, patch->sites.count, sizeof *patch->sites.at, compare_sites);
    for (size_t i = 0; i < patch->sites.count; i++)
        if (!count || patch->sites.at[i].place_rva != patch->sites.at[count - 1].place_rva)
            patch->sites.at[count++] = patch->sites.at[i];
    patch->sites.count = count;
}

struct crateld_error *patch_find_sites(struct link *link)
{
    struct link_patch *patch = link->patch;
    for (size_t i = 0; i < patch->moves.count;)
        TRY(find_move_sites(link, i, &i));
    for (size_t i = 0; i < patch->grown.count; i++)
        TRY(find_grown_sites(link, i));
    unite_sites(patch);
    return NULL;
}
