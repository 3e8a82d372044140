#include "cli/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory_stream.h"
#include "base/vec.h"

/* How a value looks in JSON. */
enum value_kind {
    VALUE_TEXT,  /* a string */
    VALUE_PLAIN, /* a number, true, false, or null */
    VALUE_LIST,  /* names with spaces between them, as a list of strings */
};

struct report {
    FILE *stream; /* borrowed */
    bool is_json;
    bool is_out_of_memory;
    bool is_in_table;
    bool needs_comma; /* JSON: a value stands before the next one */
    unsigned depth;

    /* Text: the table under construction, row by row; the columns are named by the first row's keys. */
    VEC(char *) columns; /* owned, each */
    VEC(char *) cells;   /* owned, each */
    VEC(bool) numeric;   /* by column: aligned to the right */
    size_t row_count;
};

struct crateld_error *report_create(FILE *stream, bool is_json, struct report **ret)
{
    struct report *report = calloc(1, sizeof *report);
    if (!report)
        return error_memory();
    report->stream = stream;
    report->is_json = is_json;
    *ret = report;
    return NULL;
}

/* Forgets the table's contents. */
static void clear_table(struct report *report)
{
    for (size_t i = 0; i < report->columns.count; i++)
        free(report->columns.at[i]);
    for (size_t i = 0; i < report->cells.count; i++)
        free(report->cells.at[i]);
    report->columns.count = report->cells.count = report->numeric.count = report->row_count = 0;
}

void report_destroy(struct report *report)
{
    if (!report)
        return;
    clear_table(report);
    free(report->columns.at);
    free(report->cells.at);
    free(report->numeric.at);
    free(report);
}

struct crateld_error *report_finish(struct report *report)
{
    assert(!report->depth && !report->is_in_table);
    if (report->is_json)
        fputc('\n', report->stream);
    if (report->is_out_of_memory)
        return error_memory();
    if (fflush(report->stream) || ferror(report->stream))
        return error_errno(errno, "cannot write the report");
    return NULL;
}

unsigned report_printable(const unsigned char *text)
{
    unsigned length = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (length == 1)
        return text[0] >= 0x20 && text[0] != 0x7f;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    for (unsigned i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    bool is_long = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool is_surrogate = text[0] == 0xed && text[1] >= 0xa0, is_above = text[0] == 0xf4 && text[1] >= 0x90;
    bool is_control = text[0] == 0xc2 && text[1] < 0xa0;
    return is_long || is_surrogate || is_above || is_control ? 0 : length;
}

/* Writes `text`, escaping what is not printable, and in JSON what has a meaning. */
static void put_escaped(FILE *stream, const char *text, bool is_json)
{
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        unsigned length = report_printable(at);
        if (!length) {
            fprintf(stream, is_json ? "\\u%04x" : "\\x%02x", *at++);
            continue;
        }
        if (is_json && (*at == '"' || *at == '\\'))
            fputc('\\', stream);
        fwrite(at, 1, length, stream);
        at += length;
    }
}

static void put_json_string(FILE *stream, const char *text)
{
    fputc('"', stream);
    put_escaped(stream, text, true);
    fputc('"', stream);
}

/* JSON: what stands before a value: a comma, a new line, its key. */
static void put_json_key(struct report *report, const char *key)
{
    if (report->needs_comma)
        fputc(',', report->stream);
    if (report->depth)
        fprintf(report->stream, "\n%*s", (int)(2 * report->depth), "");
    if (key && report->depth) {
        put_json_string(report->stream, key);
        fputs(": ", report->stream);
    }
    report->needs_comma = true;
}

static void json_begin(struct report *report, const char *key, char bracket)
{
    put_json_key(report, key);
    fputc(bracket, report->stream);
    report->depth++;
    report->needs_comma = false;
}

static void json_end(struct report *report, char bracket)
{
    report->depth--;
    if (report->needs_comma)
        fprintf(report->stream, "\n%*s", (int)(2 * report->depth), "");
    fputc(bracket, report->stream);
    report->needs_comma = true;
}

/* Text: a heading, with an empty line before all but the first one. */
static void put_title(struct report *report, const char *title)
{
    if (!title)
        return;
    if (report->needs_comma)
        fputc('\n', report->stream);
    put_escaped(report->stream, title, false);
    fputc('\n', report->stream);
    report->needs_comma = true;
}

void report_begin_object(struct report *report, const char *key, const char *title)
{
    if (report->is_json) {
        json_begin(report, key, '{');
        return;
    }
    put_title(report, title);
    report->depth++;
}

void report_end_object(struct report *report)
{
    if (report->is_json)
        json_end(report, '}');
    else
        report->depth--;
}

void report_begin_list(struct report *report, const char *key)
{
    if (report->is_json)
        json_begin(report, key, '[');
    else
        report->depth++;
}

void report_end_list(struct report *report)
{
    if (report->is_json)
        json_end(report, ']');
    else
        report->depth--;
}

void report_begin_table(struct report *report, const char *key, const char *title)
{
    assert(!report->is_in_table);
    if (report->is_json)
        json_begin(report, key, '[');
    else
        put_title(report, title);
    report->is_in_table = true;
}

void report_row(struct report *report)
{
    assert(report->is_in_table);
    if (report->is_json) {
        if (report->row_count)
            json_end(report, '}');
        json_begin(report, NULL, '{');
    }
    report->row_count++;
}

