/* Allocations that fail on demand. A test that links failing_memory (see meson.build) has malloc and its kin
 * in our code wrapped; those inside libc are not. */
#ifndef TESTS_UNIT_FAILING_MEMORY_H
#define TESTS_UNIT_FAILING_MEMORY_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>

#include "crateld/error.h"

/* Lets the allocation number `n`, counted from 0, fail, and no other. */
void failing_memory_set(size_t n);

/* Ends that; returns whether an allocation failed. */
bool failing_memory_end(void);

/* Calls `run` with each of its allocations failing in turn: it must succeed, or report that there is no
 * memory. `run` releases all that it gets; the suite's leak check sees the rest. Returns how many failed, for the test
 * to see that it was any. */
static inline size_t failing_memory_try_all(struct crateld_error *(*run)(void))
{
    bool did_fail = true;
    size_t n = 0;
    for (; did_fail; n++) {
        failing_memory_set(n);
        struct crateld_error *error = run();
        did_fail = failing_memory_end();
        if (error) {
            cr_assert(did_fail, "%s", crateld_error_message(error));
            cr_assert_eq(crateld_error_code(error), CRATELD_ERROR_MEMORY, "allocation %zu: %s", n,
                         crateld_error_message(error));
            crateld_error_destroy(error);
        }
    }
    return n - 1;
}

#endif
