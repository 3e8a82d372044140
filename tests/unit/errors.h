/* What tests require of returned errors. */
#ifndef TESTS_UNIT_ERRORS_H
#define TESTS_UNIT_ERRORS_H

#include <criterion/criterion.h>
#include <string.h>

#include "crateld/error.h"

static inline void require_success(struct crateld_error *error)
{
    cr_assert_null(error, "%s", crateld_error_message(error));
}

/* The error must have `code`, and `text` in its message. */
static inline void require_error(struct crateld_error *error, enum crateld_error_code code, const char *text)
{
    cr_assert_not_null(error, "there is no error, wanted: %s", text);
    cr_assert_not_null(strstr(crateld_error_message(error), text), "'%s' is not in: %s", text,
                       crateld_error_message(error));
    cr_assert_eq(crateld_error_code(error), code, "%s", crateld_error_message(error));
    crateld_error_destroy(error);
}

#endif
