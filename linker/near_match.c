#define _GNU_SOURCE
#include "linker/near_match.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "linker/demangle.h"

enum {
    MAX_LENGTH = 255,  /* longer names are not compared by spelling */
    MAX_EDITS = 3,     /* more make another name of it */
    BITS_PER_EDIT = 4, /* an edit takes at most two pairs of characters away, and adds two */
    MAX_KEY_SIZE = 256,
};

/* What two names must nearly share to be worth an edit distance. */
struct sketch {
    uint64_t characters; /* the characters that occur, case ignored */
    uint64_t pairs;      /* the pairs of neighbours that occur, case ignored */
};

struct entry {
    struct sketch sketch;
    uint32_t idx; /* into names */
};

struct near_matcher {
    const char *const *names;        /* borrowed */
    struct entry *entries;           /* owned; by length, then in the order of `names` */
    uint32_t starts[MAX_LENGTH + 2]; /* entries of length n are [starts[n], starts[n + 1]) */
    struct hash_index index;         /* owned; of `keyed` by source key */
    uint32_t *keyed;                 /* owned; indices into `names` */
};

/* The edits that still leave a name of `length` recognisable. */
static unsigned max_edits(size_t length)
{
    return length < 3 ? 0 : length < 6 ? 1 : length < 14 ? 2 : MAX_EDITS;
}

static struct sketch sketch_of(const char *name)
{
    struct sketch sketch = {0};
    unsigned previous = 0;
    for (; *name; name++) {
        unsigned character = (unsigned)tolower((unsigned char)*name);
        sketch.characters |= UINT64_C(1) << (character & 63);
        if (previous)
            sketch.pairs |= UINT64_C(1) << ((previous * 37 + character) & 63);
        previous = character;
    }
    return sketch;
}

/* Whether names of such sketches can be `edits` apart. Two neighbours exchanged touch three pairs, not two.
 */
static bool can_be_near(const struct sketch *a, const struct sketch *b, unsigned edits)
{
    return (unsigned)__builtin_popcountll(a->characters ^ b->characters) <= 2 * edits &&
           (unsigned)__builtin_popcountll(a->pairs ^ b->pairs) <= BITS_PER_EDIT * edits + 2;
}

/* Appends `length` bytes to the key; false: it is full. */
static bool append(char *key, size_t *size, const char *text, size_t length)
{
    if (length >= MAX_KEY_SIZE - *size)
        return false;
    memcpy(key + *size, text, length);
    *size += length;
    key[*size] = 0;
    return true;
}

/* Appends the "<length><identifier>"s at *text, and moves *text behind them; false: there is none, or it is
 * broken. */
static bool append_identifiers(char *key, size_t *size, const char **text)
{
    const char *start = *text;
    while (isdigit((unsigned char)**text)) {
        char *identifier;
        unsigned long length = strtoul(*text, &identifier, 10);
        if (length > strlen(identifier))
            return false;
        *text = identifier + length;
    }
    return *text > start && append(key, size, start, (size_t)(*text - start));
}

/* What a function is called in the source, apart from parameters and qualifiers: "3foo3bar" of both
 * _ZN3foo3barEi and _ZNK3foo3barEv, "3bar" of _Z3barv and of bar. False: the name is too long, or of a kind
 * that is not told apart here (templates, operators). Grammar: Itanium C++ ABI, 5.1. */
static bool source_key(const char *name, char key[MAX_KEY_SIZE])
{
    size_t size = 0;
    key[0] = 0;
    if (name[0] != '_' || name[1] != 'Z') {
        int length = snprintf(key, MAX_KEY_SIZE, "%zu%s", strlen(name), name);
        return length < MAX_KEY_SIZE;
    }
    const char *text = name + 2;
    bool is_nested = *text == 'N';
    if (is_nested)
        text += 1 + strspn(text + 1, "rVK");
    if (strncmp(text, "St", 2) == 0) {
        append(key, &size, text, 2);
        text += 2;
    }
    if (!append_identifiers(key, &size, &text))
        return false;
    if (!is_nested)
        return *text != 'I';
    bool is_structor = (text[0] == 'C' || text[0] == 'D') && isdigit((unsigned char)text[1]);
    if (is_structor) {
        if (!append(key, &size, text, 1))
            return false;
        text += 2;
    }
    return *text == 'E';
}

