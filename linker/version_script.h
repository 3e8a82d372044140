/* Which symbols are exported: version scripts, dynamic lists and single patterns, all asked in one place.
 *
 * Rules as GNU ld's (bfd/linker.c, bfd_find_version_for_sym): an exact name beats a pattern, a pattern beats
 * the lone `*`, and global beats local among equals. Versions themselves are not kept: exports of crates have
 * none. Quoted names are exact. Names within `extern "C++"` are compared with the demangled symbol.
 */
#ifndef LINKER_VERSION_SCRIPT_H
#define LINKER_VERSION_SCRIPT_H

#include "base/error.h"
#include "base/span.h"

enum version_scope {
    VERSION_UNSPECIFIED, /* nothing matches: the symbol's visibility decides */
    VERSION_GLOBAL,
    VERSION_LOCAL,
};

struct version_script;

/* An empty script, for which every symbol is unspecified. Errors: MEMORY. */
MUST_CHECK struct crateld_error *version_script_create(struct version_script **ret);

/* Releases; NULL is allowed. */
void version_script_destroy(struct version_script *script);

/* Adds the nodes of a `--version-script` file; `path` is for messages. May be called for several files.
 * Errors: FORMAT with line and column, MEMORY; the script may then only be destroyed. */
MUST_CHECK struct crateld_error *version_script_add(struct version_script *script, struct span text, const char *path);

/* Adds a `--dynamic-list` file: `{ name; pattern*; extern "C++" { ... }; };`, all global. Errors as above. */
MUST_CHECK struct crateld_error *version_script_add_dynamic_list(struct version_script *script, struct span text,
                                                                 const char *path);

/* Adds one name or pattern, as `--export` gives it, to the global ones. Errors: MEMORY. */
MUST_CHECK struct crateld_error *version_script_add_export(struct version_script *script, const char *pattern);

/* What the script says of the symbol `name`. Cost: a hash probe when the script holds exact C names only;
 * else one fnmatch per pattern, and one demangling if there are C++ names. Without memory for demangling, C++
 * names do not match. Thread-safe as long as nothing is added. */
enum version_scope version_script_scope(const struct version_script *script, const char *name);

/* Calls `visit` with every exact C name that the script makes global, in the order of addition; used to
 * report exports that nothing defines. */
void version_script_each_exact_global(const struct version_script *script,
                                      void (*visit)(const char *name, void *context), void *context);

#endif
