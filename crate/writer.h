/* The one writer of crate files' headers and tables.
 *
 * The linker fills in a crate_header and the tables' entries; this gives the tables their places and writes them.
 * docs/format.md.
 */
#ifndef CRATE_WRITER_H
#define CRATE_WRITER_H

#include "base/error.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "crateld/format.h"

enum { CRATE_HEADER_RVA = 640 }; /* behind the ELF header and up to 10 program headers */

struct crate_tables {
    VEC(struct crate_needed) needed;
    VEC(struct crate_import) imports;
    VEC(struct crate_export) exports; /* in any order until crate_tables_seal() */
    VEC(uint32_t) buckets;            /* made by crate_tables_seal(), as are the hashes */
    VEC(uint32_t) hashes;
    VEC(uint64_t) relr;
    VEC(struct crate_data_reloc) data_relocs;
    VEC(struct crate_fixup) fixups;
    VEC(struct crate_module) modules;
    VEC(struct crate_move) moves;
    VEC(struct crate_unit) units;
    VEC(struct crate_init) inits;
    VEC(struct crate_grown) grown;
    VEC(struct crate_fresh) fresh;
    VEC(struct crate_fresh) fresh_tls;
    VEC(struct crate_site) sites;
    VEC(uint32_t) starts;
    VEC(struct crate_member) members;
    VEC(uint32_t) member_needs;
    VEC(struct crate_export) member_exports;
    VEC(uint32_t) member_buckets;
    VEC(struct crate_member_text) member_text;
    VEC(char) member_strings;
    VEC(struct crate_starter) starters;
    VEC(struct crate_vanished) vanished;
    VEC(char) strings;
    struct hash_index string_index;
    VEC(uint32_t) string_offs;
};

void crate_tables_init(struct crate_tables *tables);
void crate_tables_deinit(struct crate_tables *tables);

/* Sets *ret to the offset of `text` in the strings, entered if it is new; "" is 0. Error: MEMORY. */
MUST_CHECK struct crateld_error *crate_tables_string(struct crate_tables *tables, const char *text, uint32_t *ret);

/* Encodes `count` rvas, ascending and 8-aligned, as table RELR. Error: MEMORY. */
MUST_CHECK struct crateld_error *crate_tables_relr(struct crate_tables *tables, const uint64_t *rvas, size_t count);

/* Sorts the exports, and makes the buckets and the hashes; neither exports nor strings are added afterwards. Sets
 * header->bucket_bits. Error: MEMORY. */
MUST_CHECK struct crateld_error *crate_tables_seal(struct crate_tables *tables, struct crate_header *header);

/* Gives the tables their places behind the crate header and sets header->tables; returns the rva behind the last one.
 * The data relocations and fixups are taken to be as many as given, for their contents come later. */
uint64_t crate_tables_place(const struct crate_tables *tables, uint32_t data_reloc_count, uint32_t fixup_count,
                            struct crate_header *header);

/* Writes header and tables into `image`, the file from rva 0 on. */
void crate_tables_write(const struct crate_tables *tables, const struct crate_header *header, uint8_t *image);

#endif
