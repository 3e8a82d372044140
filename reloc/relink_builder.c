/* The builder works in stages, each of which fills members of struct relink_builder that the next ones use:
 * relocations are put in order; the kinds are chosen; relocations are encoded; blocks are listed by pointee; meanwhile
 * strings are laid out; then symbols are encoded. What is left, records of a fixed size, is made when the section is
 * written.
 *
 * There are many relocations and symbols: they are kept in as few bytes as they need.
 */
#include "reloc/relink_builder.h"

#include <assert.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "base/radix.h"
#include "base/vec.h"
#include "base/workers.h"
#include "reloc/string_pool.h"
#include "reloc/varint.h"

enum {
    KIND_LIMIT = 127,    /* kinds' numbers stay within one byte, as long as the CPU has no more types */
    KIND_MIN_SAVED = 16, /* bytes: a kind of its own costs its record */
    PAIR_CACHE = 64,     /* a power of two */
    RELOC_MAX_SIZE = 4 * VARINT_MAX_SIZE,
    SYMBOL_MAX_SIZE = 1 + (6 + RELINK_REF_COUNT) * VARINT_MAX_SIZE, /* without its pointees */
};

struct section {
    struct relink_section_record record; /* its name is the number of an entry of the pool */
    uint32_t module;
    uint32_t reloc_count;
};

struct symbol {
    uint64_t value;
    uint64_t size;
    uint32_t name;       /* number of the pool's entry */
    uint32_t section;    /* RELINK_NONE: in none */
    uint32_t first_ref;  /* index in `refs` of those that it has */
    uint16_t refs;       /* set of enum relink_ref */
    uint16_t flags;      /* enum relink_symbol_flags */
    uint8_t description; /* type, binding and visibility, as in the file */
    uint8_t where;       /* enum relink_where */
};

/* A type and an addend, which many relocations have in common. */
struct pair {
    int64_t addend;
    uint32_t type;
    uint32_t kind;  /* its own, or that of its type; once the kinds are chosen */
    uint64_t count; /* of relocations */
};

struct reloc {
    uint32_t section;
    uint32_t off;
    uint32_t symbol;
    uint32_t pair;
};

struct byte_vec {
    uint8_t *at; /* owned */
    size_t count;
    size_t capacity;
};

struct relink_builder {
    VEC(struct relink_module_record) modules; /* their strings are numbers of entries of the pool */
    VEC(struct section) sections;
    VEC(struct symbol) symbols;
    VEC(uint32_t) refs; /* of symbols */
    VEC(struct reloc) relocs;
    VEC(struct pair) pairs;
    struct hash_index pair_index;
    uint32_t pair_cache[PAIR_CACHE]; /* numbers + 1 of the pairs that came last, by their hash */
    VEC(struct relink_kind_record) kinds;
    VEC(uint32_t) reloc_blocks;
    VEC(uint32_t) symbol_blocks;
    struct byte_vec encoded_relocs;
    struct byte_vec encoded_symbols[RELINK_SYMBOL_RUNS]; /* one behind the other */
    uint32_t *pointee_first; /* owned; by symbol, and one more: first of its blocks in `pointees` */
    uint32_t *pointees;      /* owned */
    struct keyed *names;     /* owned; symbols by hash of the name */
    size_t name_count;
    struct string_pool strings;
    uint8_t *string_table; /* owned */
    uint32_t no_name;      /* number of the empty string */
    bool is_unordered;     /* some relocation came behind one of a later section */
    struct relink_header header;
};

struct crateld_error *relink_builder_create(struct relink_builder **ret)
{
    struct relink_builder *builder = calloc(1, sizeof *builder);
    if (!builder)
        return error_memory();
    hash_index_init(&builder->pair_index);
    string_pool_init(&builder->strings);
    struct crateld_error *error = string_pool_add(&builder->strings, "", &builder->no_name);
    if (error)
        relink_builder_destroy(builder);
    else
        *ret = builder;
    return error;
}

void relink_builder_destroy(struct relink_builder *builder)
{
    if (!builder)
        return;
    void *owned[] = {builder->modules.at,    builder->sections.at,       builder->symbols.at,
                     builder->refs.at,       builder->relocs.at,         builder->pairs.at,
                     builder->kinds.at,      builder->reloc_blocks.at,   builder->symbol_blocks.at,
                     builder->pointee_first, builder->encoded_relocs.at, builder->pointees,
                     builder->names,         builder->string_table};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    for (size_t i = 0; i < RELINK_SYMBOL_RUNS; i++)
        free(builder->encoded_symbols[i].at);
    hash_index_deinit(&builder->pair_index);
    string_pool_deinit(&builder->strings);
    free(builder);
}