static struct crateld_error *add_key(struct near_matcher *matcher, uint32_t idx)
{
    char key[MAX_KEY_SIZE];
    if (!source_key(matcher->names[idx], key))
        return NULL;
    matcher->keyed[matcher->index.count] = idx;
    return hash_index_add(&matcher->index, hash_string(key)) ? NULL : error_memory();
}

/* Sorts the names by length, by counting. */
static void fill_entries(struct near_matcher *matcher, uint32_t count)
{
    uint32_t next[MAX_LENGTH + 2] = {0};
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(matcher->names[i]);
        if (length <= MAX_LENGTH)
            next[length + 1]++;
    }
    for (unsigned length = 1; length < MAX_LENGTH + 2; length++)
        next[length] += next[length - 1];
    memcpy(matcher->starts, next, sizeof next);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(matcher->names[i]);
        if (length <= MAX_LENGTH)
            matcher->entries[next[length]++] = (struct entry){sketch_of(matcher->names[i]), i};
    }
}

struct crateld_error *near_matcher_create(const char *const *names, size_t count, struct near_matcher **ret)
{
    struct near_matcher *matcher = calloc(1, sizeof *matcher);
    if (!matcher || count > UINT32_MAX / sizeof *matcher->entries) {
        free(matcher);
        return error_memory();
    }
    matcher->names = names;
    matcher->entries = malloc((count + 1) * sizeof *matcher->entries);
    matcher->keyed = malloc((count + 1) * sizeof *matcher->keyed);
    struct crateld_error *error = NULL;
    if (!matcher->entries || !matcher->keyed || !hash_index_reserve(&matcher->index, count))
        error = error_memory();
    for (uint32_t i = 0; !error && i < count; i++)
        error = add_key(matcher, i);
    if (error) {
        near_matcher_destroy(matcher);
        return error;
    }
    fill_entries(matcher, (uint32_t)count);
    *ret = matcher;
    return NULL;
}

void near_matcher_destroy(struct near_matcher *matcher)
{
    if (!matcher)
        return;
    hash_index_deinit(&matcher->index);
    free(matcher->entries);
    free(matcher->keyed);
    free(matcher);
}

static unsigned min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Two names being compared. A cell (i, j) of the table of their prefixes' distances lies on diagonal j - i.
 */
struct comparison {
    const char *a, *b;
    int a_length, b_length;
};

/* From (i, i + diagonal) along equal characters: the row where that ends. */
static int slide(const struct comparison *names, int i, int diagonal)
{
    while (i < names->a_length && i + diagonal < names->b_length && names->a[i] == names->b[i + diagonal])
        i++;
    return i;
}

/* Whether the next two characters of each name at row `i` of the diagonal are the other's in reverse. */
static bool is_exchange(const struct comparison *names, int i, int diagonal)
{
    int j = i + diagonal;
    return i >= 0 && j >= 0 && i + 1 < names->a_length && j + 1 < names->b_length && names->a[i] == names->b[j + 1] &&
           names->a[i + 1] == names->b[j];
}

/* The number of characters to insert, delete, replace or exchange with their neighbour to make `b` of `a`, if
 * that is at most `limit` <= MAX_EDITS; else limit + 1. Names that differ in case only are 1 apart. Cost:
 * about the length of what they share. Method: E. Ukkonen, "Algorithms for approximate string matching",
 * 1985: the furthest row that each diagonal reaches with so many edits. An exchange further back than that is
 * never better than replacing one character. */
static unsigned edit_distance(const struct comparison *names, unsigned limit)
{
    enum { CENTRE = MAX_EDITS + 1, UNREACHED = -2 };
    int reached[2 * CENTRE + 1], next[2 * CENTRE + 1];
    int target = names->b_length - names->a_length;
    if (target == 0 && limit >= 1 && strncasecmp(names->a, names->b, (size_t)names->a_length) == 0)
        return memcmp(names->a, names->b, (size_t)names->a_length) != 0;
    for (int d = 0; d <= 2 * CENTRE; d++)
        reached[d] = next[d] = UNREACHED;
    reached[CENTRE] = slide(names, 0, 0);
    for (unsigned edits = 0;; edits++) {
        if (reached[CENTRE + target] >= names->a_length)
            return edits;
        if (edits == limit)
            return limit + 1;
        for (int d = -(int)edits - 1; d <= (int)edits + 1; d++) {
            const int *from = &reached[CENTRE + d];
            int row = from[0] + 1; /* replace */
            if (from[-1] > row)
                row = from[-1]; /* insert */
            if (from[1] + 1 > row)
                row = from[1] + 1; /* delete */
            if (is_exchange(names, from[0], d) && from[0] + 2 > row)
                row = from[0] + 2;
            if (row > names->a_length)
                row = names->a_length;
            next[CENTRE + d] = row < 0 || row + d < 0 ? UNREACHED : slide(names, row, d);
        }
        memcpy(reached, next, sizeof reached);
    }
}

