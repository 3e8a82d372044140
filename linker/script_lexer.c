#define _GNU_SOURCE
#include "linker/script_lexer.h"

#include <string.h>

enum { SHOWN_TOKEN_MAX = 60 }; /* bytes of a token in a message */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* Whether `byte` can not stand in text. */
static bool is_control(uint8_t byte)
{
    return (byte < ' ' && !is_blank(byte)) || byte == 0x7f;
}

static bool starts_with(const struct script_lexer *lexer, const char *text)
{
    size_t length = strlen(text);
    return span_has(lexer->text, lexer->off, length) && memcmp(lexer->text.data + lexer->off, text, length) == 0;
}

/* Skips blanks and comments. */
static struct crateld_error *skip_blanks(struct script_lexer *lexer)
{
    struct span text = lexer->text;
    while (lexer->off < text.size) {
        if (is_blank(text.data[lexer->off])) {
            lexer->off++;
        } else if (lexer->has_hash_comments && text.data[lexer->off] == '#') {
            while (lexer->off < text.size && text.data[lexer->off] != '\n')
                lexer->off++;
        } else if (starts_with(lexer, "/*")) {
            struct span rest = span_from(text, lexer->off + 2);
            const uint8_t *end = rest.size ? memmem(rest.data, rest.size, "*/", 2) : NULL;
            if (!end)
                return script_lexer_error(lexer, lexer->off, CRATELD_ERROR_FORMAT, "the comment has no end");
            lexer->off = (size_t)(end - text.data) + 2;
        } else {
            break;
        }
    }
    return NULL;
}

static bool is_punctuation(const struct script_lexer *lexer, uint8_t byte)
{
    return byte && strchr(lexer->punctuation, byte);
}

/* Moves behind the word that starts at the current place. */
static void skip_word(struct script_lexer *lexer)
{
    while (lexer->off < lexer->text.size) {
        uint8_t byte = lexer->text.data[lexer->off];
        if (starts_with(lexer, "::"))
            lexer->off += 2;
        else if (is_blank(byte) || is_control(byte) || byte == '"' || is_punctuation(lexer, byte))
            return;
        else
            lexer->off++;
    }
}

struct crateld_error *script_lexer_next(struct script_lexer *lexer, struct script_token *ret)
{
    TRY(skip_blanks(lexer));
    size_t start = lexer->off, open = 0;
    if (start == lexer->text.size) {
        *ret = (struct script_token){"", 0, start, SCRIPT_END};
        return NULL;
    }
    const char *text = (const char *)lexer->text.data + start;
    enum script_token_kind kind = SCRIPT_WORD;
    if (*text == '"') {
        const char *end = memchr(text + 1, '"', lexer->text.size - start - 1);
        if (!end || memchr(text, '\n', (size_t)(end - text)) || memchr(text, 0, (size_t)(end - text)))
            return script_lexer_error(lexer, start, CRATELD_ERROR_FORMAT, "the quote has no end in its line");
        lexer->off = (size_t)(end + 1 - (const char *)lexer->text.data);
        kind = SCRIPT_QUOTED;
        open = 1;
    } else {
        skip_word(lexer);
        if (lexer->off == start && is_control((uint8_t)*text))
            return script_lexer_error(lexer, start, CRATELD_ERROR_FORMAT, "byte 0x%02x is no text", (uint8_t)*text);
        if (lexer->off == start) {
            lexer->off++;
            kind = SCRIPT_PUNCTUATION;
        }
    }
    *ret = (struct script_token){text + open, lexer->off - start - 2 * open, start, kind};
    return NULL;
}

bool script_token_is(const struct script_token *token, const char *text)
{
    return (token->kind == SCRIPT_WORD || token->kind == SCRIPT_PUNCTUATION) && token->length == strlen(text) &&
           memcmp(token->text, text, token->length) == 0;
}

struct crateld_error *script_lexer_expect(struct script_lexer *lexer, char wanted)
{
    struct script_token token;
    TRY(script_lexer_next(lexer, &token));
    if (token.kind == SCRIPT_PUNCTUATION && token.text[0] == wanted)
        return NULL;
    char text[] = {'\'', wanted, '\'', 0};
    return script_lexer_unexpected(lexer, &token, text);
}

struct crateld_error *script_lexer_place(const struct script_lexer *lexer, size_t off, struct crateld_error *error)
{
    size_t line = 1, line_off = 0;
    for (size_t i = 0; i < off && i < lexer->text.size; i++) {
        if (lexer->text.data[i] == '\n') {
            line++;
            line_off = i + 1;
        }
    }
    return error_prefix(error, "%s:%zu:%zu", lexer->path, line, off - line_off + 1);
}

struct crateld_error *script_lexer_unexpected(const struct script_lexer *lexer, const struct script_token *token,
                                              const char *wanted)
{
    if (token->kind == SCRIPT_END)
        return script_lexer_error(lexer, token->off, CRATELD_ERROR_FORMAT, "found the end, wanted %s", wanted);
    int length = token->length < SHOWN_TOKEN_MAX ? (int)token->length : SHOWN_TOKEN_MAX;
    return script_lexer_error(lexer, token->off, CRATELD_ERROR_FORMAT, "found '%.*s', wanted %s", length, token->text,
                              wanted);
}
