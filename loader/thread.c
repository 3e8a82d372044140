/* pthread_create(), for crates and, as it interposes libc's, for ELF libraries: libc's own, but that the stack is
 * larger by the static pool of thread-locals (loader/tls.h), which lies on it, unless the caller brings the stack.
 * Without that those that ask for little, PTHREAD_STACK_MIN for one, would get none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#include "loader/agent.h"
#include "loader/next_function.h"
#include "loader/tls.h"

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* Whether the caller of pthread_create() brings the stack: glibc says that one that is not set ends at address 0. */
static bool has_stack(const pthread_attr_t *attributes)
{
    void *stack;
    size_t size;
    return pthread_attr_getstack(attributes, &stack, &size) == 0 && (uintptr_t)stack + size != 0;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): glibc's have underscores */
__attribute__((visibility("default"))) int pthread_create(pthread_t *ret, const pthread_attr_t *attributes,
                                                          void *(*start)(void *), void *argument)
{
    static create_fn *_Atomic next;
    if (!next)
        next = (create_fn *)next_function("pthread_create");
    bool is_first = __libc_single_threaded;
    size_t size;
    pthread_attr_t larger; /* what it points at stays the caller's */
    const pthread_attr_t *used = attributes;
    if (attributes && !has_stack(attributes) && !pthread_attr_getstacksize(attributes, &size)) {
        larger = *attributes;
        if (!pthread_attr_setstacksize(&larger, size + TLS_POOL_SIZE))
            used = &larger;
    }
    int status = next(ret, used, start, argument);
    if (is_first)
        agent_keep();
    return status;
}
