#!/bin/sh
# `crateld ld`: the options of ld, where libraries are found at run time, and what is refused.
. "$(dirname "$0")/lib.sh"
need gcc
folder=$(crateld ld --print-folder)
[ -x "${folder}ld" ] || fail "no ld in $folder"
GCC="gcc -B$folder"

source_file foo.c <<'END'
int foo(int n) { return n + 1; }
END
source_file main.c <<'END'
#include <stdio.h>
int foo(int);
int main(void) { return printf("%d\n", foo(41)) != 3; }
END
mkdir lib other

# A library is found by its soname: beside the program, by LD_LIBRARY_PATH, by rpath with and without $ORIGIN.
$GCC -shared -fPIC -Wl,-soname,libfoo.so.1 -o lib/libfoo.so.1.0 foo.c
ln -s libfoo.so.1.0 lib/libfoo.so.1
ln -s libfoo.so.1.0 lib/libfoo.so
[ "$(crateld inspect lib/libfoo.so | grep -c 'libfoo.so.1')" -ge 1 ] || fail "the soname is not the name"
$GCC -o plain main.c -Llib -lfoo
status 127 ./plain
has err "needs crate 'libfoo.so.1'"
LD_LIBRARY_PATH=lib status 0 ./plain
cp lib/libfoo.so.1 .
status 0 ./plain
rm libfoo.so.1
$GCC -o absolute main.c -Llib -lfoo -Wl,-rpath,/nowhere -Wl,-rpath="$PWD/lib"
$GCC -o origin main.c -Llib -lfoo -Wl,-rpath,'$ORIGIN/lib'
cd other
status 0 ../absolute
status 0 ../origin
has out 42
cd ..
$GCC -o wrong main.c -Llib -lfoo -Wl,-rpath,/nowhere
status 127 ./wrong
has err "nor in its rpath /nowhere"

# A library that is an ELF one, by the program's rpath.
gcc -shared -fPIC -Wl,-soname,libelf_foo.so.1 -o lib/libelf_foo.so.1 foo.c
cp lib/libelf_foo.so.1 other/
$GCC -o elf main.c other/libelf_foo.so.1 -Wl,-rpath,'$ORIGIN/lib'
rm other/libelf_foo.so.1
status 0 ./elf

# dlopen() takes crates by whatever name, by path, by soname, and along the program's rpath; plugins find the program's
# symbols, and those of libraries.
source_file plugin.c <<'END'
#include <math.h>
int host(void);
extern int host_data;
double plugin(double x) { return cos(x) + host() + host_data; }
END
source_file opener.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int foo(int);
int host_data = 1;
int host(void) { return foo(0); }
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        void *handle = dlopen(argv[i], RTLD_NOW);
        double (*plugin)(double) = handle ? (double (*)(double))dlsym(handle, "plugin") : 0;
        printf("%s: %s\n", argv[i], plugin ? plugin(0) == 3 ? "good" : "bad" : dlerror());
    }
    return 0;
}
END
$GCC -shared -fPIC -o lib/plugin.so plugin.c
cp lib/plugin.so other/second.so
$GCC -o opener opener.c -Llib -lfoo -Wl,--no-as-needed -lm -Wl,--as-needed -Wl,-rpath,'$ORIGIN/lib'
status 0 ./opener lib/plugin.so plugin.so
[ "$(grep -c good out)" = 2 ] || fail "dlopen"
status 0 ./opener no_such.so libc.so.6 /dev/null
has out "no_such.so: no_such.so: cannot open"
status 0 ./opener "$PWD/main.c"
has out "invalid ELF header"

# Undefined symbols: a library may have them, unless -z defs; a program may not.
status 1 $GCC -shared -fPIC -Wl,-z,defs -o x plugin.c
has err "undefined symbol 'host'"
status 1 $GCC -shared -fPIC -Wl,--no-undefined -o x plugin.c
status 1 $GCC -o x main.c
has err "undefined symbol 'foo'"
$GCC -o x main.c -Wl,--unresolved-symbols=ignore-all

# --wrap, --exclude-libs, --push-state, --version-script, --gc-sections, response files.
source_file wrap.c <<'END'
#include <stdio.h>
int __real_foo(int);
int __wrap_foo(int n) { return __real_foo(n) + 100; }
END
$GCC -o wrapped main.c foo.c wrap.c -Wl,--wrap=foo
status 1 ./wrapped
status 1 ./wrapped
has out 142
gcc -c -fPIC foo.c
ar rcs libstatic.a foo.o
echo 'int foo(int); int bar(void) { return foo(1); }' >bar.c
$GCC -shared -fPIC -o hidden.so bar.c libstatic.a -Wl,--exclude-libs,libother.a:libstatic.a
$GCC -shared -fPIC -o all.so bar.c libstatic.a -Wl,--exclude-libs=libother.a
crateld inspect --exports hidden.so >out
lacks out foo
crateld inspect --exports all.so >out
has out foo
$GCC -o state main.c foo.c -Wl,--no-as-needed,--push-state,--as-needed -lm -Wl,--pop-state -lz
crateld inspect --needed state >out
lacks out libm.so
has out libz.so
printf -- '-o at main.c foo.c' >response
$GCC @response
status 0 ./at

