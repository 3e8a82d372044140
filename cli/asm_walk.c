#define _GNU_SOURCE
#include "cli/asm_walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void asm_sections_init(struct asm_sections *sections)
{
    *sections = (struct asm_sections){0};
    hash_index_init(&sections->index);
}

void asm_sections_deinit(struct asm_sections *sections)
{
    free(sections->list.at);
    hash_index_deinit(&sections->index);
}

/* Whether a section of this name holds code when no flags say so. */
static bool is_code_name(struct asm_slice name)
{
    return asm_is(name, ".text") || asm_begins(name, ".text.") || asm_is(name, ".init") || asm_is(name, ".fini");
}

/* Sets *ret to the number of the section `name` in `group`, which is entered if it is new; `is_code` is NULL
 * where no flags were given. */
static struct crateld_error *enter_section(struct asm_sections *sections, struct asm_section section, uint32_t *ret)
{
    uint64_t hash = hash_bytes(section.name.at, section.name.size);
    size_t cursor = 0;
    uint32_t number, found = HASH_INDEX_NONE;
    while ((number = hash_index_next(&sections->index, hash, &cursor)) != HASH_INDEX_NONE) {
        const struct asm_section *other = &sections->list.at[number];
        if (!asm_equal(other->name, section.name))
            continue;
        if (asm_equal(other->group, section.group)) {
            *ret = number;
            return NULL;
        }
        found = number;
    }
    if (!section.flags.size && found != HASH_INDEX_NONE) {
        *ret = found;
        return NULL;
    }
    if (sections->list.count >= HASH_INDEX_NONE || !hash_index_add(&sections->index, hash) ||
        !VEC_PUSH(&sections->list, section))
        return error_memory();
    *ret = (uint32_t)sections->list.count - 1;
    return NULL;
}

/* A section that is given by its name alone. */
static struct asm_section plain_section(struct asm_slice name)
{
    return (struct asm_section){.name = name, .is_code = is_code_name(name)};
}

/* `"text"` without its quotes. */
static struct asm_slice unquote(struct asm_slice slice)
{
    if (slice.size >= 2 && slice.at[0] == '"' && slice.at[slice.size - 1] == '"')
        return (struct asm_slice){slice.at + 1, slice.size - 2};
    return slice;
}

/* The section that `.section operands` names. Behind flags and type stand, as the flags say, an entry size
 * (M), a linked-to section (o) and a group (G). */
static struct crateld_error *section_of_operands(struct asm_sections *sections, struct asm_slice operands,
                                                 uint32_t *ret)
{
    struct asm_section section = plain_section(unquote(asm_operand(operands, 0)));
    struct asm_slice flags = asm_operand(operands, 1);
    if (flags.size < 2 || flags.at[0] != '"')
        return enter_section(sections, section, ret);
    section.flags = flags;
    section.is_code = memchr(flags.at, 'x', flags.size) != NULL;
    if (memchr(flags.at, 'G', flags.size)) {
        unsigned index = 3;
        index += memchr(flags.at, 'M', flags.size) != NULL;
        index += memchr(flags.at, 'o', flags.size) != NULL;
        section.group = unquote(asm_operand(operands, index));
    }
    return enter_section(sections, section, ret);
}

/* The directives that change the section; `.subsection` stays within it. */
static struct crateld_error *apply_section_directive(struct asm_walk *walk)
{
    const struct asm_statement *statement = &walk->statement;
    struct asm_slice op = statement->op;
    uint32_t current = walk->place.current;
    if (asm_is_word(op, ".pushsection") && !VEC_PUSH(&walk->pushed, walk->place))
        return error_memory();
    if (asm_is_word(op, ".section") || asm_is_word(op, ".pushsection")) {
        TRY(section_of_operands(walk->sections, statement->operands, &walk->place.current));
    } else if (asm_is_word(op, ".text") || asm_is_word(op, ".data") || asm_is_word(op, ".bss")) {
        TRY(enter_section(walk->sections, plain_section(op), &walk->place.current));
    } else if (asm_is_word(op, ".previous")) {
        walk->place.current = walk->place.previous;
    } else if (asm_is_word(op, ".popsection")) {
        if (walk->pushed.count)
            walk->place = walk->pushed.at[--walk->pushed.count];
        return NULL;
    } else {
        return NULL;
    }
    walk->place.previous = current;
    return NULL;
}

