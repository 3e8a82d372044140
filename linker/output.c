#include "linker/output.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* Names of their own beyond this many are given up, so that section indices stay below SHN_LORESERVE. */
enum { MAX_NAMED_OUTPUTS = 65000 };

const char *link_output_name(const struct link_section *section)
{
    static const struct {
        const char *prefix; /* without the dot behind it */
        const char *output;
    } rules[] = {
        {".text", ".text"},
        {".gnu.linkonce.t", ".text"},
        {".rodata", ".rodata"},
        {".gnu.linkonce.r", ".rodata"},
        {".lrodata", ".rodata"},
        {".data.rel.ro", ".data.rel.ro"},
        {".data", ".data"},
        {".gnu.linkonce.d", ".data"},
        {".ldata", ".data"},
        {".bss", ".bss"},
        {".gnu.linkonce.b", ".bss"},
        {".lbss", ".bss"},
        {".tdata", ".tdata"},
        {".tbss", ".tbss"},
        {".preinit_array", ".preinit_array"},
        {".init_array", ".init_array"},
        {".ctors", ".init_array"},
        {".fini_array", ".fini_array"},
        {".dtors", ".fini_array"},
        {".gcc_except_table", ".gcc_except_table"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        size_t length = strlen(rules[i].prefix);
        if (!strncmp(section->name, rules[i].prefix, length) &&
            (!section->name[length] || section->name[length] == '.'))
            return section->is_relocated_at_load && !strcmp(rules[i].output, ".rodata") ? ".data.rel.ro"
                                                                                        : rules[i].output;
    }
    return section->name;
}

bool link_is_set_name(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    while (isalnum((unsigned char)*name) || *name == '_')
        name++;
    return !*name;
}

struct link_output *link_find_output(const struct link *link, const char *name)
{
    for (size_t i = 0; i < link->outputs.count; i++)
        if (link->outputs.at[i]->segment != CRATE_SEGMENT_COUNT && !strcmp(link->outputs.at[i]->name, name))
            return link->outputs.at[i];
    return NULL;
}

struct crateld_error *link_add_output(struct link *link, const struct link_output *like)
{
    struct link_output *output = arena_alloc(&link->arena, sizeof *output);
    if (!output || !VEC_PUSH(&link->outputs, output))
        return error_memory();
    *output = *like;
    return NULL;
}

/* What the sections of one name have in common, where they must share an output. */
struct set {
    const char *name;
    bool is_writable;
    bool has_bits;
};

struct assigning {
    struct link *link;
    struct hash_index set_index; /* of `sets` by name */
    VEC(struct set) sets;
    struct hash_index output_index; /* of link->outputs by name */
    struct link_output *last;
};

static struct set *find_set(const struct assigning *a, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&a->set_index, hash_string(name), &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(a->sets.at[i].name, name))
            return &a->sets.at[i];
    return NULL;
}

static bool is_written(const struct link_section *section)
{
    return (section->flags & SHF_WRITE) || section->is_relocated_at_load;
}

static struct crateld_error *note_set(struct assigning *a, struct link_section *section)
{
    uint64_t flags = section->flags & (SHF_ALLOC | SHF_EXECINSTR | SHF_TLS);
    if (flags != SHF_ALLOC || !link_is_set_name(section->name))
        return NULL;
    struct set *set = find_set(a, section->name);
    if (!set) {
        struct set new_set = {.name = section->name};
        if (!VEC_PUSH(&a->sets, new_set) || !hash_index_add(&a->set_index, hash_string(section->name)))
            return error_memory();
        set = &a->sets.at[a->sets.count - 1];
    }
    set->is_writable |= is_written(section);
    set->has_bits |= section->type != SHT_NOBITS;
    return NULL;
}

static uint8_t written_rank(const char *name)
{
    if (!strcmp(name, ".data"))
        return LINK_RANK_DATA;
    if (!strcmp(name, ".data.rel.ro"))
        return LINK_RANK_RELRO;
    if (!strcmp(name, ".init_array") || !strcmp(name, ".fini_array") || !strcmp(name, ".preinit_array"))
        return LINK_RANK_ARRAYS;
    return LINK_RANK_DATA_OTHER;
}

/* Segment and rank of the output that takes sections like `section`. */
static void classify(const struct link_section *section, bool is_nobits, bool is_writable, struct link_output *ret)
{
    if (!(section->flags & SHF_ALLOC)) {
        ret->segment = CRATE_SEGMENT_COUNT;
        ret->rank = LINK_RANK_DEBUG;
    } else if (section->flags & SHF_EXECINSTR) {
        ret->segment = CRATE_SEGMENT_TEXT;
        ret->rank = strcmp(ret->name, ".text") ? LINK_RANK_TEXT_OTHER : LINK_RANK_TEXT;
    } else if (section->flags & SHF_TLS) {
        ret->segment = CRATE_SEGMENT_DATA;
        ret->rank = is_nobits ? LINK_RANK_TBSS : LINK_RANK_TDATA;
    } else if (is_nobits) {
        ret->segment = CRATE_SEGMENT_DATA;
        ret->rank = strcmp(ret->name, ".bss") ? LINK_RANK_BSS_OTHER : LINK_RANK_BSS;
    } else if (is_writable) {
        ret->segment = CRATE_SEGMENT_DATA;
        ret->rank = written_rank(ret->name);
    } else {
        ret->segment = CRATE_SEGMENT_RODATA;
        ret->rank = strcmp(ret->name, ".rodata") ? LINK_RANK_RODATA_OTHER : LINK_RANK_RODATA;
    }
}

