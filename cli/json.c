#include "cli/json.h"

#include <stdint.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

struct crateld_error *json_error(const struct json *json, const char *text)
{
    size_t line = 1;
    for (size_t i = 0; i < json->at && i < json->text.size; i++)
        line += json->text.data[i] == '\n';
    return error_create(CRATELD_ERROR_FORMAT, "%s:%zu: %s", json->path, line, text);
}

char json_peek(struct json *json)
{
    while (json->at < json->text.size && strchr(" \t\r\n", json->text.data[json->at]) && json->text.data[json->at])
        json->at++;
    return json->at < json->text.size ? (char)json->text.data[json->at] : 0;
}

struct crateld_error *json_take(struct json *json, char wanted)
{
    char text[] = "wanted ' '";
    text[sizeof text - 3] = wanted;
    if (json_peek(json) != wanted)
        return json_error(json, text);
    json->at++;
    return NULL;
}

struct crateld_error *json_next(struct json *json, char close, bool *is_first, bool *ret)
{
    bool is_end = json_peek(json) == close;
    if (is_end)
        json->at++;
    else if (!*is_first)
        TRY(json_take(json, ','));
    *is_first = false;
    *ret = !is_end;
    return NULL;
}

/* Four hexadecimal digits. */
static struct crateld_error *take_hex(struct json *json, uint32_t *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int byte = json->at < json->text.size ? json->text.data[json->at] : 0;
        const char *digit = byte ? strchr(digits, byte | ('A' <= byte && byte <= 'F' ? 0x20 : 0)) : NULL;
        if (!digit)
            return json_error(json, "wanted four hexadecimal digits");
        value = value << 4 | (uint32_t)(digit - digits);
        json->at++;
    }
    *ret = value;
    return NULL;
}

static char *put_utf8(char *to, uint32_t code)
{
    static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *to++ = (char)(leads[more] | code >> 6 * more);
    for (; more > 0; more--)
        *to++ = (char)(0x80 | (code >> 6 * (more - 1) & 0x3f));
    return to;
}

/* What is behind "\u": a character, or the first half of a pair. */
static struct crateld_error *take_code(struct json *json, uint32_t *ret)
{
    uint32_t low = 0;
    TRY(take_hex(json, ret));
    if (!*ret)
        return json_error(json, "a string with NUL");
    if (*ret >> 11 != 0xd800 >> 11)
        return NULL;
    if (*ret >= 0xdc00 || json->text.size - json->at < 2 || memcmp(json->text.data + json->at, "\\u", 2) != 0)
        return json_error(json, "half of a surrogate pair");
    json->at += 2;
    TRY(take_hex(json, &low));
    if (low >> 10 != 0xdc00 >> 10)
        return json_error(json, "half of a surrogate pair");
    *ret = 0x10000 + ((*ret & 0x3ff) << 10 | (low & 0x3ff));
    return NULL;
}

static struct crateld_error *take_escape(struct json *json, char **to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char name = json->at < json->text.size ? (char)json->text.data[json->at++] : 0;
    const char *known = name ? strchr(names, name) : NULL;
    uint32_t code = known ? (uint32_t)values[known - names] : 0;
    if (name == 'u')
        TRY(take_code(json, &code));
    else if (!known)
        return json_error(json, "an unknown escape in a string");
    *to = put_utf8(*to, code);
    return NULL;
}

struct crateld_error *json_string(struct json *json, char **ret)
{
    TRY(json_take(json, '"'));
    /* No escape is shorter than what it stands for. */
    const uint8_t *end = json->text.data + json->at, *stop = json->text.data + json->text.size;
    while (end < stop && *end != '"')
        end += *end == '\\' && end + 1 < stop ? 2 : 1;
    if (end >= stop)
        return json_error(json, "a string that does not end");
    char *text = arena_alloc(json->arena, (size_t)(end - (json->text.data + json->at)) + 1), *to = text;
    if (!text)
        return error_memory();
    while (json->text.data[json->at] != '"') {
        uint8_t byte = json->text.data[json->at++];
        if (byte < ' ')
            return json_error(json, "a control character in a string");
        if (byte == '\\')
            TRY(take_escape(json, &to));
        else
            *to++ = (char)byte;
    }
    json->at++;
    *to = 0;
    *ret = text;
    return NULL;
}

static struct crateld_error *skip(struct json *json, int depth);

static struct crateld_error *skip_all(struct json *json, char close, int depth)
{
    bool is_first = true, is_there;
    char *key;
    json->at++;
    for (;;) {
        TRY(json_next(json, close, &is_first, &is_there));
        if (!is_there)
            return NULL;
        if (close == '}') {
            TRY(json_string(json, &key));
            TRY(json_take(json, ':'));
        }
        TRY(skip(json, depth + 1));
    }
}

static struct crateld_error *skip(struct json *json, int depth)
{
    char *text, first = json_peek(json);
    if (depth > MAX_DEPTH)
        return json_error(json, "values that are too deep in each other");
    if (first == '{' || first == '[')
        return skip_all(json, first == '{' ? '}' : ']', depth);
    if (first == '"')
        return json_string(json, &text);
    size_t start = json->at;
    while (json->at < json->text.size && json->text.data[json->at] &&
           strchr("+-.0123456789aeflnrstuE", json->text.data[json->at]))
        json->at++;
    return json->at > start ? NULL : json_error(json, "wanted a value");
}

struct crateld_error *json_skip(struct json *json)
{
    return skip(json, 0);
}
