#!/bin/bash
# A program made with static libraries of Debian's does the same as a crate, as several crates (each library one), and linked by
# the system's linker. Usage: real.sh NAME
. "$(dirname "$0")/oracle.sh"
source=$here/programs/$1.c
flags=
archives=
others=
arguments=
case $1 in
lua) flags=-I/usr/include/lua5.4 archives=$libraries/liblua5.4.a others="-lm -ldl" arguments="lua-1.lua no-such.lua lua-2.lua" ;;
sqlite) archives=$libraries/libsqlite3.a others="-lm -lpthread" ;;
zlib) archives=$libraries/libz.a ;;
zstd) archives=$libraries/libzstd.a others=-lpthread ;;
crypto) archives=$libraries/libcrypto.a others="-ldl -lpthread" ;;
expat) archives=$libraries/libexpat.a ;;
gmp) archives=$libraries/libgmp.a ;;
cxx) source=$here/programs/cxx.cc flags=-std=c++17 others=-lm ;;
cxx-static) source=$here/programs/cxx.cc flags=-std=c++17 archives=$(gcc -print-file-name=libstdc++.a) others=-lm ;;
esac
case $1 in cxx*) need_libc_first ;; esac # its allocations that must fail end a program that has a sanitizer
for archive in $archives; do
    [ -e "$archive" ] || skip "no $archive"
done
cp "$here"/programs/*.lua .

# compiled WAY: main.o, and native, the program of the system's linker.
compiled() {
    optimise=-O2 plus=
    case $1 in *-O*) optimise=-${1##*-} ;; esac
    case $source in *.cc) plus=++ ;; esac
    case $1 in
    toc*) set -- crateld c${plus:-c} ;;
    clang*) set -- clang$plus ;;
    gcc-pic*) set -- g${plus:-cc} -fPIC ;;
    gcc-nopie*) set -- g${plus:-cc} -fno-pie -no-pie ;;
    *) set -- g${plus:-cc} ;;
    esac
    # shellcheck disable=SC2086
    {
        "$@" $flags $optimise -c "$source" -o main.o
        case $archives in
        *libstdc++.a) "$@" main.o -static-libstdc++ $others -o native ;;
        *) "$@" main.o $archives $others -o native ;;
        esac
    }
    # shellcheck disable=SC2086
    recorded native ./native $arguments
}

# crated WAY: the crates, run.
crated() {
    standard=
    case $source,$archives in
    *.cc,) standard=-lstdc++ ;;
    esac
    # shellcheck disable=SC2086
    linked one.crate main.o $archives $standard $others
    # shellcheck disable=SC2086
    recorded one crateld run one.crate $arguments
    same one native "$1, one crate"
    # shellcheck disable=SC2086
    recorded one crateld run --aslr --bind-now one.crate $arguments
    same one native "$1, one crate, --aslr --bind-now"
    [ -n "$archives" ] || return 0
    needed=
    for archive in $archives; do
        crate=$(basename "$archive" .a).crate
        # shellcheck disable=SC2086
        [ -e "$crate" ] || linked "$crate" --whole-archive "$archive" --no-whole-archive $others
        needed="$needed $crate"
    done
    # shellcheck disable=SC2086
    linked several.crate main.o $needed $others
    # shellcheck disable=SC2086
    recorded several crateld run several.crate $arguments
    same several native "$1, several crates"
    # shellcheck disable=SC2086
    recorded several crateld run --aslr several.crate $arguments
    same several native "$1, several crates, --aslr"
}

ways="gcc gcc-pic gcc-nopie clang toc"
case $1 in # these take long to compile; position-dependent code can not address variables of libstdc++.so
cxx) ways="gcc gcc-pic toc" ;;
cxx-static) ways="gcc-nopie clang toc" ;;
esac
[ -z "${CRATELD_TEST_LONG:-}" ] || ways="$ways gcc-O0 gcc-pic-O3 clang-O0 clang-O3 toc-O0 toc-O1 toc-O3"
for way in $ways; do
    compiled "$way"
    crated "$way"
done
