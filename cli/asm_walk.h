/* Walking through assembly text that a compiler wrote: which section, file and line a statement belongs to,
 * and whether it comes from an asm in the source (between #APP and #NO_APP).
 */
#ifndef CLI_ASM_WALK_H
#define CLI_ASM_WALK_H

#include "base/error.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "cli/asm_text.h"

struct asm_section {
    struct asm_slice name;
    struct asm_slice group; /* signature of its section group; empty: none */
    struct asm_slice flags; /* as given, in quotes; empty: by name */
    bool is_code;
};

/* The sections of one text. Several walks over the text may share them: sections keep their numbers. */
struct asm_sections {
    VEC(struct asm_section) list;
    struct hash_index index; /* over list, by name and group */
};

/* Sections a directive comes back to. */
struct asm_section_place {
    uint32_t current;
    uint32_t previous;
};

struct asm_walk {
    struct asm_reader reader;
    struct asm_sections *sections; /* borrowed */
    struct asm_statement statement;
    struct asm_section_place place;
    VEC(struct asm_section_place) pushed;
    bool is_app;           /* the statement was written in an asm of the source */
    bool is_intel;         /* Intel's syntax is on */
    unsigned macro_depth;  /* of .macro definitions: their bodies are not executed here */
    struct asm_slice file; /* as in `.file "name"`, and within asm as the compiler's marker says */
    unsigned line;         /* of an asm's statement; 0: not known */
    bool at_marker;        /* the statement is the compiler's marker that told `line` */
    struct asm_slice main_file;
};

void asm_sections_init(struct asm_sections *sections);
void asm_sections_deinit(struct asm_sections *sections);

/* Begins a walk through `text`, which stays borrowed. Error: MEMORY. */
MUST_CHECK struct crateld_error *asm_walk_init(struct asm_walk *walk, struct asm_slice text,
                                               struct asm_sections *sections);
void asm_walk_deinit(struct asm_walk *walk);

/* Moves on to the next statement, walk->statement; *ret is false at the end. The directives of a statement
 * take effect on those behind it. Error: MEMORY. */
MUST_CHECK struct crateld_error *asm_walk_next(struct asm_walk *walk, bool *ret);

/* The section that the statement stands in. */
static inline const struct asm_section *asm_walk_section(const struct asm_walk *walk)
{
    return &walk->sections->list.at[walk->place.current];
}

/* Whether the statement switches to a section of the name of section `number`. */
bool asm_walk_names_section(const struct asm_walk *walk, uint32_t number);

/* Whether the statement is a directive, or empty but for labels. */
static inline bool asm_is_directive(const struct asm_statement *statement)
{
    return !statement->op.size || statement->op.at[0] == '.' || statement->is_assignment;
}

#endif
