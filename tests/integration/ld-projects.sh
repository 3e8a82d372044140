#!/bin/bash
# crateld as the linker of CMake, Meson, autoconf with automake and libtool, and Make: a static library, a shared one in C++
# with a version in its name, a plugin, a program and a test program, built and tested as the project says, unchanged. By
# compiler wrapper, by gcc's -B, and with LTO.
. "$(dirname "$0")/lib.sh"
need gcc g++ make
folder=$(crateld ld --print-folder)
mkdir project
cd project
mkdir lib src tests
source_file lib/shapes.h <<'END'
#ifdef __cplusplus
extern "C" {
#endif
extern int shape_count;
double shape_area(const char *kind, double size); /* -1: no such shape */
int base_value(int);
#ifdef __cplusplus
}
#endif
END
source_file lib/shapes.cc <<'END'
#include "shapes.h"
#include <map>
#include <stdexcept>
#include <string>
int shape_count = 2;
static const std::map<std::string, double> factors = {{"square", 1}, {"circle", 3}};
static double factor(const std::string &kind)
{
    auto found = factors.find(kind);
    if (found == factors.end())
        throw std::out_of_range(kind);
    return found->second;
}
double shape_area(const char *kind, double size)
{
    try {
        return factor(kind) * size * size;
    } catch (const std::out_of_range &) {
        return -1;
    }
}
END
echo 'int base_value(int n) { return n + 40; }' >lib/base.c
source_file src/main.c <<'END'
#include "shapes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    printf("%g %d\n", sqrt(shape_area(argc > 1 ? argv[1] : "square", 4)), base_value(shape_count));
    return 0;
}
END
source_file src/plugin.c <<'END'
int host_value(void);
int twice(int n) { return n * 2; }
int plugin_value(void) { return twice(host_value()); }
END
source_file tests/check.cc <<'END'
#include "shapes.h"
#include <dlfcn.h>
#include <cstdio>
#include <cstdlib>
#include <string>
extern "C" int host_value(void) { return 21; }
int main(int argc, char **argv)
{
    if (argc != 3 || shape_area("circle", 1) != 3 || shape_area("none", 1) != -1 || base_value(2) != 42)
        return 1;
    void *plugin = dlopen(argv[2], RTLD_NOW);
    if (!plugin) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    auto value = reinterpret_cast<int (*)()>(dlsym(plugin, "plugin_value"));
    if (!value || value() != 42)
        return 3;
    std::string command = std::string("'") + argv[1] + "' square >out.txt";
    if (std::system(command.c_str()))
        return 4;
    char line[100] = "";
    std::FILE *out = std::fopen("out.txt", "r");
    return out && std::fgets(line, sizeof line, out) && line == std::string("4 42\n") ? 0 : 5;
}
END
is_crate() {
    readelf -lW "$1" 2>/dev/null | grep -q 3726174 || fail "$2: $1 is no crate"
}

# ways: what the build systems are told.
ways=("crateld cc -fuse-ld=crateld|crateld c++ -fuse-ld=crateld" "gcc -B$folder|g++ -B$folder" "gcc -flto -O2 -B$folder|g++ -flto -O2 -B$folder")

source_file Makefile.plain <<'END'
CFLAGS = -O2 -g -fPIC -Ilib
CXXFLAGS = $(CFLAGS)
all: calc plugin.so check
libbase.a: base.o ; $(AR) rcs $@ base.o
libshapes.so.1: shapes.o ; $(CXX) -shared -Wl,-soname,$@ -Wl,-z,defs -o $@ shapes.o && ln -sf $@ libshapes.so
calc: main.o libbase.a libshapes.so.1 ; $(CC) -o $@ main.o -L. -lbase -lshapes -lm -Wl,-rpath,'$$ORIGIN'
plugin.so: plugin.o ; $(CC) -shared -o $@ plugin.o
check: check.o libbase.a libshapes.so.1 ; $(CXX) -rdynamic -o $@ check.o -L. -lshapes -lbase -ldl -Wl,-rpath,'$$ORIGIN'
%.o: lib/%.c ; $(CC) $(CFLAGS) -c -o $@ $<
%.o: lib/%.cc ; $(CXX) $(CXXFLAGS) -c -o $@ $<
%.o: src/%.c ; $(CC) $(CFLAGS) -c -o $@ $<
%.o: tests/%.cc ; $(CXX) $(CXXFLAGS) -c -o $@ $<
test: all ; ./check ./calc ./plugin.so
END
for way in "${ways[@]}"; do
    rm -rf ../make
    cp -r . ../make
    make -C ../make -f Makefile.plain CC="${way%|*}" CXX="${way#*|}" test >log 2>&1 || fail "make, $way: $(tail -5 log)"
    for file in calc libshapes.so.1 plugin.so check; do
        is_crate ../make/$file "make, $way"
    done
done

if command -v cmake >/dev/null; then
    source_file CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.16)
