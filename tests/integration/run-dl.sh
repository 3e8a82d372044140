#!/bin/bash
# dlopen and its kin, from inside crates: ELF libraries, crates, the program itself.
. "$(dirname "$0")/lib.sh"
need_libc_first
source_file lib.c <<'C'
int shared_value = 5;
extern int program_value;
int program_function(int);
int elf_function(int x) { return program_function(x) + program_value; }
C
source_file plug.c <<'C'
#include <stdio.h>
int plug_value = 11;
__thread int plug_tls = 3;
int helper(void);
int program_function(int);
int plug(int x) { return x + plug_value + helper() + program_function(0); }
__attribute__((constructor)) static void c(void) { puts("plug starts"); }
__attribute__((destructor)) static void d(void) { puts("plug ends"); }
C
echo 'int helper(void) { return 100; }' >helper.c
source_file m.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int program_value = 1000;
int program_function(int x) { return x * 2; }
char *strdup(const char *s) { (void)s; return (char *)"ours"; }
static int seen_program, seen_self, count;
static int visit(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    uintptr_t at = (uintptr_t)data;
    if (!count++)
        seen_program = !*info->dlpi_name;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && at >= info->dlpi_addr + p->p_vaddr && at < info->dlpi_addr + p->p_vaddr + p->p_memsz)
            seen_self = count;
    }
    return 0;
}
int main(void)
{
    Dl_info info;
    /* ELF library that imports from the program. */
    void *lib = dlopen("./lib.so", RTLD_NOW);
    if (!lib)
        return puts(dlerror()), 1;
    int (*f)(int) = (int (*)(int))dlsym(lib, "elf_function");
    printf("elf %d\n", f(4));
    program_value = 1;
    printf("elf %d\n", f(4));
    printf("data %d\n", *(int *)dlsym(lib, "shared_value"));
    printf("missing %d", dlsym(lib, "nothing") == NULL);
    char *e = dlerror();
    printf(" %d %d\n", e && strstr(e, "nothing"), dlerror() == NULL);
    printf("close %d\n", dlclose(lib));
    printf("no file %d", dlopen("./nosuch.so", RTLD_NOW) == NULL);
    e = dlerror();
    printf(" %d\n", e && strstr(e, "nosuch.so"));
    /* A crate. */
    void *plug = dlopen("./plug.crate", RTLD_NOW);
    if (!plug)
        return puts(dlerror()), 1;
    int (*g)(int) = (int (*)(int))dlsym(plug, "plug");
    printf("crate %d\n", g(1));
    printf("again %d\n", dlopen("plug.crate", RTLD_LAZY) == plug && dlopen("./plug.crate", RTLD_NOLOAD) == plug);
    printf("needed %d\n", ((int (*)(void))dlsym(plug, "helper"))());
    printf("tls %d\n", *(int *)dlsym(plug, "plug_tls"));
    printf("no crate %d", dlopen("./nosuch.crate", RTLD_NOW) == NULL);
    e = dlerror();
    printf(" %d\n", e && strstr(e, "nosuch.crate"));
    /* The program. */
    void *self = dlopen(NULL, RTLD_NOW);
    printf("self %d %d\n", dlsym(self, "program_function") == (void *)program_function,
           dlsym(RTLD_DEFAULT, "program_value") == &program_value);
    printf("default %d\n", dlsym(RTLD_DEFAULT, "plug") == (void *)g);
    char *(*next)(const char *) = (char *(*)(const char *))dlsym(RTLD_NEXT, "strdup");
    printf("next %s %s\n", strdup("x"), next("theirs"));
    printf("libc %d\n", ((int (*)(const char *))dlsym(RTLD_DEFAULT, "atoi"))("42"));
    printf("version %d %d\n", dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14") != NULL,
           dlvsym(RTLD_DEFAULT, "memcpy", "NOSUCH") == NULL);
    /* Addresses. */
    printf("dladdr %d", dladdr((void *)program_function, &info));
    printf(" %s %s %d\n", info.dli_fname, info.dli_sname, info.dli_saddr == (void *)program_function);
    printf("dladdr %d", dladdr((void *)puts, &info));
    printf(" %d\n", !!strstr(info.dli_fname, "libc.so"));
    printf("dladdr %d\n", dladdr((void *)16, &info));
    dl_iterate_phdr(visit, (void *)main);
    printf("iterate %d %d\n", seen_program, seen_self == 1);
    void *here[1] = {(char *)program_function + 1};
    char **names = backtrace_symbols(here, 1);
    printf("symbols %d\n", !strncmp(names[0], "m.crate(program_function+0x1) [0x", 33));
    free(names);
    fflush(stdout);
    backtrace_symbols_fd(here, 1, 1);
    return 0;
}
C
$CC -O1 -fPIC -c m.c plug.c helper.c
$CC -shared -fPIC -o lib.so lib.c
crateld link -o helper.crate helper.o
crateld link -o m.crate m.o
crateld link -o plug.crate plug.o helper.crate m.crate
status 0 crateld run m.crate
sed -i 's/\[0x.*/[]/' out
cat >want <<'T'
elf 1008
elf 9
data 5
missing 1 1 1
close 0
no file 1 1
plug starts
crate 112
again 1
needed 100
tls 3
no crate 1 1
self 1 1
default 1
next ours theirs
libc 42
version 1 1
dladdr 1 m.crate program_function 1
dladdr 1 1
dladdr 0
iterate 1 1
symbols 1
m.crate(program_function+0x1) []
plug ends
T
diff out want || fail "output differs"