/* The number for one more of what there are `count` of. */
static struct crateld_error *next_number(size_t count, const char *what, uint32_t *ret)
{
    if (count >= RELINK_NONE)
        return error_create(CRATELD_ERROR_RANGE, "more than %u %s", RELINK_NONE, what);
    if (ret)
        *ret = (uint32_t)count;
    return NULL;
}

struct crateld_error *relink_builder_add_module(struct relink_builder *builder, const struct relink_module *module,
                                                uint32_t *ret)
{
    struct relink_module_record added = {
        .hash = module->hash, .debug_off = module->debug_off, .debug_size = module->debug_size};
    TRY(next_number(builder->modules.count, "modules", ret));
    TRY(string_pool_add(&builder->strings, module->path, &added.path));
    TRY(string_pool_add(&builder->strings, module->member, &added.member));
    added.first_section = (uint32_t)builder->sections.count;
    added.first_symbol = (uint32_t)builder->symbols.count;
    return VEC_PUSH(&builder->modules, added) ? NULL : error_memory();
}

struct crateld_error *relink_builder_add_section(struct relink_builder *builder, const struct relink_section *section,
                                                 uint32_t *ret)
{
    assert(builder->modules.count && section->align_log2 < 32 && !(section->flags & ~RELINK_SECTION_ALL_FLAGS));
    struct section added = {
        .record = {.hash = section->hash,
                   .rva = section->rva,
                   .size = section->size,
                   .capacity = section->capacity,
                   .flags = (uint16_t)section->flags,
                   .align_log2 = section->align_log2},
        .module = (uint32_t)builder->modules.count - 1,
    };
    TRY(next_number(builder->sections.count, "sections", ret));
    TRY(string_pool_add(&builder->strings, section->name, &added.record.name));
    return VEC_PUSH(&builder->sections, added) ? NULL : error_memory();
}

/* The code of a binding in two bits. */
static uint8_t binding_code(uint8_t binding)
{
    assert(binding <= STB_WEAK || binding == STB_GNU_UNIQUE);
    return binding == STB_GNU_UNIQUE ? 3 : binding;
}

static struct crateld_error *add_refs(struct relink_builder *builder, const uint32_t *refs, struct symbol *symbol)
{
    symbol->first_ref = (uint32_t)builder->refs.count;
    if (!VEC_RESERVE(&builder->refs, RELINK_REF_COUNT))
        return error_memory();
    for (int ref = 0; ref < RELINK_REF_COUNT; ref++) {
        if (refs[ref] == RELINK_NONE)
            continue;
        symbol->refs = (uint16_t)(symbol->refs | 1 << ref);
        builder->refs.at[builder->refs.count++] = refs[ref];
    }
    return NULL;
}

struct crateld_error *relink_builder_add_symbol(struct relink_builder *builder, const struct relink_symbol *symbol,
                                                uint32_t *ret)
{
    assert(builder->modules.count && symbol->type < 16 && symbol->visibility < 4);
    struct symbol added = {
        .value = symbol->value,
        .size = symbol->size,
        .section = symbol->section,
        .flags = (uint16_t)symbol->flags,
        .description = (uint8_t)(symbol->type | binding_code(symbol->binding) << 4 | symbol->visibility << 6),
        .where = (uint8_t)symbol->where,
    };
    TRY(next_number(builder->symbols.count, "symbols", ret));
    if (*symbol->name)
        TRY(string_pool_add(&builder->strings, symbol->name, &added.name));
    else
        added.name = builder->no_name; /* as that of most local symbols */
    TRY(add_refs(builder, symbol->refs, &added));
    return VEC_PUSH(&builder->symbols, added) ? NULL : error_memory();
}

