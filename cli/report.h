/* What a command found out, written once and shown as text for people or as JSON for programs.
 *
 * A report is objects, lists of objects, values with a name, and tables: lists of rows with the same values.
 * Text aligns a table's columns; JSON makes a row an object. Addresses are strings "0x..." in JSON, because
 * its numbers do not have 64 bits everywhere. Names come from files: bytes that are not printable text are
 * escaped. Not thread-safe.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct report;

/* A report that is written to `stream` (borrowed) as it is made. Error: MEMORY. */
MUST_CHECK struct crateld_error *report_create(FILE *stream, bool is_json, struct report **ret);

/* Releases it; NULL is allowed. */
void report_destroy(struct report *report);

/* Writes what is left. Errors, of this function or any before it: MEMORY; IO. */
MUST_CHECK struct crateld_error *report_finish(struct report *report);

/* Begins an object: a member `key` of the object it is in, or, with NULL, an element of a list. `title` is
 * its heading in text; NULL for none. Every begin has its end. The same for a list of objects, which has no
 * heading. */
void report_begin_object(struct report *report, const char *key, const char *title);
void report_end_object(struct report *report);
void report_begin_list(struct report *report, const char *key);
void report_end_list(struct report *report);

/* Begins a table and ends it; report_row() before each row's values. Rows have the same keys in the same
 * order. */
void report_begin_table(struct report *report, const char *key, const char *title);
void report_row(struct report *report);
void report_end_table(struct report *report);

/* One value, of the object or of the table's row. Strings are borrowed during the call. NULL is no string at
 * all. */
void report_string(struct report *report, const char *key, const char *value);
void report_number(struct report *report, const char *key, uint64_t value);
void report_signed(struct report *report, const char *key, int64_t value);
void report_address(struct report *report, const char *key, uint64_t value);
void report_bool(struct report *report, const char *key, bool value);
void report_bytes(struct report *report, const char *key, const uint8_t *bytes, size_t size);

/* A set of names: names[i], if it is not NULL, for each bit i of `set`. */
void report_set(struct report *report, const char *key, uint64_t set, const char *const *names, size_t name_count);

/* The length of the UTF-8 sequence of printable text at `text`; 0: there is none (a control character, or no UTF-8). */
unsigned report_printable(const unsigned char *text);

#endif