bool asm_walk_names_section(const struct asm_walk *walk, uint32_t number)
{
    const struct asm_statement *statement = &walk->statement;
    struct asm_slice name = walk->sections->list.at[number].name;
    if (asm_is_word(statement->op, ".text"))
        return asm_is(name, ".text");
    return asm_is_word(statement->op, ".section") && asm_equal(unquote(asm_operand(statement->operands, 0)), name);
}

/* What the statement before this one changes. */
static struct crateld_error *apply_statement(struct asm_walk *walk)
{
    const struct asm_statement *statement = &walk->statement;
    struct asm_slice op = statement->op;
    if (walk->line && !walk->at_marker && statement->rest.size &&
        memchr(statement->rest.at, '\n', statement->rest.size))
        walk->line++;
    if (!op.size || op.at[0] != '.' || statement->is_assignment)
        return NULL;
    if (asm_is_word(op, ".macro"))
        walk->macro_depth++;
    else if (walk->macro_depth && (asm_is_word(op, ".endm") || asm_is_word(op, ".endmacro")))
        walk->macro_depth--;
    if (walk->macro_depth)
        return NULL;
    if (asm_is_word(op, ".intel_syntax"))
        walk->is_intel = true;
    else if (asm_is_word(op, ".att_syntax"))
        walk->is_intel = false;
    else if (asm_is_word(op, ".file") && asm_operand_count(statement->operands) == 1 && !walk->main_file.size &&
             statement->operands.at[0] == '"')
        walk->file = walk->main_file = unquote(statement->operands);
    return apply_section_directive(walk);
}

/* The compiler's marker within an asm, `# 25 "file.c" 1`, tells the place of the next line; `# 0 "" 2` ends
 * it. */
static void apply_marker(struct asm_walk *walk, struct asm_slice comment)
{
    unsigned line = 0;
    size_t at = 0;
    while (at < comment.size && comment.at[at] == ' ')
        at++;
    for (; at < comment.size && comment.at[at] >= '0' && comment.at[at] <= '9' && line < 100000000; at++)
        line = line * 10 + (unsigned)(comment.at[at] - '0');
    const char *open = memchr(comment.at, '"', comment.size);
    const char *close = memrchr(comment.at, '"', comment.size);
    if (at == 0 || !open || open == close)
        return;
    walk->line = line;
    walk->at_marker = true;
    walk->file = line ? (struct asm_slice){open + 1, (size_t)(close - open) - 1} : walk->main_file;
}

static void apply_comment(struct asm_walk *walk)
{
    const struct asm_statement *statement = &walk->statement;
    walk->at_marker = false;
    if (!statement->begins_line || statement->text.size || !statement->comment.size)
        return;
    if (asm_begins(statement->comment, "NO_APP")) {
        walk->is_app = false;
        walk->line = 0;
        walk->file = walk->main_file;
    } else if (asm_begins(statement->comment, "APP")) {
        walk->is_app = true;
    } else if (walk->is_app && statement->comment.at[0] == ' ') {
        apply_marker(walk, statement->comment);
    }
}

struct crateld_error *asm_walk_init(struct asm_walk *walk, struct asm_slice text, struct asm_sections *sections)
{
    static const char dot_text[] = ".text";
    *walk = (struct asm_walk){.reader.text = text, .sections = sections};
    TRY(enter_section(sections, plain_section((struct asm_slice){dot_text, strlen(dot_text)}), &walk->place.current));
    walk->place.previous = walk->place.current;
    return NULL;
}

void asm_walk_deinit(struct asm_walk *walk)
{
    free(walk->pushed.at);
}

struct crateld_error *asm_walk_next(struct asm_walk *walk, bool *ret)
{
    TRY(apply_statement(walk));
    if (!asm_next_statement(&walk->reader, &walk->statement)) {
        *ret = false;
        return NULL;
    }
    apply_comment(walk);
    *ret = true;
    return NULL;
}
