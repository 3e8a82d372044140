#define _GNU_SOURCE
#include "cli/asm_text.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_symbol_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '$' || c == '@' || c == '?' || c == '\\' || (unsigned char)c >= 0x80;
}

/* The offset behind the string that begins at `at`; strings may span lines. */
static size_t skip_string(struct asm_slice text, size_t at)
{
    for (at++; at < text.size; at++) {
        if (text.at[at] == '\\')
            at++;
        else if (text.at[at] == '"')
            return at + 1;
    }
    return text.size;
}

static bool at_block_comment(struct asm_slice text, size_t at)
{
    return text.size - at >= 2 && text.at[at] == '/' && text.at[at + 1] == '*';
}

/* The offset behind the block comment that begins at `at`. */
static size_t skip_block_comment(struct asm_slice text, size_t at)
{
    const char *end = memmem(text.at + at + 2, text.size - at - 2, "*/", 2);
    return end ? (size_t)(end - text.at) + 2 : text.size;
}

/* The offset behind what stands at `at` and is to be taken as a whole: string, block comment, character
 * constant ('c or '\c, the closing quote being optional), or any single character. */
static size_t skip_unit(struct asm_slice text, size_t at)
{
    if (text.at[at] == '"')
        return skip_string(text, at);
    if (at_block_comment(text, at))
        return skip_block_comment(text, at);
    if (text.at[at] != '\'' || at + 1 == text.size || text.at[at + 1] == '\n')
        return at + 1;
    at++;
    if (text.at[at] == '\\' && at + 1 < text.size && text.at[at + 1] != '\n')
        at++;
    return at + 1;
}

static size_t skip_blanks(struct asm_slice text, size_t at)
{
    while (at < text.size) {
        if (is_blank(text.at[at]))
            at++;
        else if (at_block_comment(text, at))
            at = skip_block_comment(text, at);
        else
            break;
    }
    return at;
}

static struct asm_slice part(struct asm_slice text, size_t begin, size_t end)
{
    return (struct asm_slice){text.at + begin, end - begin};
}

/* The offset behind the label that begins at `at`, its name in *ret; 0 if there is none. */
static size_t read_label(struct asm_slice text, size_t at, struct asm_slice *ret)
{
    size_t begin = at;
    if (at < text.size && text.at[at] == '"') {
        at = skip_string(text, at);
        *ret = at - begin >= 2 ? part(text, begin + 1, at - 1) : part(text, begin, at);
    } else {
        while (at < text.size && is_symbol_char(text.at[at]))
            at++;
        *ret = part(text, begin, at);
    }
    if (at == begin)
        return 0;
    at = skip_blanks(text, at);
    return at < text.size && text.at[at] == ':' ? at + 1 : 0;
}

bool asm_next_label(const struct asm_statement *statement, size_t *cursor, struct asm_slice *ret)
{
    size_t end = read_label(statement->labels, skip_blanks(statement->labels, *cursor), ret);
    if (!end)
        return false;
    *cursor = end;
    return true;
}