static uint32_t output_type(const struct link_section *section, const char *name, bool is_nobits)
{
    if (is_nobits)
        return SHT_NOBITS;
    if (!strcmp(name, ".init_array"))
        return SHT_INIT_ARRAY;
    if (!strcmp(name, ".fini_array"))
        return SHT_FINI_ARRAY;
    return section->type == SHT_NOTE || section->type == SHT_PREINIT_ARRAY ? section->type : SHT_PROGBITS;
}

static bool is_like(const struct link_output *a, const struct link_output *b)
{
    return a->segment == b->segment && a->rank == b->rank && !strcmp(a->name, b->name);
}

static struct link_output *find_output(const struct assigning *a, const struct link_output *like)
{
    size_t cursor = 0;
    uint32_t i;
    if (a->last && is_like(a->last, like))
        return a->last;
    while ((i = hash_index_next(&a->output_index, hash_string(like->name), &cursor)) != HASH_INDEX_NONE)
        if (is_like(a->link->outputs.at[i], like))
            return a->link->outputs.at[i];
    return NULL;
}

/* Whether the output is one of the few that every crate may have. */
static bool is_common(const struct link_output *output)
{
    switch (output->rank) {
    case LINK_RANK_TEXT:
    case LINK_RANK_RODATA:
    case LINK_RANK_ARRAYS:
    case LINK_RANK_RELRO:
    case LINK_RANK_DATA:
    case LINK_RANK_BSS:
        return true;
    default:
        return !strcmp(output->name, ".tdata") || !strcmp(output->name, ".tbss");
    }
}

/* Gives up the name of an output that would be one too many: its sections go to where those without such names go. */
static struct crateld_error *give_up_name(const struct link_section *section, struct link_output *like)
{
    static const char *const common[] = {
        [LINK_RANK_TEXT_OTHER] = ".text",
        [LINK_RANK_RODATA_OTHER] = ".rodata",
        [LINK_RANK_DATA_OTHER] = ".data",
        [LINK_RANK_BSS_OTHER] = ".bss",
    };
    if (like->rank >= sizeof common / sizeof *common || !common[like->rank] || link_is_set_name(like->name))
        return error_create(CRATELD_ERROR_RANGE,
                            "%s: section %s: the link has more than %d sections of different names",
                            section->object->path, section->name, MAX_NAMED_OUTPUTS);
    like->name = common[like->rank];
    classify(section, like->type == SHT_NOBITS, (like->flags & SHF_WRITE) != 0, like);
    return NULL;
}

/* The output like `like`, made if there is none. */
static struct crateld_error *output_like(struct assigning *a, struct link_output *like,
                                         const struct link_section *section, struct link_output **ret)
{
    *ret = find_output(a, like);
    if (!*ret && a->link->outputs.count >= MAX_NAMED_OUTPUTS && !is_common(like)) {
        TRY(give_up_name(section, like));
        *ret = find_output(a, like);
    }
    if (!*ret) {
        TRY(link_add_output(a->link, like));
        if (!hash_index_add(&a->output_index, hash_string(like->name)))
            return error_memory();
        *ret = a->link->outputs.at[a->link->outputs.count - 1];
    }
    a->last = *ret;
    return NULL;
}

/* Puts a section into the output of its name and kind, made when it is the first. */
static struct crateld_error *assign(struct assigning *a, struct link_section *section)
{
    const char *name = link_output_name(section);
    const struct set *set = link_is_set_name(name) ? find_set(a, name) : NULL;
    bool is_nobits = section->type == SHT_NOBITS && !(set && set->has_bits);
    struct link_output like = {
        .name = name, .type = output_type(section, name, is_nobits), .entry_size = section->entry_size};
    classify(section, is_nobits, is_written(section) || (set && set->is_writable), &like);
    like.flags = section->flags & (SHF_ALLOC | SHF_EXECINSTR | SHF_TLS | SHF_MERGE | SHF_STRINGS);
    if (like.segment == CRATE_SEGMENT_DATA)
        like.flags |= SHF_WRITE;
    struct link_output *output;
    TRY(output_like(a, &like, section, &output));
    if (output->entry_size != section->entry_size || !(section->flags & SHF_MERGE))
        output->flags &= ~(uint64_t)(SHF_MERGE | SHF_STRINGS);
    output->has_link_order |= (section->flags & SHF_LINK_ORDER) && section->link;
    section->output = output;
    return VEC_PUSH(&output->sections, section) ? NULL : error_memory();
}

/* Whether the section is part of the file as it is. */
static bool is_output(const struct link *link, const struct link_section *section)
{
    bool is_dropped_debug =
        !(section->flags & SHF_ALLOC) && (link->options->is_strip_debug || link->options->is_strip_all);
    return (section->kind == LINK_SECTION_PLAIN || section->kind == LINK_SECTION_DEBUG) && section->is_live &&
           !is_dropped_debug;
}

static struct crateld_error *for_each_section(struct assigning *a,
                                              struct crateld_error *(*visit)(struct assigning *, struct link_section *))
{
    struct link *link = a->link;
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++)
            if (is_output(link, &link->objects.at[i]->sections[k]))
                TRY(visit(a, &link->objects.at[i]->sections[k]));
    for (size_t i = 0; i < link->own_sections.count; i++)
        TRY(visit(a, link->own_sections.at[i]));
    return NULL;
}

struct crateld_error *link_assign_outputs(struct link *link)
{
    struct assigning assigning = {.link = link};
    hash_index_init(&assigning.set_index);
    hash_index_init(&assigning.output_index);
    struct crateld_error *error = for_each_section(&assigning, note_set);
    if (!error)
        error = for_each_section(&assigning, assign);
    hash_index_deinit(&assigning.set_index);
    hash_index_deinit(&assigning.output_index);
    free(assigning.sets.at);
    return error;
}
