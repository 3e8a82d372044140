#define _GNU_SOURCE
#include "cli/compile_commands.h"

#include <string.h>

#include "base/file.h"
#include "cli/json.h"

void compile_commands_deinit(struct compile_commands *commands)
{
    arena_deinit(&commands->arena);
    free(commands->list.at);
}

const char *compile_path(struct arena *arena, const char *folder, const char *name)
{
    return *name == '/' ? name : arena_printf(arena, "%s/%s", folder, name);
}

/* What an entry says. */
struct entry {
    char *directory, *file, *command, *output;
    VEC(char *) words; /* owned; of the command */
};

static struct crateld_error *add_word(struct entry *entry, char *word)
{
    return VEC_PUSH(&entry->words, word) ? NULL : error_memory();
}

static struct crateld_error *read_arguments(struct json *json, struct entry *entry)
{
    bool is_first = true, is_there;
    TRY(json_take(json, '['));
    for (;;) {
        char *word;
        TRY(json_next(json, ']', &is_first, &is_there));
        if (!is_there)
            return NULL;
        TRY(json_string(json, &word));
        TRY(add_word(entry, word));
    }
}

/* Takes a word, quoted as for a shell, from *at; writes it over the text, which is never shorter. */
static bool take_word(char **at, char **ret)
{
    char *from = *at, *to, quote = 0;
    while (*from == ' ' || *from == '\t' || *from == '\n')
        from++;
    if (!*from)
        return false;
    *ret = to = from;
    for (; *from && (quote || !strchr(" \t\n", *from)); from++) {
        if (quote ? *from == quote : *from == '"' || *from == '\'')
            quote = quote ? 0 : *from;
        else if (*from == '\\' && quote != '\'' && from[1] && (!quote || strchr("\"\\$`", from[1])))
            *to++ = *++from;
        else
            *to++ = *from;
    }
    *at = *from ? from + 1 : from;
    *to = 0;
    return true;
}

/* Splits the command into words. They have no room for each other's NUL unless there is a blank behind each: there is.
 */
static struct crateld_error *split_command(struct entry *entry)
{
    char *at = entry->command, *word;
    while (take_word(&at, &word))
        TRY(add_word(entry, word));
    return NULL;
}

static struct crateld_error *read_member(struct json *json, struct entry *entry)
{
    const struct {
        const char *name;
        char **to;
    } members[] = {{"directory", &entry->directory},
                   {"file", &entry->file},
                   {"command", &entry->command},
                   {"output", &entry->output}};
    char *key;
    TRY(json_string(json, &key));
    TRY(json_take(json, ':'));
    if (!strcmp(key, "arguments"))
        return read_arguments(json, entry);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (!strcmp(key, members[i].name))
            return json_string(json, members[i].to);
    return json_skip(json);
}

/* The value of the option called `name` ("-o x", "-ox") at words[*i]; NULL if it is not that. */
static const char *option_value(const struct entry *entry, size_t *i, const char *name)
{
    const char *word = entry->words.at[*i];
    size_t length = strlen(name);
    if (strncmp(word, name, length) != 0)
        return NULL;
    if (word[length])
        return word + length;
    return *i + 1 < entry->words.count ? entry->words.at[++*i] : NULL;
}

/* `path` with another suffix. */
static const char *with_suffix(struct arena *arena, const char *path, const char *suffix)
{
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    int length = (int)(dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path));
    return arena_printf(arena, "%.*s%s", length, path, suffix);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What the words of a compiler's command say; ret->output stays NULL for one that makes no object. */
static struct crateld_error *read_words(struct arena *arena, const struct entry *entry, struct compile_command *ret)
{
    bool is_compiling = false, has_dependencies = false;
    const char *output = NULL, *depfile = NULL;
    ret->arguments = arena_alloc_array(arena, entry->words.count + 1, sizeof *ret->arguments);
    if (!ret->arguments)
        return error_memory();
    for (size_t i = 0; i < entry->words.count; i++) {
        const char *word = entry->words.at[i], *value;
        size_t first = i;
        if (word[0] == '-' && word[1] == 'o' && (value = option_value(entry, &i, "-o"))) {
            output = value;
            continue;
        }
        is_compiling |= !strcmp(word, "-c");
        has_dependencies |= !strcmp(word, "-MD") || !strcmp(word, "-MMD");
        ret->has_target |= !strncmp(word, "-MT", 3) || !strncmp(word, "-MQ", 3);
        if ((value = option_value(entry, &i, "-MF")))
            depfile = value;
        for (; first <= i; first++)
            ret->arguments[ret->count++] = entry->words.at[first];
    }
    if (!is_compiling)
        return NULL;
    if (entry->output)
        output = entry->output;
    if (!output)
        output = with_suffix(arena, file_name(entry->file), ".o");
    ret->has_depfile = depfile;
    if (has_dependencies && !depfile && output)
        depfile = with_suffix(arena, output, ".d");
    ret->directory = entry->directory;
    ret->file = compile_path(arena, entry->directory, entry->file);
    ret->output = output ? compile_path(arena, entry->directory, output) : NULL;
    ret->depfile = has_dependencies && depfile ? compile_path(arena, entry->directory, depfile) : NULL;
    return ret->file && ret->output && (!has_dependencies || ret->depfile) ? NULL : error_memory();
}

static struct crateld_error *finish_entry(struct json *json, struct entry *entry, struct compile_commands *commands)
{
    struct compile_command command = {0};
    if (!entry->directory || !entry->file || (!entry->command && !entry->words.count))
        return json_error(json, "an entry without 'directory', 'file', or both of 'command' and 'arguments'");
    if (!entry->words.count)
        TRY(split_command(entry));
    TRY(read_words(&commands->arena, entry, &command));
    if (command.output && !VEC_PUSH(&commands->list, command))
        return error_memory();
    return NULL;
}

static struct crateld_error *read_members(struct json *json, struct entry *entry)
{
    bool is_first = true, is_there;
    TRY(json_take(json, '{'));
    for (;;) {
        TRY(json_next(json, '}', &is_first, &is_there));
        if (!is_there)
            return NULL;
        TRY(read_member(json, entry));
    }
}

static struct crateld_error *read_entry(struct json *json, struct compile_commands *commands)
{
    struct entry entry = {0};
    struct crateld_error *error = read_members(json, &entry);
    if (!error)
        error = finish_entry(json, &entry, commands);
    free(entry.words.at);
    return error;
}

static struct crateld_error *read_entries(struct json *json, struct compile_commands *commands)
{
    bool is_first = true, is_there;
    TRY(json_take(json, '['));
    for (;;) {
        TRY(json_next(json, ']', &is_first, &is_there));
        if (!is_there)
            return json_peek(json) ? json_error(json, "more behind the list") : NULL;
        TRY(read_entry(json, commands));
    }
}

struct crateld_error *compile_commands_parse(const char *path, struct span text, struct compile_commands *ret)
{
    *ret = (struct compile_commands){0};
    arena_init(&ret->arena);
    struct json json = {.path = path, .arena = &ret->arena, .text = text};
    return read_entries(&json, ret);
}

struct crateld_error *compile_commands_read(const char *path, struct compile_commands *ret)
{
    struct file file = {0};
    struct crateld_error *error = file_open(path, &file);
    struct crateld_error *parse_error = compile_commands_parse(path, file.data, ret);
    file_close(&file);
    if (!error)
        return parse_error;
    crateld_error_destroy(parse_error);
    return error;
}
