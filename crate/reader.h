/* The one bounded reader of crate files.
 *
 * A crate is untrusted input. Opening a view checks everything that can be checked in constant time, whatever
 * the number of symbols, because a loader does it for each crate at start-up. The entries of the tables are
 * checked by the accessors here when they are used; crate_view_check_all() in crate/check.h checks all of
 * them at once.
 *
 * A view reads the file's bytes or a mapped image alike: every table has rva = file offset. It allocates
 * nothing (errors aside) and borrows all it points at. Views are immutable after their initialisation, so any
 * number of threads may read one.
 */
#ifndef CRATE_READER_H
#define CRATE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "crateld/format.h"
#include "toc/shape.h"

enum {
    CRATE_START_SIZE = 4096,       /* ELF header, program headers and crate header lie in the file's first bytes */
    CRATE_MAX_SIZE = 0x7fffffff,   /* bytes of an image with its reserve: pc-relative reach */
    CRATE_MAX_ALIGN = 1 << 24,     /* of an image */
    CRATE_MAX_TLS_ALIGN = 1 << 16, /* of a crate's block of thread-locals */
};

struct crate_view {
    const char *path;           /* borrowed; for messages */
    struct span image;          /* borrowed: readable bytes from rva 0 on, at least CRATE_SEGMENT_META */
    struct crate_header header; /* a checked copy */
    struct toc_shape toc;       /* offsets from header.toc_rva */

    /* The tables; their counts are header.tables[CRATE_TABLE_*].count. Entries are unchecked. */
    const struct crate_needed *needed;
    const struct crate_import *imports;
    const struct crate_export *exports;
    const uint32_t *buckets;
    const uint32_t *hashes;
    const uint64_t *relr;
    const struct crate_data_reloc *data_relocs;
    const struct crate_fixup *fixups;
    const struct crate_module *modules;
    const struct crate_move *moves;
    const struct crate_unit *units;
    const struct crate_init *inits;
    const struct crate_grown *grown;
    const struct crate_fresh *fresh;
    const struct crate_fresh *fresh_tls;
    const struct crate_starter *starters;
    const struct crate_vanished *vanished;
    const struct crate_site *sites;
    const char *strings;
};

/* Sets *ret to the file offset of the crate header of a file whose first bytes are `start`: at least
 * CRATE_START_SIZE of them, or all there are. It is 8-aligned, behind the ELF header, and all of the header
 * is in the file's start. `path` is for messages. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_header_find(const char *path, struct span start, uint64_t *ret);

/* Sets *ret to the checked crate header of a file of `file_size` bytes whose first bytes are `start`, as
 * above. Checks all that the header says about itself, the segments, the tables' places and the rest, in
 * constant time. Errors: FORMAT; MISMATCH (ABI version); UNSUPPORTED (machine, flags). */
MUST_CHECK struct crateld_error *crate_header_read(const char *path, struct span start, uint64_t file_size,
                                                   struct crate_header *ret);

/* Sets *ret to a view of the crate with the header `header` (from crate_header_read; copied) whose bytes from
 * rva 0 on are `image`: the file or the mapped image, 8-aligned, at least all of CRATE_SEGMENT_META's file
 * part. `path` and `image` are borrowed while the view is used. Constant time. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_view_init(const char *path, struct span image, const struct crate_header *header,
                                                 struct crate_view *ret);

/* The two steps of crate_view_init(). The first reads nothing of `image`; before the second nothing else may be read
 * through the view. */
MUST_CHECK struct crateld_error *crate_view_place(const char *path, struct span image,
                                                  const struct crate_header *header, struct crate_view *ret);
MUST_CHECK struct crateld_error *crate_view_check(const struct crate_view *view);

/* All in one, for a crate file as a whole (8-aligned). */
MUST_CHECK struct crateld_error *crate_view_open(const char *path, struct span file, struct crate_view *ret);

/* Sets *ret to the shape of the TOC that `header` asks for. Error: RANGE. */
MUST_CHECK struct crateld_error *crate_toc_shape(const struct crate_header *header, struct toc_shape *ret);

/* Whether [rva, rva + size) lies in segment `kind`; `in_file`: in its part that is in the file. */
static inline bool crate_segment_has(const struct crate_header *header, enum crate_segment_kind kind, uint64_t rva,
                                     uint64_t size, bool in_file)
{
    const struct crate_segment *segment = &header->segments[kind];
    uint64_t limit = in_file ? segment->file_size : segment->mem_size;
    return rva >= segment->rva && rva - segment->rva <= limit && size <= limit - (rva - segment->rva);
}