/* The characters that `text` takes on a terminal, as far as its bytes tell. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

/* Writes one line of a table; `widths` are the columns'. */
static void put_line(struct report *report, char *const *cells, const int *widths)
{
    size_t last = report->columns.count;
    while (last && !*cells[last - 1])
        last--;
    fputs(" ", report->stream);
    for (size_t i = 0; i < last; i++) {
        int fill = widths[i] - width_of(cells[i]);
        bool is_right = report->numeric.at[i];
        fprintf(report->stream, " %*s%s", is_right ? fill : 0, "", cells[i]);
        if (!is_right && i + 1 < last)
            fprintf(report->stream, "%*s", fill, "");
        if (i + 1 < last)
            fputc(' ', report->stream);
    }
    fputc('\n', report->stream);
}

/* Text: writes the table that was collected. */
static void put_table(struct report *report)
{
    size_t column_count = report->columns.count;
    int *widths AUTO_FREE = calloc(column_count + 1, sizeof *widths);
    if (!widths) {
        report->is_out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < column_count; i++)
        widths[i] = width_of(report->columns.at[i]);
    for (size_t i = 0; i < report->cells.count; i++) {
        int width = width_of(report->cells.at[i]);
        if (width > widths[i % column_count])
            widths[i % column_count] = width;
    }
    put_line(report, report->columns.at, widths);
    for (size_t i = 0; i < report->row_count; i++)
        put_line(report, report->cells.at + i * column_count, widths);
}

void report_end_table(struct report *report)
{
    if (report->is_json) {
        if (report->row_count)
            json_end(report, '}');
        json_end(report, ']');
    } else if (!report->row_count) {
        fputs("  none\n", report->stream);
    } else if (!report->is_out_of_memory) {
        assert(report->cells.count == report->row_count * report->columns.count);
        put_table(report);
    }
    clear_table(report);
    report->is_in_table = false;
}

/* `text` as it is printed; NULL without memory. */
static char *escaped_copy(const char *text)
{
    char *copy = NULL;
    size_t size;
    FILE *stream = open_memstream(&copy, &size);
    if (!stream)
        return NULL;
    put_escaped(stream, text, false);
    if (!memory_stream_close(stream, &copy)) {
        free(copy);
        return NULL;
    }
    return copy;
}

/* "build_id" as people write it: "build id". */
static char *label_copy(const char *key)
{
    char *copy = strdup(key);
    for (char *at = copy; at && *at; at++)
        *at = *at == '_' ? ' ' : *at;
    return copy;
}

/* Text: keeps the name of the first row's next column; false without memory. */
static bool keep_column(struct report *report, const char *key, bool is_numeric)
{
    char *label AUTO_FREE = label_copy(key);
    if (!label || !VEC_PUSH(&report->numeric, is_numeric) || !VEC_PUSH(&report->columns, label))
        return false;
    STEAL_PTR(label);
    return true;
}

/* Text: keeps one cell of the table. */
static void keep_cell(struct report *report, const char *key, const char *text, bool is_numeric)
{
    char *cell AUTO_FREE = escaped_copy(text);
    if ((report->row_count == 1 && !keep_column(report, key, is_numeric)) || !cell || !VEC_PUSH(&report->cells, cell)) {
        report->is_out_of_memory = true;
        return;
    }
    STEAL_PTR(cell);
}

/* JSON: "a b" as ["a", "b"]. */
static void put_json_list(FILE *stream, const char *text)
{
    fputc('[', stream);
    while (*text) {
        int length = (int)strcspn(text, " ");
        fprintf(stream, "\"%.*s\"", length, text);
        text += length;
        if (*text)
            fputs(", ", stream);
        text += strspn(text, " ");
    }
    fputc(']', stream);
}

/* One value in either form. */
static void put_value(struct report *report, const char *key, const char *text, enum value_kind kind)
{
    if (report->is_json) {
        put_json_key(report, key);
        if (kind == VALUE_TEXT)
            put_json_string(report->stream, text);
        else if (kind == VALUE_LIST)
            put_json_list(report->stream, text);
        else
            fputs(text, report->stream);
    } else if (report->is_in_table) {
        keep_cell(report, key, text, kind == VALUE_PLAIN);
    } else {
        char *label AUTO_FREE = label_copy(key);
        report->is_out_of_memory |= !label;
        fprintf(report->stream, "  %-20s ", label ? label : key);
        put_escaped(report->stream, text, false);
        fputc('\n', report->stream);
    }
}

void report_string(struct report *report, const char *key, const char *value)
{
    if (!value && report->is_json)
        put_value(report, key, "null", VALUE_PLAIN);
    else if (value || report->is_in_table)
        put_value(report, key, value ? value : "", VALUE_TEXT);
}

void report_number(struct report *report, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put_value(report, key, text, VALUE_PLAIN);
}

void report_signed(struct report *report, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    put_value(report, key, text, VALUE_PLAIN);
}

void report_address(struct report *report, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "0x%" PRIx64, value);
    put_value(report, key, text, VALUE_TEXT);
}

void report_bool(struct report *report, const char *key, bool value)
{
    const char *text = report->is_json ? (value ? "true" : "false") : value ? "yes" : "no";
    put_value(report, key, text, report->is_json ? VALUE_PLAIN : VALUE_TEXT);
}

void report_bytes(struct report *report, const char *key, const uint8_t *bytes, size_t size)
{
    char text[2 * 64 + 1] = "";
    assert(size <= 64);
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    put_value(report, key, text, VALUE_TEXT);
}

void report_set(struct report *report, const char *key, uint64_t set, const char *const *names, size_t name_count)
{
    char text[512] = "";
    size_t length = 0;
    for (size_t i = 0; i < name_count; i++) {
        if (!(set >> i & 1) || !names[i])
            continue;
        assert(length + strlen(names[i]) + 2 < sizeof text);
        length += (size_t)sprintf(text + length, "%s%s", length ? " " : "", names[i]);
    }
    put_value(report, key, text, VALUE_LIST);
}
