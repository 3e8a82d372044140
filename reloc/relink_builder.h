/* Making a relink section, when the layout is known. Not thread-safe, but that names and relocations may be ended at
 * the same time.
 *
 * Records are added in input order: a module, its sections, its symbols, the next module; relocations at any
 * time and in any order. Numbers may be used before what they number was added. The same calls make the same
 * bytes.
 */
#ifndef RELOC_RELINK_BUILDER_H
#define RELOC_RELINK_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "reloc/relink.h"
#include "reloc/relink_format.h"

struct relink_builder;

/* A builder with nothing in it. Error: MEMORY. */
MUST_CHECK struct crateld_error *relink_builder_create(struct relink_builder **ret);

/* Releases it; NULL is allowed. */
void relink_builder_destroy(struct relink_builder *builder);

/* Adds a module and, in the two functions after it, a section and a symbol of the module that was added last.
 * Records are copied, with their strings. The number of what was added, counted from 0, goes to *ret, which may be
 * NULL. Errors: MEMORY; RANGE, with 2^32 - 1 of them.
 */
MUST_CHECK struct crateld_error *relink_builder_add_module(struct relink_builder *builder,
                                                           const struct relink_module *module, uint32_t *ret);
MUST_CHECK struct crateld_error *relink_builder_add_section(struct relink_builder *builder,
                                                            const struct relink_section *section, uint32_t *ret);
MUST_CHECK struct crateld_error *relink_builder_add_symbol(struct relink_builder *builder,
                                                           const struct relink_symbol *symbol, uint32_t *ret);

/* Adds a relocation; relocations at one place stay in the order in which they were added. */
MUST_CHECK struct crateld_error *relink_builder_add_reloc(struct relink_builder *builder,
                                                          const struct relink_reloc *reloc);

/* Makes room for `count` further symbols, or relocations, for who knows how many there are. Error: MEMORY. */
MUST_CHECK struct crateld_error *relink_builder_reserve_symbols(struct relink_builder *builder, size_t count);
MUST_CHECK struct crateld_error *relink_builder_reserve_relocs(struct relink_builder *builder, size_t count);

/* Ends the adding of modules, sections and symbols, and lays out their strings. Relocations may be added and ended
 * meanwhile. Errors: MEMORY; RANGE, when the strings take 4 GiB. Cost: sorting names. */
MUST_CHECK struct crateld_error *relink_builder_end_names(struct relink_builder *builder);

/* Ends the adding of relocations, behind all modules, sections and symbols. Error: MEMORY. Cost: sorting where they
 * were not added in order. */
MUST_CHECK struct crateld_error *relink_builder_end_relocs(struct relink_builder *builder);

/* When names and relocations are ended: encodes the symbols, by up to `workers` (1 to WORKERS_MAX) threads, and sets
 * *ret to the section's size in bytes. Errors: MEMORY; RANGE, when it takes 4 GiB. */
MUST_CHECK struct crateld_error *relink_builder_finish(struct relink_builder *builder, uint32_t workers, size_t *ret);

/* The finished section consists of RELINK_PIECES pieces; what is between them is zero. This is number `i`, and *off is
 * where it lies. It is borrowed from the builder. */
enum {
    RELINK_SYMBOL_RUNS = 8, /* pieces of the part of symbols */
    RELINK_PIECES = RELINK_PART_COUNT + RELINK_SYMBOL_RUNS,
};
struct span relink_builder_piece(const struct relink_builder *builder, size_t i, uint64_t *off);

#endif