project(shapes VERSION 1.2.3 LANGUAGES C CXX)
enable_testing()
include_directories(lib)
add_library(base STATIC lib/base.c)
add_library(shapes SHARED lib/shapes.cc)
set_target_properties(shapes PROPERTIES VERSION 1.2.3 SOVERSION 1)
add_executable(calc src/main.c)
target_link_libraries(calc base shapes m)
add_library(plugin MODULE src/plugin.c)
add_executable(check tests/check.cc)
set_target_properties(check PROPERTIES ENABLE_EXPORTS ON)
target_link_libraries(check shapes base ${CMAKE_DL_LIBS})
add_test(NAME check COMMAND check $<TARGET_FILE:calc> $<TARGET_FILE:plugin>)
install(TARGETS calc shapes)
END
    for way in "${ways[@]}"; do
        CC=${way%|*} CXX=${way#*|} cmake -S . -B ../cmake >log 2>&1 || fail "cmake, $way: $(tail -5 log)"
        cmake --build ../cmake >log 2>&1 || fail "cmake --build, $way: $(tail -5 log)"
        ctest --test-dir ../cmake --output-on-failure >log 2>&1 || fail "ctest, $way: $(tail -8 log)"
        is_crate ../cmake/calc "cmake, $way"
        is_crate ../cmake/libshapes.so.1.2.3 "cmake, $way"
        # Installed, the program has lost its rpath: CMake rewrites ELF files only, and installs these anew.
        cmake --install ../cmake --prefix "$PWD/../cmake/root" >log 2>&1 || fail "cmake --install, $way: $(tail -8 log)"
        [ "$(LD_LIBRARY_PATH=../cmake/root/lib ../cmake/root/bin/calc)" = "4 42" ] || fail "cmake, $way: installed"
        rm -rf ../cmake
    done
fi

if command -v meson >/dev/null && command -v ninja >/dev/null; then
    source_file meson.build <<'END'
project('shapes', 'c', 'cpp', version: '1.2.3')
inc = include_directories('lib')
base = static_library('base', 'lib/base.c')
shapes = shared_library('shapes', 'lib/shapes.cc', version: '1.2.3', install: true)
m = meson.get_compiler('c').find_library('m')
calc = executable('calc', 'src/main.c', include_directories: inc, link_with: [base, shapes], dependencies: m, install: true)
plugin = shared_module('plugin', 'src/plugin.c', override_options: 'b_lundef=false')
check = executable('check', 'tests/check.cc', include_directories: inc, link_with: [base, shapes], export_dynamic: true,
                   dependencies: dependency('dl'))
test('check', check, args: [calc, plugin])
END
    for way in "${ways[@]}"; do
        CC=${way%|*} CXX=${way#*|} meson setup ../meson >log 2>&1 || fail "meson, $way: $(tail -5 log)"
        ninja -C ../meson >log 2>&1 || fail "ninja, $way: $(tail -5 log)"
        meson test -C ../meson >log 2>&1 || fail "meson test, $way: $(tail -20 log)"
        is_crate ../meson/calc "meson, $way"
        rm -rf ../meson
    done
fi

if command -v autoreconf >/dev/null && command -v libtoolize >/dev/null && command -v automake >/dev/null; then
    source_file configure.ac <<'END'
AC_INIT([shapes], [1.2.3])
AM_INIT_AUTOMAKE([foreign subdir-objects])
AC_PROG_CC
AC_PROG_CXX
AM_PROG_AR
LT_INIT([dlopen])
AC_SEARCH_LIBS([dlopen], [dl])
AC_SEARCH_LIBS([sqrt], [m])
AC_CHECK_FUNCS([qsort_r no_such_function])
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
END
    source_file Makefile.am <<'END'
AM_CPPFLAGS = -I$(srcdir)/lib
lib_LTLIBRARIES = libshapes.la
libshapes_la_SOURCES = lib/shapes.cc
libshapes_la_LDFLAGS = -version-info 1:0:0 -export-symbols-regex '^shape_'
noinst_LIBRARIES = libbase.a
libbase_a_SOURCES = lib/base.c
bin_PROGRAMS = calc
calc_SOURCES = src/main.c
calc_LDADD = libbase.a libshapes.la
noinst_LTLIBRARIES = plugin.la
plugin_la_SOURCES = src/plugin.c
plugin_la_LDFLAGS = -export-symbols-regex '^plugin_' -module -avoid-version -rpath /nowhere -shared
check_PROGRAMS = checker
checker_SOURCES = tests/check.cc
checker_LDADD = libshapes.la libbase.a
checker_LDFLAGS = -export-dynamic
TESTS = run-check
END
    printf '#!/bin/sh\nexec ./checker ./calc ./.libs/plugin.so\n' >run-check
    chmod +x run-check
    autoreconf -if >log 2>&1 || fail "autoreconf: $(tail -5 log)"
    for way in "${ways[@]}"; do
        mkdir ../auto
        cp run-check ../auto
        (
            cd ../auto
            ../project/configure --disable-static CC="${way%|*}" CXX="${way#*|}" --prefix="$PWD/root" && make
        ) >log 2>&1 || fail "configure, make, $way: $(tail -5 log)"
        grep -q '#define HAVE_QSORT_R 1' ../auto/config.log || fail "configure, $way: qsort_r"
        ! grep -q '#define HAVE_NO_SUCH_FUNCTION' ../auto/config.log || fail "configure, $way: no_such_function"
        make -C ../auto check >log 2>&1 || fail "make check, $way: $(tail -5 log) $(cat ../auto/*.log | tail -5)"
        make -C ../auto install >log 2>&1 || fail "make install, $way: $(tail -5 log)"
        [ "$(../auto/root/bin/calc)" = "4 42" ] || fail "autoconf, $way: installed"
        is_crate ../auto/root/bin/calc "autoconf, $way"
        is_crate ../auto/root/lib/libshapes.so "autoconf, $way"
        [ "$(nm -D --defined-only ../auto/.libs/plugin.so | sed 's/.* //' | xargs)" = plugin_value ] ||
            fail "libtool, $way: -export-symbols-regex: $(nm -D ../auto/.libs/plugin.so)"
        rm -rf ../auto
    done
fi
