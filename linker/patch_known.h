/* What is known of the modules of a base that were compared with objects: decoded once. For linker/patch*.c only. */
#ifndef LINKER_PATCH_KNOWN_H
#define LINKER_PATCH_KNOWN_H

#include "base/hash_index.h"
#include "linker/patch.h"

/* A section, as far as every new object is compared with it. */
struct base_section {
    uint64_t name; /* its hash */
    uint64_t hash; /* of what it says */
    uint32_t rva;
    uint32_t first_symbol; /* of those in it, + 1; 0: there is none */
    bool has_namesake;     /* another is called the same */
};

struct base_module {
    uint32_t first_symbol;         /* which module it is */
    struct relink_symbol *symbols; /* owned; all of them, in their order */
    struct hash_index names;       /* of the symbols, less compilers' suffixes */
    struct hash_index section_names;
    struct base_section *sections; /* owned; all of them, in their order */
    uint32_t section_count;
    uint32_t *next_symbols; /* owned; by symbol: the next in its section, + 1 */
    uint32_t *exported;     /* owned; the symbols that the crate exports */
    uint32_t exported_count;
    bool has_names; /* and sections, and what is listed by them */
};

MUST_CHECK struct crateld_error *link_base_modules_create(struct link_base_modules **ret);
void link_base_modules_destroy(struct link_base_modules *modules);

/* The module's symbols. Valid as long as the base is. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_module_symbols(const struct link_base *base, const struct relink_module *module,
                                                      const struct relink_symbol **ret);

/* The module with its names and sections. Likewise. */
MUST_CHECK struct crateld_error *patch_module_names(const struct link_base *base, const struct relink_module *module,
                                                    const struct base_module **ret);

/* Bytes of a name without the number that compilers put behind a static variable's ("count.0"). */
size_t patch_stem_size(const char *name);
bool patch_is_same_stem(const char *a, const char *b);

/* Under what a name is in base_module.names. */
uint64_t patch_stem_hash(const char *name);

#endif
