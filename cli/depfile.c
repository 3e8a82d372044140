#include "cli/depfile.h"

#include <string.h>

#include "base/file.h"

void depfile_deinit(struct depfile *depfile)
{
    free(depfile->names.at);
}

/* Whether the text goes on in the next line: *size is of what stands for that. */
static bool is_joined(const char *at, size_t *size)
{
    *size = at[0] == '\\' && at[1] == '\n' ? 2 : at[0] == '\\' && at[1] == '\r' && at[2] == '\n' ? 3 : 0;
    return *size;
}

/* Goes over blanks; false at the end of the rule. */
static bool skip_blanks(const char **at)
{
    size_t size;
    for (;;) {
        if (**at == ' ' || **at == '\t')
            ++*at;
        else if (is_joined(*at, &size))
            *at += size;
        else
            return **at && **at != '\n' && **at != '\r';
    }
}

/* Takes a name: blanks and "#" in it have a backslash before them, "$" is "$$". */
static bool take_name(const char **at, struct arena *arena, char **ret)
{
    size_t size;
    const char *from = *at;
    char *to = *ret = arena_strndup(arena, from, strcspn(from, "\n"));
    if (!to)
        return false;
    while (*from && !strchr(" \t\r\n", *from) && !is_joined(from, &size)) {
        if (from[0] == '\\' && from[1] && strchr(" #\\", from[1]))
            from++;
        else if (from[0] == '$' && from[1] == '$')
            from++;
        *to++ = *from++;
    }
    *to = 0;
    *at = from;
    return true;
}

/* Where the prerequisites begin: behind the colon that ends the targets. */
static const char *find_prerequisites(const char *text)
{
    while (*text && *text != '\n' && !(*text == ':' && (!text[1] || strchr(" \t\r\n\\", text[1]))))
        text += text[0] == '\\' && text[1] ? 2 : 1;
    return *text == ':' ? text + 1 : NULL;
}

struct crateld_error *depfile_parse(struct span bytes, struct arena *arena, struct depfile *ret)
{
    *ret = (struct depfile){0};
    char *text = arena_strndup(arena, bytes.size ? (const char *)bytes.data : "", bytes.size);
    if (!text)
        return error_memory();
    for (const char *at = find_prerequisites(text); at && skip_blanks(&at);) {
        char *name;
        if (!take_name(&at, arena, &name) || !VEC_PUSH(&ret->names, name))
            return error_memory();
    }
    return NULL;
}

struct crateld_error *depfile_read(const char *path, struct arena *arena, struct depfile *ret)
{
    struct file_bytes bytes = {0};
    *ret = (struct depfile){0};
    struct crateld_error *error = file_read(path, &bytes);
    if (!error)
        error = depfile_parse((struct span){bytes.at, bytes.size}, arena, ret);
    free(bytes.at);
    return error;
}
