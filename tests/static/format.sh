#!/bin/sh
# Every file is as clang-format and .clang-format make it.  format.sh ROOT
set -eu
cd "$1"
command -v clang-format >/dev/null || exit 77
find base runtime toc reloc crate linker loader cli include tests bench examples -name '*.[ch]' 2>/dev/null |
    sort | xargs clang-format --dry-run -Werror
