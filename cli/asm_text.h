/* Assembly text in the syntax of GNU as for x86, taken apart into statements without changing a byte of it.
 *
 * A statement ends at a newline or a semicolon that is neither in a string nor in a comment. It may carry
 * labels in front, and is empty, a directive, an assignment or an instruction. Source: the manual of GNU as,
 * sections "Syntax" and "i386-Syntax". Any bytes may be read: what makes no sense comes out as a statement
 * with a strange name.
 */
#ifndef CLI_ASM_TEXT_H
#define CLI_ASM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a text; borrowed. */
struct asm_slice {
    const char *at;
    size_t size;
};

/* One statement; all parts point into the text. */
struct asm_statement {
    struct asm_slice text;     /* from its first byte (blanks included) up to its terminator or comment */
    struct asm_slice rest;     /* the terminator and the comment before it, up to the next statement */
    struct asm_slice labels;   /* "a: 1: " or empty; see asm_next_label() */
    struct asm_slice op;       /* mnemonic without prefixes, directive with its dot, or assigned symbol; may be empty */
    struct asm_slice operands; /* what follows `op`, trimmed */
    struct asm_slice comment;  /* what follows "#" up to the end of the line; empty if there is none */
    bool is_assignment;        /* "op = operands" */
    bool begins_line;          /* nothing but blanks stands before it on its line */
};

/* Where reading a text has come to. */
struct asm_reader {
    struct asm_slice text;
    size_t at;
};

/* Sets *ret to the next statement; false at the end. Statements follow each other without gaps. */
bool asm_next_statement(struct asm_reader *reader, struct asm_statement *ret);

/* Walks a statement's labels: start with `*cursor` = 0. Names come without colon and quotes. */
bool asm_next_label(const struct asm_statement *statement, size_t *cursor, struct asm_slice *ret);

/* Operand `index` (from 0) of operands that are separated by commas outside parentheses and strings, trimmed;
 * empty if there are fewer. */
struct asm_slice asm_operand(struct asm_slice operands, unsigned index);

/* How many operands there are. */
unsigned asm_operand_count(struct asm_slice operands);

/* `slice` without blanks and comments at its ends. */
struct asm_slice asm_trim(struct asm_slice slice);

/* Whether `slice` is, or begins with, `text`; and the same without regard to case, for mnemonics and
 * registers. */
bool asm_is(struct asm_slice slice, const char *text);
bool asm_begins(struct asm_slice slice, const char *text);
bool asm_is_word(struct asm_slice slice, const char *text);

/* Whether `op` is the mnemonic `text`, or that with an operand size suffix (b, w, l, q). */
bool asm_is_op(struct asm_slice op, const char *text);

/* Whether `slice` holds `text` anywhere. */
bool asm_holds(struct asm_slice slice, const char *text);

/* `slice` without its first `count` bytes, which it has. */
static inline struct asm_slice asm_skip(struct asm_slice slice, size_t count)
{
    return (struct asm_slice){slice.at + count, slice.size - count};
}

static inline bool asm_equal(struct asm_slice a, struct asm_slice b)
{
    return a.size == b.size && (!a.size || !__builtin_memcmp(a.at, b.at, a.size));
}

#endif