/* The number of the pair, entered if it is new. */
static struct crateld_error *enter_pair(struct relink_builder *builder, uint32_t type, int64_t addend, uint32_t *ret)
{
    uint64_t hash = ((uint64_t)addend ^ (uint64_t)type << 56) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t *cached = &builder->pair_cache[hash >> 58 & (PAIR_CACHE - 1)];
    const struct pair *pairs = builder->pairs.at;
    size_t cursor = 0;
    if (*cached && pairs[*cached - 1].type == type && pairs[*cached - 1].addend == addend) {
        *ret = *cached - 1;
        return NULL;
    }
    while ((*ret = hash_index_next(&builder->pair_index, hash, &cursor)) != HASH_INDEX_NONE)
        if (pairs[*ret].type == type && pairs[*ret].addend == addend)
            break;
    if (*ret == HASH_INDEX_NONE) {
        *ret = (uint32_t)builder->pairs.count;
        if (!VEC_PUSH(&builder->pairs, (struct pair){.addend = addend, .type = type}) ||
            !hash_index_add(&builder->pair_index, hash))
            return error_memory();
    }
    *cached = *ret + 1;
    return NULL;
}

struct crateld_error *relink_builder_add_reloc(struct relink_builder *builder, const struct relink_reloc *reloc)
{
    struct reloc added = {.section = reloc->section, .off = reloc->off, .symbol = reloc->symbol};
    TRY(next_number(builder->relocs.count, "relocations", NULL));
    TRY(enter_pair(builder, reloc->type, reloc->addend, &added.pair));
    builder->pairs.at[added.pair].count++;
    size_t count = builder->relocs.count;
    builder->is_unordered |= count && builder->relocs.at[count - 1].section > reloc->section;
    return VEC_PUSH(&builder->relocs, added) ? NULL : error_memory();
}

struct crateld_error *relink_builder_reserve_symbols(struct relink_builder *builder, size_t count)
{
    return VEC_RESERVE(&builder->symbols, count) ? NULL : error_memory();
}

struct crateld_error *relink_builder_reserve_relocs(struct relink_builder *builder, size_t count)
{
    return VEC_RESERVE(&builder->relocs, count) ? NULL : error_memory();
}

/* Makes room for `size` further bytes. */
static struct crateld_error *reserve_bytes(struct byte_vec *vec, size_t size)
{
    return VEC_RESERVE(vec, size) ? NULL : error_memory();
}

/* Merges the sorted halves [0, middle) and [middle, count) of `relocs` by offset, keeping the order of
 * equals. */
static void merge_halves(struct reloc *relocs, size_t middle, size_t count, struct reloc *scratch)
{
    size_t left = 0, right = middle, out = 0;
    memcpy(scratch, relocs, middle * sizeof *relocs);
    while (left < middle && right < count)
        relocs[out++] = relocs[right].off < scratch[left].off ? relocs[right++] : scratch[left++];
    memcpy(relocs + out, scratch + left, (middle - left) * sizeof *relocs);
}

static void sort_halves(struct reloc *relocs, size_t count, struct reloc *scratch)
{
    if (count < 2)
        return;
    size_t middle = count / 2;
    sort_halves(relocs, middle, scratch);
    sort_halves(relocs + middle, count - middle, scratch);
    merge_halves(relocs, middle, count, scratch);
}

/* Sorts one section's relocations by offset, keeping the order of equals; mostly they are sorted already. */
static struct crateld_error *sort_section(struct reloc *relocs, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && relocs[sorted - 1].off <= relocs[sorted].off)
        sorted++;
    if (sorted >= count)
        return NULL;
    struct reloc *scratch AUTO_FREE = calloc(count, sizeof *scratch);
    if (!scratch)
        return error_memory();
    sort_halves(relocs, count, scratch);
    return NULL;
}

/* Groups relocations that came in any order by their sections. */
static struct crateld_error *group_relocs(struct relink_builder *builder)
{
    size_t count = builder->relocs.count;
    uint32_t *next AUTO_FREE = calloc(builder->sections.count + 1, sizeof *next);
    struct reloc *grouped AUTO_FREE = calloc(count + 1, sizeof *grouped);
    if (!next || !grouped)
        return error_memory();
    for (size_t i = 0; i < builder->sections.count; i++)
        next[i] = builder->sections.at[i].record.first_reloc;
    for (size_t i = 0; i < count; i++)
        grouped[next[builder->relocs.at[i].section]++] = builder->relocs.at[i];
    if (count)
        memcpy(builder->relocs.at, grouped, count * sizeof *grouped);
    return NULL;
}

