#!/bin/bash
# `crateld cc` and `crateld c++` as CC and CXX of a configure script with Make, of CMake and of Meson: each with a static and a
# shared library, C, C++ and assembly, whose program then runs.
. "$(dirname "$0")/lib.sh"
need gcc g++ make
mkdir project
cd project
source_file main.c <<'END'
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
int from_static(int), from_shared(int (*)(int), int), from_assembly(void);
static int twice(int n) { return from_static(n) + n; }
static int compare(const void *a, const void *b) { return twice(*(const int *)a) - twice(*(const int *)b); }
int main(void)
{
    int numbers[200];
    for (int i = 0; i < 200; i++)
        numbers[i] = i * 37 % 211;
    qsort(numbers, 200, sizeof *numbers, compare);
    printf("%d %d %d %d %d\n", numbers[0], numbers[199], from_shared(twice, 20), from_assembly(), HAVE_QSORT_R);
    return 0;
}
END
echo 'int from_static(int n) { return n + 1; }' >static.c
source_file shared.cc <<'END'
#include <algorithm>
#include <string>
#include <vector>
static int thrower(int n) { if (n % 2) throw std::string(static_cast<size_t>(n), 'x'); return n; }
extern "C" int from_shared(int (*f)(int), int n)
{
    std::vector<int> all;
    for (int i = 0; i < n; i++)
        try { all.push_back(f(thrower(i))); } catch (const std::string &s) { all.push_back(static_cast<int>(s.size())); }
    return *std::max_element(all.begin(), all.end());
}
END
printf '.text\n.globl from_assembly\n.type from_assembly, @function\nfrom_assembly:\n#ifdef __x86_64__\n mov $64, %%eax\n#endif\n ret\n.section .note.GNU-stack,"",@progbits\n' >asm.S
wanted='0 210 37 64 1'

# What configure scripts do: look for the compiler's ways, and for functions, by compiling and running small programs.
source_file configure <<'END'
#!/bin/sh
set -e
try() { echo "$1" >conftest.c && $CC $CFLAGS conftest.c -o conftest $2 >>config.log 2>&1; }
$CC --version >>config.log || exit 1
try 'int main(void) { return 0; }' && ./conftest || { echo "C compiler cannot create executables" >&2; exit 77; }
[ -z "$($CC -c conftest.c 2>&1)" ] || { echo "compiler prints" >&2; exit 1; }
echo '#include <assert.h>' | $CC -E - >/dev/null
! echo '#include <no_such_header.h>' | $CC -E - >/dev/null 2>&1
! try 'int no_such_function(); int main(void) { return no_such_function(); }'
! try 'int main(void) { return 0; }' -lno_such_library
try '#include <math.h>
int main(int n, char **v) { return (int)cos(n - 1.) - 1; }' -lm && ./conftest
try 'char qsort_r(); int main(void) { return qsort_r(); }' -fno-builtin && have=1 || have=0
echo "#define HAVE_QSORT_R $have" >config.h
$CXX --version >>config.log
$CC -fPIC -MMD -MP -c conftest.c -o conftest.o && [ -s conftest.d ]
case $($CC -dumpmachine) in x86_64*) ;; *) exit 1 ;; esac
sed "s|@CC@|$CC|; s|@CXX@|$CXX|; s|@CFLAGS@|$CFLAGS|" Makefile.in >Makefile
END
source_file Makefile.in <<'END'
CC = @CC@
CXX = @CXX@
CFLAGS = @CFLAGS@
program: main.o asm.o libstatic.a libshared.so
	$(CC) $(CFLAGS) -o $@ main.o asm.o -L. -lstatic -lshared -Wl,-rpath,'$$ORIGIN'
libstatic.a: static.o
	ar rcs $@ static.o
libshared.so: shared.cc
	$(CXX) $(CFLAGS) -fPIC -shared -Wl,-z,defs -o $@ shared.cc
END
for flags in '-O2 -g' '-O0 -fPIE -pie' '-O2 -flto'; do
    mkdir build
    cp ./*.c ./*.cc ./*.S Makefile.in configure build
    (cd build && CC='crateld cc' CXX='crateld c++' CFLAGS=$flags sh ./configure && make) >log 2>&1 || fail "make, $flags: $(tail -5 log)"
    [ "$(build/program)" = "$wanted" ] || fail "make, $flags: $(build/program)"
    rm -rf build
done
echo '#define HAVE_QSORT_R 1' >config.h

if command -v cmake >/dev/null; then
    source_file CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.16)
project(p C CXX ASM)
add_library(static STATIC static.c)
add_library(shared SHARED shared.cc)
add_executable(program main.c asm.S)
target_link_libraries(program static shared)
END
    for kind in Debug Release; do
        CC='crateld cc' CXX='crateld c++' ASM='crateld cc' cmake -S . -B build -DCMAKE_BUILD_TYPE=$kind >log 2>&1 ||
            fail "cmake: $(tail -5 log)"
        cmake --build build >log 2>&1 || fail "cmake --build: $(tail -5 log)"
        [ "$(build/program)" = "$wanted" ] || fail "cmake, $kind: $(build/program)"
        rm -rf build
    done
fi

if command -v meson >/dev/null && command -v ninja >/dev/null; then
    source_file meson.build <<'END'
project('p', 'c', 'cpp')
executable('program', 'main.c', 'asm.S', link_with: [static_library('static', 'static.c'), shared_library('shared', 'shared.cc')])
END
    for option in buildtype=debugoptimized b_lto=true b_sanitize=undefined; do
        CC='crateld cc' CXX='crateld c++' meson setup build -D$option -Db_lundef=false >log 2>&1 || fail "meson: $(tail -5 log)"
        ninja -C build -j2 >log 2>&1 || fail "ninja: $(tail -5 log)"
        [ "$(build/program)" = "$wanted" ] || fail "meson, $option: $(build/program)"
        rm -rf build
    done
fi
exit 0
