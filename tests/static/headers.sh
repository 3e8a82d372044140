#!/bin/sh
# Each header compiles alone; the public ones in strict C11 and C++11 too.  headers.sh ROOT
set -eu
cd "$1"
status=0
count=0

# alone HEADER INCLUDED-AS COMPILER...
alone() {
    header=$1 name=$2
    shift 2
    count=$((count + 1))
    printf '#include "%s"\n' "$name" | "$@" -I. -Iinclude -Wall -Wextra -Werror -fsyntax-only - || {
        echo "$header: does not compile alone: $*"
        status=1
    }
}

for header in base/*.h runtime/*.h toc/*.h reloc/*.h crate/*.h linker/*.h loader/*.h cli/*.h; do
    alone "$header" "$header" "${CC:-gcc}" -std=gnu17 -x c
done
for header in include/crateld/*.h; do
    name=${header#include/}
    alone "$header" "$name" "${CC:-gcc}" -std=c11 -pedantic -x c
    alone "$header" "$name" "${CXX:-g++}" -std=c++11 -pedantic -x c++
done
echo "$count compilations"
exit $status
