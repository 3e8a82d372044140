#!/bin/sh
# cppcheck finds nothing; what is suppressed says why where it stands. In loader/self_exe.c exec's variants may be called
# where nothing but the stack can give memory.  cppcheck.sh ROOT
set -eu
cd "$1"
command -v cppcheck >/dev/null || exit 77
cppcheck --quiet --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --std=c11 --language=c \
    --suppress=missingIncludeSystem --suppress=allocaCalled:loader/self_exe.c \
    -D__x86_64__ -D__linux__ -D__LP64__ -I. -Iinclude -j 2 base runtime toc reloc crate linker loader cli