/* Prefixes, which stand as words of their own before a mnemonic. */
static bool is_prefix(struct asm_slice word)
{
    static const char *const prefixes[] = {
        "rep", "repe", "repz", "repne", "repnz",  "lock",   "notrack", "bnd",    "xacquire", "xrelease", "cs",  "ds",
        "es",  "fs",   "gs",   "ss",    "addr16", "addr32", "data16",  "data32", "rex",      "rex64",    "wait"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (asm_is_word(word, prefixes[i]))
            return true;
    return word.size > 4 && !strncasecmp(word.at, "rex.", 4);
}

/* The word at `at`, blanks skipped; a pseudo prefix in braces counts as one. */
static struct asm_slice read_word(struct asm_slice text, size_t at)
{
    size_t end = at;
    if (at < text.size && text.at[at] == '{') {
        const char *close = memchr(text.at + at, '}', text.size - at);
        return part(text, at, close ? (size_t)(close - text.at) + 1 : text.size);
    }
    while (end < text.size && is_symbol_char(text.at[end]))
        end++;
    return part(text, at, end);
}

/* Finds labels, mnemonic and operands in statement->text. */
static void parse_statement(struct asm_statement *statement)
{
    struct asm_slice text = statement->text, name;
    size_t at = skip_blanks(text, 0), end;
    size_t begin = at;
    while ((end = read_label(text, at, &name)))
        at = skip_blanks(text, end);
    statement->labels = part(text, begin, at);

    struct asm_slice word = read_word(text, at);
    for (;;) {
        at = skip_blanks(text, (size_t)(word.at - text.at) + word.size);
        if (at == text.size || !(is_prefix(word) || (word.size && word.at[0] == '{')))
            break;
        struct asm_slice next = read_word(text, at);
        if (!next.size)
            break;
        word = next;
    }
    statement->op = word;
    statement->is_assignment = at < text.size && text.at[at] == '=' && word.size;
    if (statement->is_assignment)
        at++;
    statement->operands = asm_trim(part(text, at, text.size));
}

bool asm_next_statement(struct asm_reader *reader, struct asm_statement *ret)
{
    struct asm_slice text = reader->text;
    size_t begin = reader->at, at = begin;
    if (begin >= text.size)
        return false;
    *ret = (struct asm_statement){.begins_line = begin == 0 || text.at[begin - 1] == '\n'};
    size_t first = begin;
    while (first < text.size && is_blank(text.at[first]))
        first++;
    while (at < text.size && text.at[at] != '\n' && text.at[at] != ';' && text.at[at] != '#') {
        /* A slash is a comment where a line begins, an operator elsewhere. */
        if (text.at[at] == '/' && at == first && ret->begins_line && !at_block_comment(text, at))
            break;
        at = skip_unit(text, at);
    }
    ret->text = part(text, begin, at);
    size_t end = at;
    if (at < text.size && (text.at[at] == '#' || text.at[at] == '/')) {
        const char *newline = memchr(text.at + at, '\n', text.size - at);
        end = newline ? (size_t)(newline - text.at) : text.size;
        ret->comment = part(text, at + 1, end);
    }
    if (end < text.size)
        end++;
    ret->rest = part(text, at, end);
    reader->at = end;
    parse_statement(ret);
    return true;
}

struct asm_slice asm_trim(struct asm_slice slice)
{
    slice = asm_skip(slice, skip_blanks(slice, 0));
    size_t end = 0; /* of the last thing that is neither blank nor comment */
    for (size_t at = 0; at < slice.size;) {
        size_t next = skip_blanks(slice, at);
        if (next == at)
            end = next = skip_unit(slice, at);
        at = next;
    }
    slice.size = end;
    return slice;
}

/* The offset of the comma that ends the operand at `at`, or the end. */
static size_t operand_end(struct asm_slice operands, size_t at)
{
    unsigned depth = 0;
    while (at < operands.size) {
        char c = operands.at[at];
        if (c == ',' && !depth)
            break;
        if (c == '(' || c == '[')
            depth++;
        else if ((c == ')' || c == ']') && depth)
            depth--;
        at = skip_unit(operands, at);
    }
    return at;
}

struct asm_slice asm_operand(struct asm_slice operands, unsigned index)
{
    size_t at = 0;
    for (;;) {
        size_t end = operand_end(operands, at);
        if (!index--)
            return asm_trim(part(operands, at, end));
        if (end == operands.size)
            return (struct asm_slice){operands.at + end, 0};
        at = end + 1;
    }
}

unsigned asm_operand_count(struct asm_slice operands)
{
    unsigned count = 0;
    for (size_t at = 0; at < operands.size; count++) {
        at = operand_end(operands, at);
        if (at < operands.size)
            at++;
    }
    return count;
}

bool asm_is(struct asm_slice slice, const char *text)
{
    return slice.size == strlen(text) && !memcmp(slice.at, text, slice.size);
}

bool asm_begins(struct asm_slice slice, const char *text)
{
    size_t size = strlen(text);
    return slice.size >= size && !memcmp(slice.at, text, size);
}

bool asm_is_word(struct asm_slice slice, const char *text)
{
    return slice.size == strlen(text) && !strncasecmp(slice.at, text, slice.size);
}

bool asm_is_op(struct asm_slice op, const char *text)
{
    size_t size = strlen(text);
    if (op.size < size || op.size > size + 1 || strncasecmp(op.at, text, size))
        return false;
    return op.size == size || strchr("bwlqBWLQ", op.at[size]);
}

bool asm_holds(struct asm_slice slice, const char *text)
{
    return memmem(slice.at, slice.size, text, strlen(text)) != NULL;
}