# -r and what has no crate go to the system's ld; the result is linked.
$GCC -r -o both.o main.c foo.c -nostdlib
$GCC -o both both.o
status 0 ./both
has out 42

# By crateld cc, with TOC code; with another linker it makes what it always made.
crateld cc -fuse-ld=crateld -o toc main.c foo.c
status 0 ./toc
crateld inspect toc >out
has out "toc-code"
crateld cc -o native main.c foo.c
! readelf -lW native | grep -q 3726174 || fail "crateld cc made a crate without being asked"

# What would change the result is refused, with advice; what is not known too.
refused() {
    wanted_text=$1
    shift
    status 2 crateld ld -o refused main.o "$@"
    has err "$wanted_text"
    [ ! -e refused ] || fail "$*: made a file"
}
gcc -c main.c
refused "'-static' is not possible for a crate: a crate uses the C library of its process" -static
refused "'-T' is not possible for a crate: crates have no linker scripts" -T script.ld
refused "unknown keyword '-z sideways'" -z sideways
refused "'-m elf_i386' is not possible for a crate: wanted elf_x86_64" -m elf_i386
refused "'--oformat binary'" --oformat binary
refused "unknown option '--frobnicate'" --frobnicate
refused "unknown option '--as-needed=x'" --as-needed=x
refused "'-soname' wants a value" -soname
refused "--sysroot" --sysroot=/other
refused "a crate is started by crateld-exec" --dynamic-linker /lib/other.so
refused "ld: '-init start' is not possible for a crate: wanted _init" -init start
refused "leave all definitions of a name but one out" -z muldefs
status 2 crateld ld -o refused
has err "ld: no input files"
status 2 crateld ld main.o --pop-state
has err "--pop-state without --push-state"

# What build systems ask.
status 0 crateld ld --version
has out "compatible with GNU ld"
status 0 crateld ld -v
status 0 crateld ld --help
has out "supported targets: elf64-x86-64"
has out "--as-needed"
lacks out "muldefs"
status 0 crateld ld --print-refused
has out "-z muldefs"

# nm -D finds the exports, which are those of GNU ld's library, whatever is stripped.
source_file exports.c <<'END'
#include <stdlib.h>
int function(int x) { return x; }
__attribute__((weak)) int weak(void) { return abs(1); }
__attribute__((visibility("hidden"))) int hidden(void) { return 2; }
__attribute__((visibility("protected"))) int guarded(void) { return hidden(); }
static int internal(void) { return 3; }
int data = 4, zero, (*pointer)(void) = internal;
const int constant = 5;
_Thread_local int local = 6;
END
echo '{ global: f*; w*; data; local; constant; local: *; };' >exports.map
gcc -O1 -fPIC -c exports.c
for options in "" "-s" "-S" "--version-script=exports.map"; do
    # shellcheck disable=SC2086 # words
    ld -shared $options -o native.so exports.o -lc
    # shellcheck disable=SC2086
    status 0 crateld ld -shared $options -o ours.so exports.o -lc
    for library in native ours; do
        nm -D --defined-only --format=posix $library.so | awk '{ print $1, $2 }' >$library.symbols
    done
    cmp native.symbols ours.symbols || fail "other dynamic symbols with '$options': $(cat ours.symbols)"
done
gcc -shared -fPIC -B"$folder" -o ours.so exports.c
crateld strip ours.so
nm -D ours.so >out
has out "T function"
objdump -T ours.so >out
has out constant
[ "$(readelf -SW ours.so | grep -c '\.symtab')" = 0 ] || fail "not stripped"

# A program's main() may be a library's, as those of test frameworks are; nobody's is an error, as for ld.
source_file framework.c <<'END_C'
#include <stdio.h>
int main(int argc, char **argv) { return printf("%d %s\n", argc, argv[1]) != 4; }
END_C
echo 'int cases;' >cases.c
gcc -fPIC -c framework.c
gcc -c cases.c
for linker in "$(crateld ld --print-folder)" /usr/bin/; do
    gcc -B"$linker" -shared -o libframework.so framework.o
    gcc -B"$(crateld ld --print-folder)" -o cases cases.o -L. -lframework -Wl,-rpath,"$PWD" || fail "main() in a library of $linker"
    status 0 ./cases x
    [ "$(cat out)" = "2 x" ] || fail "main() of a library of $linker"
done
status 1 gcc -B"$(crateld ld --print-folder)" -o none cases.o
has err "no input defines the entry 'main', a function"
[ ! -e none ] || fail "a program without main()"
gcc -B"$(crateld ld --print-folder)" -shared -o libcases.so cases.o || fail "a library without main()"