/* Puts the relocations in the order of sections and offsets; tells each section which are its own. */
static struct crateld_error *order_relocs(struct relink_builder *builder)
{
    struct section *sections = builder->sections.at;
    for (size_t i = 0; i < builder->relocs.count; i++) {
        assert(builder->relocs.at[i].section < builder->sections.count &&
               builder->relocs.at[i].symbol < builder->symbols.count);
        sections[builder->relocs.at[i].section].reloc_count++;
    }
    uint32_t first = 0;
    for (size_t i = 0; i < builder->sections.count; i++) {
        sections[i].record.first_reloc = first;
        first += sections[i].reloc_count;
    }
    if (builder->is_unordered)
        TRY(group_relocs(builder));
    for (size_t i = 0; i < builder->sections.count; i++)
        TRY(sort_section(builder->relocs.at + sections[i].record.first_reloc, sections[i].reloc_count));
    return NULL;
}

/* The bytes that a kind of its own saves. */
static uint64_t saved_by(const struct pair *pair)
{
    uint8_t bytes[VARINT_MAX_SIZE];
    return pair->count * varint_write(bytes, varint_fold(pair->addend));
}

/* Those that save most first. */
static int compare_pairs(const void *left, const void *right)
{
    const struct pair *a = *(struct pair *const *)left, *b = *(struct pair *const *)right;
    uint64_t saved_a = saved_by(a), saved_b = saved_by(b);
    if (saved_a != saved_b)
        return saved_a < saved_b ? 1 : -1;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    return a->addend < b->addend ? -1 : a->addend > b->addend;
}

/* The kind of the type without an addend, entered if there is none yet. The first `own` kinds are pairs'. */
static struct crateld_error *enter_type_kind(struct relink_builder *builder, uint32_t type, size_t own, uint32_t *ret)
{
    size_t i = own;
    while (i < builder->kinds.count && builder->kinds.at[i].type != type)
        i++;
    *ret = (uint32_t)i;
    if (i < builder->kinds.count)
        return NULL;
    return VEC_PUSH(&builder->kinds, (struct relink_kind_record){0, type, 1}) ? NULL : error_memory();
}

/* Gives the pairs that save most kinds of their own, and the others the kind of their type without an addend. */
static struct crateld_error *choose_kinds(struct relink_builder *builder)
{
    size_t count = builder->pairs.count, own = 0;
    struct pair **sorted AUTO_FREE = calloc(count + 1, sizeof *sorted);
    if (!sorted)
        return error_memory();
    for (size_t i = 0; i < count; i++)
        sorted[i] = &builder->pairs.at[i];
    qsort(sorted, count, sizeof *sorted, compare_pairs);
    while (own < count && own < KIND_LIMIT / 2 && saved_by(sorted[own]) > KIND_MIN_SAVED)
        own++;
    for (size_t i = 0; i < own; i++) {
        sorted[i]->kind = (uint32_t)i;
        if (!VEC_PUSH(&builder->kinds, (struct relink_kind_record){sorted[i]->addend, sorted[i]->type, 0}))
            return error_memory();
    }
    for (size_t i = own; i < count; i++)
        TRY(enter_type_kind(builder, sorted[i]->type, own, &sorted[i]->kind));
    return NULL;
}

static struct crateld_error *encode_relocs(struct relink_builder *builder)
{
    struct byte_vec *out = &builder->encoded_relocs;
    for (uint32_t i = 0, place = 0; i < builder->relocs.count; i++) {
        const struct reloc *reloc = &builder->relocs.at[i];
        const struct section *section = &builder->sections.at[reloc->section];
        if (i % RELINK_RELOCS_PER_BLOCK == 0) {
            TRY(reserve_bytes(out, RELINK_RELOCS_PER_BLOCK * RELOC_MAX_SIZE));
            if (!VEC_PUSH(&builder->reloc_blocks, (uint32_t)out->count))
                return error_memory();
        }
        if (i % RELINK_RELOCS_PER_BLOCK == 0 || i == section->record.first_reloc)
            place = 0;
        const struct pair *pair = &builder->pairs.at[reloc->pair];
        uint8_t *at = out->at + out->count;
        uint32_t size = varint_write(at, pair->kind);
        size += varint_write(at + size, reloc->off - place);
        size += varint_write(at + size, varint_fold((int64_t)reloc->symbol -
                                                    (int64_t)builder->modules.at[section->module].first_symbol));
        if (builder->kinds.at[pair->kind].has_addend)
            size += varint_write(at + size, varint_fold(pair->addend));
        out->count += size;
        place = reloc->off;
    }
    return NULL;
}

