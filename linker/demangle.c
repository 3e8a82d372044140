/* By libiberty, the library that binutils and gdb demangle with: static, free to link with anything (its
 * demangler carries the libraries' exception), knows Itanium C++ and both of Rust's manglings, and returns
 * NULL without memory. libstdc++'s __cxa_demangle would bring the C++ library into a C program, and know no
 * Rust. */
#include "linker/demangle.h"

#include <libiberty/demangle.h>
#include <stddef.h>

char *demangle_cxx(const char *name)
{
    if (name[0] != '_' || name[1] != 'Z')
        return NULL;
    return cplus_demangle_v3(name, DMGL_PARAMS | DMGL_ANSI);
}

char *demangle(const char *name)
{
    char *rust = name[0] == '_' ? rust_demangle(name, 0) : NULL;
    return rust ? rust : demangle_cxx(name);
}
