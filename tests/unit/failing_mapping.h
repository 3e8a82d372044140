/* mmap, mprotect and madvise that fail on demand, in our code: link failing_mapping (see meson.build). */
#ifndef TESTS_UNIT_FAILING_MAPPING_H
#define TESTS_UNIT_FAILING_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

/* Lets the call number `n`, counted from 0, fail with ENOMEM, and all behind it too if `is_lasting`. */
void failing_mapping_set(size_t n, bool is_lasting);

/* Ends that; returns whether a call failed. */
bool failing_mapping_end(void);

#endif