/* Elements of table `kind`. */
static inline uint32_t crate_view_count(const struct crate_view *view, enum crate_table_kind kind)
{
    return view->header.tables[kind].count;
}

/* The string at offset `off` of the strings, which ends within them; NULL if `off` lies behind them. */
static inline const char *crate_view_string(const struct crate_view *view, uint32_t off)
{
    return off < crate_view_count(view, CRATE_TABLE_STRINGS) ? view->strings + off : NULL;
}

/* The crate's name, which is not empty. */
static inline const char *crate_view_name(const struct crate_view *view)
{
    return view->strings + view->header.name;
}

/* Copies entry `i` of the table to *ret after checking it: the index itself, that its strings exist, that its
 * kind and flags are known, that indices and rvas point at what they should. `i` is any number. Error:
 * FORMAT. */
MUST_CHECK struct crateld_error *crate_view_needed(const struct crate_view *view, uint32_t i, struct crate_needed *ret);
MUST_CHECK struct crateld_error *crate_view_import(const struct crate_view *view, uint32_t i, struct crate_import *ret);
MUST_CHECK struct crateld_error *crate_view_export(const struct crate_view *view, uint32_t i, struct crate_export *ret);
MUST_CHECK struct crateld_error *crate_view_data_reloc(const struct crate_view *view, uint32_t i,
                                                       struct crate_data_reloc *ret);
MUST_CHECK struct crateld_error *crate_view_fixup(const struct crate_view *view, uint32_t i, struct crate_fixup *ret);
MUST_CHECK struct crateld_error *crate_view_module(const struct crate_view *view, uint32_t i, struct crate_module *ret);
/* How many of a patch's moves are of functions. */
uint32_t crate_view_moved_functions(const struct crate_view *view);

MUST_CHECK struct crateld_error *crate_view_move(const struct crate_view *view, uint32_t i, struct crate_move *ret);
MUST_CHECK struct crateld_error *crate_view_unit(const struct crate_view *view, uint32_t i, struct crate_unit *ret);
MUST_CHECK struct crateld_error *crate_view_init_value(const struct crate_view *view, uint32_t i,
                                                       struct crate_init *ret);
MUST_CHECK struct crateld_error *crate_view_grown(const struct crate_view *view, uint32_t i, struct crate_grown *ret);
MUST_CHECK struct crateld_error *crate_view_fresh(const struct crate_view *view, uint32_t i, struct crate_fresh *ret);
MUST_CHECK struct crateld_error *crate_view_fresh_tls(const struct crate_view *view, uint32_t i,
                                                      struct crate_fresh *ret);
MUST_CHECK struct crateld_error *crate_view_vanished(const struct crate_view *view, uint32_t i,
                                                     struct crate_vanished *ret);
MUST_CHECK struct crateld_error *crate_view_starter(const struct crate_view *view, uint32_t i,
                                                    struct crate_starter *ret);
MUST_CHECK struct crateld_error *crate_view_site(const struct crate_view *view, uint32_t i, struct crate_site *ret);

/* The relink section's bytes in `file`, the whole crate file; empty when the crate has none. Error: FORMAT,
 * when `file` is too short. */
MUST_CHECK struct crateld_error *crate_view_relink(const struct crate_view *view, struct span file, struct span *ret);

/* A walk over the places of CRATE_TABLE_RELR; start zeroed. */
struct crate_relr_cursor {
    uint32_t next;   /* index of the next word of the table */
    uint64_t base;   /* rva that bit 1 of the next bitmap stands for */
    uint64_t bitmap; /* places still to be visited; bit 0 is `place` */
    uint64_t place;
};

enum crate_relr_step {
    CRATE_RELR_PLACE, /* *ret is set to the rva of 8 bytes within CRATE_SEGMENT_DATA */
    CRATE_RELR_END,
    CRATE_RELR_BAD, /* the table is damaged */
};

