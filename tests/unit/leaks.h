/* Every suite's `.fini`: Criterion ignores a failing assertion there, and LeakSanitizer's verdict on a
 * worker. */
#ifndef TESTS_UNIT_LEAKS_H
#define TESTS_UNIT_LEAKS_H

#include <stdlib.h>

#if defined __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

static inline void require_no_leaks(void)
{
#if defined __SANITIZE_ADDRESS__
    if (__lsan_do_recoverable_leak_check())
        abort();
#endif
}

#endif
