/* gcc's link-time optimisation: recognise its objects, list their symbols, and have the compiler finish them.
 *
 * An object compiled with -flto carries gcc's intermediate code in .gnu.lto_* sections, besides (fat) or
 * instead of (slim) machine code. Slim objects have no usable ELF symbols: theirs stand in
 * .gnu.lto_.symtab.*, in the format of gcc's lto-plugin (lto-plugin/lto-plugin.c, lto-streamer-out.cc).
 */
#ifndef LINKER_LTO_H
#define LINKER_LTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/span.h"

enum lto_kind {
    LTO_NONE,
    LTO_FAT,  /* machine code as well: may be linked as an ordinary object */
    LTO_SLIM, /* nothing but intermediate code */
};

/* As enum ld_plugin_symbol_kind. */
enum lto_symbol_kind {
    LTO_DEF,
    LTO_WEAK_DEF,
    LTO_UNDEF,
    LTO_WEAK_UNDEF,
    LTO_COMMON,
};

/* As enum ld_plugin_symbol_visibility. */
enum lto_visibility {
    LTO_VISIBILITY_DEFAULT,
    LTO_VISIBILITY_PROTECTED,
    LTO_VISIBILITY_INTERNAL,
    LTO_VISIBILITY_HIDDEN,
};

/* As enum ld_plugin_symbol_type. */
enum lto_symbol_type {
    LTO_TYPE_UNKNOWN, /* the object's gcc did not say */
    LTO_TYPE_FUNCTION,
    LTO_TYPE_VARIABLE,
};

struct lto_symbol {
    const char *name;   /* borrowed from the object's bytes */
    const char *comdat; /* borrowed from the object's bytes; NULL: in no group */
    uint64_t size;      /* bytes; of a common symbol */
    enum lto_symbol_kind kind;
    enum lto_visibility visibility;
    enum lto_symbol_type type;
    bool is_bss; /* a variable that starts as zeroes */
};

struct lto_object {
    enum lto_kind kind;
    struct lto_symbol *symbols; /* borrowed from the arena given to lto_object_read; none for LTO_NONE */
    uint32_t symbol_count;
};

/* Sets *ret to what the ELF relocatable object `data` holds; names in it borrow from `data`, the array from
 * `arena`. `name` is for messages. Cost for an object without LTO: one look at each section's name. Errors:
 * FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *lto_object_read(struct span data, const char *name, struct arena *arena,
                                                 struct lto_object *ret);

/* One object to be compiled. */
struct lto_input {
    const char *path; /* the object's file; NULL: `data` is in an archive, and a file is written for the compiler */
    struct span data;
    const char *name; /* for messages and for the written file's name: "libx.a(y.o)" */
};

struct lto_opts {
    const char *const *compiler; /* command and leading arguments, NULL-terminated; NULL: gcc */
    const char *const *flags;    /* further arguments, NULL-terminated, for what LTO objects do not record, such
                                    as -ffixed-r15; NULL: none */
};

/* Has the compiler turn `inputs` (count > 0) into one ordinary relocatable object, and maps that to *ret, of
 * which no file remains (*ret's path is a name for messages); release it with file_close(). What the compiler
 * prints goes to stderr. A signal that ends the process (SIGINT, SIGTERM, SIGHUP) meanwhile takes effect
 * after the compiler is stopped and the temporary files are removed. Cost: a compiler run over all inputs.
 * Errors: IO, MEMORY, NOT_FOUND (no such compiler), UNSUPPORTED (the compiler failed). Not thread-safe: the
 * calling thread's signal mask changes meanwhile, and other threads must have those signals blocked. */
MUST_CHECK struct crateld_error *lto_compile(const struct lto_input *inputs, size_t count, const struct lto_opts *opts,
                                             struct file *ret);

#endif
