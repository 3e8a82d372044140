/* Words, quoted words and punctuation of the linker's text inputs, with their places for messages. */
#ifndef LINKER_SCRIPT_LEXER_H
#define LINKER_SCRIPT_LEXER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/span.h"

enum script_token_kind {
    SCRIPT_END,
    SCRIPT_WORD,
    SCRIPT_QUOTED,      /* "..." ; the text is without the quotes */
    SCRIPT_PUNCTUATION, /* one character */
};

struct script_token {
    const char *text; /* borrowed from the script; not NUL-terminated */
    size_t length;
    size_t off; /* of the token in the script */
    enum script_token_kind kind;
};

struct script_lexer {
    struct span text;        /* borrowed */
    const char *path;        /* borrowed; for messages */
    const char *punctuation; /* characters that are tokens of their own; a "::" is part of a word always */
    bool has_hash_comments;  /* '#' starts a comment that ends with the line, besides C comments */
    size_t off;
};

/* Reads the next token. Errors: FORMAT for an open comment or quote, and for bytes that are no text. */
MUST_CHECK struct crateld_error *script_lexer_next(struct script_lexer *lexer, struct script_token *ret);

/* Reads the next token, which must be the punctuation character `wanted`. Errors: FORMAT. */
MUST_CHECK struct crateld_error *script_lexer_expect(struct script_lexer *lexer, char wanted);

/* Whether `token` is the unquoted word, or the punctuation character, `text`. */
bool script_token_is(const struct script_token *token, const char *text);

/* Puts "path:line:column: ", the place of byte `off`, before the message of `error`, which it takes over. */
ALWAYS_FAILS struct crateld_error *script_lexer_place(const struct script_lexer *lexer, size_t off,
                                                      struct crateld_error *error);

/* An error "path:line:column: <formatted>" at byte `off`. */
#define script_lexer_error(lexer, off, code, ...)                                                                      \
    error_made(script_lexer_place((lexer), (off), error_create((code), __VA_ARGS__)))

/* An error "path:line:column: found '<token>', wanted <wanted>". */
MUST_CHECK struct crateld_error *script_lexer_unexpected(const struct script_lexer *lexer,
                                                         const struct script_token *token, const char *wanted);

#endif
