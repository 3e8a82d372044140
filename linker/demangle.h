/* Names as their programmers know them: C++ and Rust symbols in source form. */
#ifndef LINKER_DEMANGLE_H
#define LINKER_DEMANGLE_H

/* The source form of the symbol `name`, malloc'ed (the caller's); NULL if it is not a mangled name, or
 * without memory. Itanium C++ names ("foo::bar(int)") and both of Rust's manglings. Thread-safe. */
char *demangle(const char *name) __attribute__((malloc, warn_unused_result));

/* The source form of the C++ symbol `name`, as version scripts' `extern "C++"` patterns are compared with it;
 * else as above. */
char *demangle_cxx(const char *name) __attribute__((malloc, warn_unused_result));

#endif