/* Takes one step. Constant time but for empty bitmaps, which it skips. No errors are made: for start-up. */
static inline enum crate_relr_step crate_view_relr_next(const struct crate_view *view, struct crate_relr_cursor *cursor,
                                                        uint32_t *ret)
{
    while (!cursor->bitmap) {
        if (cursor->next == crate_view_count(view, CRATE_TABLE_RELR))
            return CRATE_RELR_END;
        uint64_t word = view->relr[cursor->next++];
        if (!(word & 1)) {
            cursor->place = word;
            cursor->bitmap = 1;
            cursor->base = word + 8;
        } else {
            cursor->place = cursor->base;
            cursor->bitmap = word >> 1;
            cursor->base += 63 * 8;
        }
    }
    unsigned skipped = (unsigned)__builtin_ctzll(cursor->bitmap);
    uint64_t place = cursor->place + skipped * 8;
    cursor->bitmap = cursor->bitmap >> skipped >> 1;
    cursor->place = place + 8;
    if (!crate_segment_has(&view->header, CRATE_SEGMENT_DATA, place, 8, false))
        return CRATE_RELR_BAD;
    *ret = (uint32_t)place;
    return CRATE_RELR_PLACE;
}

/* The rest is for the binder, which runs with the caller's registers live: built with -mgeneral-regs-only,
 * calling nothing, making no errors. */

/* Entry `i` of the imports, unchecked but for the index; NULL if there is none. */
static inline const struct crate_import *crate_view_peek_import(const struct crate_view *view, uint32_t i)
{
    return i < crate_view_count(view, CRATE_TABLE_IMPORTS) ? &view->imports[i] : NULL;
}

/* Whether the string at offset `off` is `text`. */
static inline bool crate_view_string_is(const struct crate_view *view, uint32_t off, const char *text)
{
    const char *string = crate_view_string(view, off);
    if (!string)
        return false;
    while (*string && *string == *text) {
        string++;
        text++;
    }
    return *string == *text;
}

/* The bucket of exports with the hash `hash`. */
static inline uint64_t crate_view_bucket(const struct crate_view *view, uint64_t hash)
{
    return hash >> 1 >> (63 - view->header.bucket_bits);
}

/* The index of the export `name`, whose XXH3-64 is `hash`; CRATE_NONE if there is none. The expected cost is
 * one probe; a hostile crate makes it the number of its exports. The entry found is unchecked but for its
 * name. */
static inline uint32_t crate_view_find_export(const struct crate_view *view, uint64_t hash, const char *name)
{
    uint64_t bucket = crate_view_bucket(view, hash);
    uint32_t export_count = crate_view_count(view, CRATE_TABLE_EXPORTS);
    uint32_t end = view->buckets[bucket + 1];
    if (end > export_count)
        end = export_count;
    for (uint32_t i = view->buckets[bucket]; i < end; i++) {
        if (view->exports[i].hash == hash && crate_view_string_is(view, view->exports[i].name, name))
            return i;
    }
    return CRATE_NONE;
}

/* Whether two crates' strings are the same; false if one does not exist. Compares eight bytes at a time, as far as the
 * tables of both reach. */
static inline bool crate_view_same_string(const struct crate_view *a, uint32_t a_off, const struct crate_view *b,
                                          uint32_t b_off)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint32_t a_size = crate_view_count(a, CRATE_TABLE_STRINGS), b_size = crate_view_count(b, CRATE_TABLE_STRINGS);
    if (a_off >= a_size || b_off >= b_size)
        return false;
    const char *x = a->strings + a_off, *y = b->strings + b_off;
    uint32_t room = a_size - a_off < b_size - b_off ? a_size - a_off : b_size - b_off;
    for (; room >= 8; room -= 8, x += 8, y += 8) {
        uint64_t p, q;
        __builtin_memcpy(&p, x, 8);
        __builtin_memcpy(&q, y, 8);
        uint64_t end = (p - ones) & ~p & ones << 7; /* its lowest bit is that of the first NUL */
        uint64_t difference = p ^ q;
        if (difference) /* which does not matter behind the NUL */
            return end && __builtin_ctzll(end) < __builtin_ctzll(difference) - __builtin_ctzll(difference) % 8;
        if (end)
            return true;
    }
    for (; *x && *x == *y; x++, y++)
        ;
    return *x == *y;
}

/* As crate_view_find_export(), for the name of an import, unchecked, of the crate `user`. */
static inline uint32_t crate_view_find_imported(const struct crate_view *view, const struct crate_view *user,
                                                const struct crate_import *import)
{
    uint64_t bucket = crate_view_bucket(view, import->hash);
    uint32_t export_count = crate_view_count(view, CRATE_TABLE_EXPORTS);
    uint32_t end = view->buckets[bucket + 1];
    if (end > export_count)
        end = export_count;
    for (uint32_t i = view->buckets[bucket]; i < end; i++) {
        if (view->exports[i].hash == import->hash &&
            crate_view_same_string(view, view->exports[i].name, user, import->name))
            return i;
    }
    return CRATE_NONE;
}

#endif