/* Lists by symbol the blocks of relocations in which it occurs: counts them, then enters them. */
static struct crateld_error *list_pointees(struct relink_builder *builder)
{
    size_t symbol_count = builder->symbols.count;
    uint32_t *last AUTO_FREE = calloc(symbol_count + 1, sizeof *last); /* block + 1 that was seen last */
    uint32_t *first = builder->pointee_first = calloc(symbol_count + 2, sizeof *first);
    if (!last || !first)
        return error_memory();
    for (size_t i = 0; i < builder->relocs.count; i++) {
        uint32_t symbol = builder->relocs.at[i].symbol, block = (uint32_t)(i / RELINK_RELOCS_PER_BLOCK) + 1;
        first[symbol + 2] += last[symbol] != block;
        last[symbol] = block;
    }
    for (size_t i = 2; i < symbol_count + 2; i++)
        first[i] += first[i - 1];
    builder->pointees = calloc((size_t)first[symbol_count + 1] + 1, sizeof *builder->pointees);
    if (!builder->pointees)
        return error_memory();
    memset(last, 0, symbol_count * sizeof *last);
    for (size_t i = 0; i < builder->relocs.count; i++) {
        uint32_t symbol = builder->relocs.at[i].symbol, block = (uint32_t)(i / RELINK_RELOCS_PER_BLOCK) + 1;
        if (last[symbol] != block)
            builder->pointees[first[symbol + 1]++] = block - 1;
        last[symbol] = block;
    }
    return NULL;
}

/* Writes the list of blocks with relocations against symbol `number`, with its size before it. */
static struct crateld_error *encode_pointees(const struct relink_builder *builder, uint32_t number,
                                             struct byte_vec *out)
{
    const struct symbol *symbol = &builder->symbols.at[number];
    uint32_t begin = builder->pointee_first[number], end = builder->pointee_first[number + 1];
    size_t room = (size_t)(end - begin) * VARINT_MAX_SIZE;
    TRY(reserve_bytes(out, room + VARINT_MAX_SIZE));
    uint32_t base = symbol->where == RELINK_IN_SECTION
                        ? builder->sections.at[symbol->section].record.first_reloc / RELINK_RELOCS_PER_BLOCK
                        : 0;
    /* The list is made behind the room for its size, and moved when that is known. */
    uint8_t *list = out->at + out->count + VARINT_MAX_SIZE;
    size_t size = varint_write(list, varint_fold((int64_t)builder->pointees[begin] - (int64_t)base));
    for (uint32_t i = begin + 1; i < end; i++)
        size += varint_write(list + size, builder->pointees[i] - builder->pointees[i - 1] - 1);
    out->count += varint_write(out->at + out->count, size);
    memmove(out->at + out->count, list, size);
    out->count += size;
    return NULL;
}

/* Writes symbol `number`; *section is that of the previous one in its block. */
static struct crateld_error *encode_symbol(const struct relink_builder *builder, uint32_t number, uint32_t *section,
                                           struct byte_vec *out)
{
    const struct symbol *symbol = &builder->symbols.at[number];
    bool has_pointees = builder->pointee_first[number] != builder->pointee_first[number + 1];
    uint64_t shape = symbol->where | (uint64_t)symbol->flags << RELINK_SHAPE_FLAGS_SHIFT;
    shape |= (symbol->refs ? RELINK_SHAPE_HAS_REFS : 0) | (has_pointees ? RELINK_SHAPE_HAS_POINTEES : 0);
    TRY(reserve_bytes(out, SYMBOL_MAX_SIZE));
    uint8_t *at = out->at + out->count;
    at[0] = symbol->description;
    uint32_t size = 1 + varint_write(at + 1, shape);
    size += varint_write(at + size, builder->strings.entries.at[symbol->name].off);
    if (symbol->where == RELINK_IN_SECTION) {
        assert(symbol->section < builder->sections.count);
        size += varint_write(at + size, varint_fold((int64_t)symbol->section - (int64_t)*section));
        *section = symbol->section;
    }
    size += varint_write(at + size, symbol->value);
    size += varint_write(at + size, symbol->size);
    if (symbol->refs) {
        size += varint_write(at + size, symbol->refs);
        for (int i = 0; i < __builtin_popcount(symbol->refs); i++)
            size += varint_write(at + size, builder->refs.at[symbol->first_ref + (uint32_t)i]);
    }
    out->count += size;
    return has_pointees ? encode_pointees(builder, number, out) : NULL;
}

