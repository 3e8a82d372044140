/* glibc's backtrace_symbols for addresses that may lie in crates: <execinfo.h>. */
#ifndef LOADER_BACKTRACE_H
#define LOADER_BACKTRACE_H

/* backtrace_symbols: a malloc'ed array of `count` strings; NULL without memory. */
char **backtrace_names(void *const *addresses, int count);

/* backtrace_symbols_fd: writes the same, one a line, without allocating. */
void backtrace_print(void *const *addresses, int count, int fd);

#endif