/* The same function under another linkage, or with other parameters. */
static struct near_match find_by_key(const struct near_matcher *matcher, const char *name)
{
    char key[MAX_KEY_SIZE], other_key[MAX_KEY_SIZE];
    size_t cursor = 0;
    uint32_t best = UINT32_MAX;
    if (!source_key(name, key))
        return (struct near_match){0};
    uint64_t hash = hash_string(key);
    for (uint32_t i; (i = hash_index_next(&matcher->index, hash, &cursor)) != HASH_INDEX_NONE;) {
        uint32_t idx = matcher->keyed[i];
        if (idx < best && source_key(matcher->names[idx], other_key) && strcmp(key, other_key) == 0)
            best = idx;
    }
    if (best == UINT32_MAX)
        return (struct near_match){0};
    bool is_cxx = strncmp(name, "_Z", 2) == 0, is_known_cxx = strncmp(matcher->names[best], "_Z", 2) == 0;
    return (struct near_match){
        .kind = is_cxx && is_known_cxx ? NEAR_MATCH_SIGNATURE
                : is_cxx               ? NEAR_MATCH_C_LINKAGE
                                       : NEAR_MATCH_CXX_LINKAGE,
        .name = matcher->names[best],
    };
}

static struct near_match find_by_spelling(const struct near_matcher *matcher, const char *name)
{
    size_t length = strlen(name);
    if (length > MAX_LENGTH)
        return (struct near_match){0};
    unsigned allowed = max_edits(length), best = allowed + 1;
    uint32_t best_idx = UINT32_MAX;
    struct sketch sketch = sketch_of(name);
    size_t from = length > allowed ? length - allowed : 0;
    size_t to = length + allowed < MAX_LENGTH ? length + allowed : MAX_LENGTH;
    for (size_t other = from; other <= to; other++) {
        for (uint32_t i = matcher->starts[other]; i < matcher->starts[other + 1]; i++) {
            const struct entry *entry = &matcher->entries[i];
            if (!can_be_near(&sketch, &entry->sketch, min(best, allowed)))
                continue;
            struct comparison comparison = {name, matcher->names[entry->idx], (int)length, (int)other};
            unsigned distance = edit_distance(&comparison, min(best, allowed));
            if (distance < best || (distance == best && best <= allowed && entry->idx < best_idx)) {
                best = distance;
                best_idx = entry->idx;
            }
        }
    }
    if (best > allowed)
        return (struct near_match){0};
    return (struct near_match){NEAR_MATCH_SPELLING, matcher->names[best_idx]};
}

struct near_match near_match_find(const struct near_matcher *matcher, const char *name)
{
    struct near_match match = find_by_key(matcher, name);
    return match.kind != NEAR_MATCH_NONE ? match : find_by_spelling(matcher, name);
}

char *near_match_describe(const struct near_match *match)
{
    static const char *const before[] = {
        [NEAR_MATCH_SPELLING] = "did you mean ",
        [NEAR_MATCH_C_LINKAGE] = "",
        [NEAR_MATCH_CXX_LINKAGE] = "",
        [NEAR_MATCH_SIGNATURE] = "",
    };
    static const char *const after[] = {
        [NEAR_MATCH_SPELLING] = "?",
        [NEAR_MATCH_C_LINKAGE] = " is defined with C linkage: the declaration lacks extern \"C\"",
        [NEAR_MATCH_CXX_LINKAGE] = " is defined with C++ linkage: the definition lacks extern \"C\"",
        [NEAR_MATCH_SIGNATURE] = " is defined",
    };
    if (match->kind == NEAR_MATCH_NONE)
        return NULL;
    char *source AUTO_FREE = demangle(match->name), *text;
    int length = asprintf(&text, "%s'%s'%s", before[match->kind], source ? source : match->name, after[match->kind]);
    return length < 0 ? NULL : text;
}
