/* crateld: where a thread goes on when new code has faulted. docs/reload.md.
 *
 *     for (;;) {
 *         if (crate_safe_point())
 *             forget_the_request();
 *         handle_request();
 *     }
 *
 * It returns 0, and a second time, with another value, when code that was reloaded shortly before has faulted in a
 * function called from here: then the version before is in effect again, and what was on the stack in between is given
 * up, as by longjmp(); locks that were taken stay taken. The function that calls it must not return while new code may
 * run. Each thread has its own; the last one counts. In a program that is no crate it returns 0.
 */
#ifndef CRATELD_SAFE_POINT_H
#define CRATELD_SAFE_POINT_H

#include <setjmp.h>

#include "crateld/toc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* This crate's TOC. The linker defines it. */
extern struct crateld_toc _TOC_ __attribute__((weak, visibility("hidden")));

/* Where the calling thread's safe point is kept; `frame` is that of the function which declares it. NULL: nowhere. */
static inline jmp_buf *crateld_safe_point(const void *frame)
{
    const struct crateld_builtins *builtins =
        &_TOC_ ? (const struct crateld_builtins *)(uintptr_t)_TOC_.builtins : (const struct crateld_builtins *)0;
    return builtins ? (jmp_buf *)builtins->safe_point(frame) : (jmp_buf *)0;
}

/* sigsetjmp(), which strict C does not know. */
#define crate_safe_point()                                                                                             \
    (crateld_safe_point(__builtin_frame_address(0)) ? __sigsetjmp(*crateld_safe_point(__builtin_frame_address(0)), 1)  \
                                                    : 0)

#ifdef __cplusplus
}
#endif

#endif
