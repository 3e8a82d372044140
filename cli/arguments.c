#include "cli/arguments.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_DEPTH = 32 };

static struct crateld_error *add(struct arguments *arguments, char *text)
{
    if (!vec_grow((void **)&arguments->at, &arguments->capacity, (size_t)arguments->count, 2, sizeof *arguments->at))
        return error_memory();
    arguments->at[arguments->count++] = text;
    arguments->at[arguments->count] = NULL;
    return NULL;
}

/* Takes one word off the front of `text`, whose quotes and backslashes are undone in a copy; NULL in *ret at
 * the end. */
static struct crateld_error *next_word(struct arguments *arguments, struct span *text, char **ret)
{
    size_t at = 0, length = 0;
    char quote = 0;
    while (at < text->size && isspace(text->data[at]))
        at++;
    *ret = NULL;
    if (at == text->size) {
        *text = span_from(*text, at);
        return NULL;
    }
    char *word = arena_alloc(&arguments->arena, text->size - at + 1);
    if (!word)
        return error_memory();
    for (; at < text->size && (quote || !isspace(text->data[at])); at++) {
        char c = (char)text->data[at];
        if (c == '\\' && quote != '\'' && at + 1 < text->size)
            word[length++] = (char)text->data[++at];
        else if (quote ? c == quote : c == '"' || c == '\'')
            quote = quote ? 0 : c;
        else
            word[length++] = c;
    }
    word[length] = 0;
    *text = span_from(*text, at);
    *ret = word;
    return NULL;
}

static struct crateld_error *expand(struct arguments *arguments, char *argument, int depth)
{
    if (argument[0] != '@' || !argument[1] || access(argument + 1, R_OK) < 0)
        return add(arguments, argument);
    if (depth > MAX_DEPTH)
        return error_create(CRATELD_ERROR_FORMAT, "%s: files of arguments name each other more than %d deep",
                            argument + 1, MAX_DEPTH);
    struct file file;
    TRY(file_open(argument + 1, &file));
    struct span text = file.data;
    struct crateld_error *error = NULL;
    while (!error) {
        char *word;
        error = next_word(arguments, &text, &word);
        if (error || !word)
            break;
        error = expand(arguments, word, depth + 1);
    }
    file_close(&file);
    return error;
}

struct crateld_error *arguments_expand(int argc, char **argv, struct arguments *ret)
{
    *ret = (struct arguments){0};
    arena_init(&ret->arena);
    struct crateld_error *error = NULL;
    for (int i = 0; i < argc && !error; i++)
        error = expand(ret, argv[i], 0);
    if (error)
        arguments_deinit(ret);
    return error;
}

void arguments_deinit(struct arguments *arguments)
{
    free(arguments->at);
    arena_deinit(&arguments->arena);
    *arguments = (struct arguments){0};
}
