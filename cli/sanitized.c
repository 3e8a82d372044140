/* Sanitized builds only: what the address sanitizer is to do in a process whose program is a crate that knows nothing
 * of it. Its leaks, its signal handlers and its alternate stacks are its own, and libstdc++ allocates by operators that
 * were resolved before the sanitizer's. */
const char *__asan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "detect_leaks=0:alloc_dealloc_mismatch=0:use_sigaltstack=0:handle_segv=0:handle_sigbus=0:handle_sigill=0:"
           "handle_sigfpe=0:handle_abort=0:detect_stack_use_after_return=0";
}