/* Encodes the blocks of run `run`, whose places count from its start. */
static struct crateld_error *encode_run(void *context, uint32_t worker, size_t run)
{
    struct relink_builder *builder = context;
    struct byte_vec *out = &builder->encoded_symbols[run];
    size_t block_count = builder->symbol_blocks.count, symbol_count = builder->symbols.count;
    size_t begin = block_count * run / RELINK_SYMBOL_RUNS, end = block_count * (run + 1) / RELINK_SYMBOL_RUNS;
    (void)worker;
    for (size_t block = begin; block < end; block++) {
        uint32_t section = 0;
        builder->symbol_blocks.at[block] = (uint32_t)out->count;
        for (size_t i = block * RELINK_SYMBOLS_PER_BLOCK;
             i < symbol_count && i < (block + 1) * RELINK_SYMBOLS_PER_BLOCK; i++)
            TRY(encode_symbol(builder, (uint32_t)i, &section, out));
    }
    return NULL;
}

/* Encodes the symbols, of which each block stands for itself, in runs of blocks. */
static struct crateld_error *encode_symbols(struct relink_builder *builder, uint32_t workers)
{
    size_t block_count = (builder->symbols.count + RELINK_SYMBOLS_PER_BLOCK - 1) / RELINK_SYMBOLS_PER_BLOCK;
    if (!VEC_RESERVE(&builder->symbol_blocks, block_count))
        return error_memory();
    builder->symbol_blocks.count = block_count;
    TRY(workers_run(workers, RELINK_SYMBOL_RUNS, encode_run, builder));
    size_t off = 0;
    for (size_t run = 0; run < RELINK_SYMBOL_RUNS; run++) {
        for (size_t block = block_count * run / RELINK_SYMBOL_RUNS;
             block < block_count * (run + 1) / RELINK_SYMBOL_RUNS; block++)
            builder->symbol_blocks.at[block] += (uint32_t)off;
        off += builder->encoded_symbols[run].count;
    }
    return NULL;
}

static size_t encoded_symbol_size(const struct relink_builder *builder, size_t run_count)
{
    size_t size = 0;
    for (size_t run = 0; run < run_count; run++)
        size += builder->encoded_symbols[run].count;
    return size;
}

/* Sorts the symbols that can be found by their names. */
static struct crateld_error *sort_names(struct relink_builder *builder)
{
    builder->names = calloc(builder->symbols.count + 1, sizeof *builder->names);
    if (!builder->names)
        return error_memory();
    for (uint32_t i = 0; i < builder->symbols.count; i++) {
        const struct symbol *symbol = &builder->symbols.at[i];
        const struct string_pool_entry *name = &builder->strings.entries.at[symbol->name];
        bool is_local = !(symbol->description >> 4 & 3);
        if (!is_local && name->length)
            builder->names[builder->name_count++] =
                (struct keyed){hash_bytes(string_pool_text(&builder->strings, name), name->length), i};
    }
    return radix_sort(builder->names, builder->name_count) ? NULL : error_memory();
}

/* Where each part lies. */
static struct crateld_error *place_parts(struct relink_builder *builder)
{
    const uint64_t sizes[RELINK_PART_COUNT] = {
        [RELINK_PART_MODULES] = builder->modules.count * sizeof(struct relink_module_record),
        [RELINK_PART_SECTIONS] = builder->sections.count * sizeof(struct relink_section_record),
        [RELINK_PART_SYMBOL_BLOCKS] = builder->symbol_blocks.count * sizeof(uint32_t),
        [RELINK_PART_SYMBOLS] = encoded_symbol_size(builder, RELINK_SYMBOL_RUNS),
        [RELINK_PART_KINDS] = builder->kinds.count * sizeof(struct relink_kind_record),
        [RELINK_PART_RELOC_BLOCKS] = builder->reloc_blocks.count * sizeof(uint32_t),
        [RELINK_PART_RELOCS] = builder->encoded_relocs.count,
        [RELINK_PART_NAMES] = builder->name_count * sizeof(uint32_t),
        [RELINK_PART_STRINGS] = builder->strings.size,
    };
    struct relink_header header = {
        .magic = RELINK_MAGIC,
        .version = RELINK_VERSION,
        .header_size = sizeof header,
        .symbol_count = (uint32_t)builder->symbols.count,
        .reloc_count = (uint32_t)builder->relocs.count,
    };
    uint64_t end = sizeof header;
    for (int part = 0; part < RELINK_PART_COUNT; part++) {
        end = (end + 7) & ~UINT64_C(7);
        if (end + sizes[part] > UINT32_MAX)
            return error_create(CRATELD_ERROR_RANGE, "the relink section would take more than 4 GiB");
        header.parts[part] = (struct relink_part){(uint32_t)end, (uint32_t)sizes[part]};
        end += sizes[part];
    }
    header.size = end;
    builder->header = header;
    return NULL;
}

