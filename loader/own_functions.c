#define _GNU_SOURCE
#include "loader/own_functions.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "loader/backtrace.h"
#include "loader/dl.h"
#include "loader/frames.h"
#include "loader/introspect.h"
#include "loader/self_exe.h"
#include "loader/tls.h"
#include "loader/unwind.h"

struct own {
    const char *name;
    void *function;
};

#define OWN(name, function)                                                                                            \
    {                                                                                                                  \
        name, (void *)(function)                                                                                       \
    }

/* In order of the names. */
static const struct own functions[] = {
    OWN("_Unwind_Find_FDE", _Unwind_Find_FDE),
    OWN("_Unwind_SetIP", _Unwind_SetIP),
    OWN("__readlink_chk", self_readlink_chk),
    OWN("__readlinkat_chk", self_readlinkat_chk),
    OWN("__realpath_chk", self_realpath_chk),
    OWN("__tls_get_addr", tls_get_address),
    OWN("_dl_find_object", introspect_find_object),
    OWN("backtrace_symbols", backtrace_names),
    OWN("backtrace_symbols_fd", backtrace_print),
    OWN("canonicalize_file_name", self_canonicalize),
    OWN("dl_iterate_phdr", dl_iterate_phdr),
    OWN("dladdr", dladdr),
    OWN("dladdr1", dladdr1),
    OWN("dlclose", dl_close),
    OWN("dlerror", dl_error),
    OWN("dlinfo", dl_info),
    OWN("dlmopen", dl_mopen),
    OWN("dlopen", dl_open),
    OWN("dlsym", dl_sym),
    OWN("dlvsym", dl_vsym),
    OWN("execl", self_execl),
    OWN("execle", self_execle),
    OWN("execlp", self_execlp),
    OWN("execv", self_execv),
    OWN("execve", self_execve),
    OWN("execvp", self_execvp),
    OWN("execvpe", self_execvpe),
    OWN("posix_spawn", self_spawn),
    OWN("posix_spawnp", self_spawnp),
    OWN("pthread_create", pthread_create),
    OWN("readlink", self_readlink),
    OWN("readlinkat", self_readlinkat),
    OWN("realpath", self_realpath),
};

static int compare(const void *name, const void *own)
{
    return strcmp(name, ((const struct own *)own)->name);
}

void *own_function(const char *name)
{
#ifdef CRATELD_HOST
    void *personality = frames_personality(name);
    if (personality)
        return personality;
#endif
    const struct own *own = bsearch(name, functions, sizeof functions / sizeof *functions, sizeof *functions, compare);
    return own ? own->function : NULL;
}