struct crateld_error *relink_builder_end_names(struct relink_builder *builder)
{
    TRY(string_pool_lay_out(&builder->strings));
    builder->string_table = calloc(builder->strings.size, 1);
    if (!builder->string_table)
        return error_memory();
    string_pool_write(&builder->strings, builder->string_table);
    return sort_names(builder);
}

struct crateld_error *relink_builder_end_relocs(struct relink_builder *builder)
{
    TRY(order_relocs(builder));
    TRY(choose_kinds(builder));
    TRY(encode_relocs(builder));
    TRY(list_pointees(builder));
    free(STEAL_PTR(builder->relocs.at)); /* by now they are all encoded */
    return NULL;
}

/* Lets records of what is written stand one behind the other, at the start of what held them until now. */
static void pack_records(struct relink_builder *builder)
{
    const struct string_pool_entry *strings = builder->strings.entries.at;
    for (size_t i = 0; i < builder->modules.count; i++) {
        struct relink_module_record *record = &builder->modules.at[i];
        record->path = strings[record->path].off;
        record->member = strings[record->member].off;
    }
    for (size_t i = 0; i < builder->sections.count; i++) {
        struct relink_section_record record = builder->sections.at[i].record;
        record.name = strings[record.name].off;
        memcpy((uint8_t *)builder->sections.at + i * sizeof record, &record, sizeof record);
    }
    for (size_t i = 0; i < builder->name_count; i++) {
        uint32_t number = builder->names[i].number;
        memcpy((uint8_t *)builder->names + i * sizeof number, &number, sizeof number);
    }
}

struct crateld_error *relink_builder_finish(struct relink_builder *builder, uint32_t workers, size_t *ret)
{
    TRY(encode_symbols(builder, workers));
    TRY(place_parts(builder));
    pack_records(builder);
    free(STEAL_PTR(builder->symbols.at));
    string_pool_deinit(&builder->strings);
    *ret = (size_t)builder->header.size;
    return NULL;
}

struct span relink_builder_piece(const struct relink_builder *builder, size_t i, uint64_t *off)
{
    const void *parts[RELINK_PART_COUNT] = {
        [RELINK_PART_MODULES] = builder->modules.at,
        [RELINK_PART_SECTIONS] = builder->sections.at,
        [RELINK_PART_SYMBOL_BLOCKS] = builder->symbol_blocks.at,
        [RELINK_PART_KINDS] = builder->kinds.at,
        [RELINK_PART_RELOC_BLOCKS] = builder->reloc_blocks.at,
        [RELINK_PART_RELOCS] = builder->encoded_relocs.at,
        [RELINK_PART_NAMES] = builder->names,
        [RELINK_PART_STRINGS] = builder->string_table,
    };
    if (i > RELINK_PART_COUNT) {
        size_t run = i - RELINK_PART_COUNT;
        *off = builder->header.parts[RELINK_PART_SYMBOLS].off + encoded_symbol_size(builder, run);
        return (struct span){builder->encoded_symbols[run].at, builder->encoded_symbols[run].count};
    }
    *off = i ? builder->header.parts[i - 1].off : 0;
    if (i == RELINK_PART_SYMBOLS + 1)
        return (struct span){builder->encoded_symbols[0].at, builder->encoded_symbols[0].count};
    return i ? (struct span){parts[i - 1], builder->header.parts[i - 1].size}
             : (struct span){(const uint8_t *)&builder->header, sizeof builder->header};
}
