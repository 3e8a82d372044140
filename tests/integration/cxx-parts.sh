#!/bin/bash
# What C++ wants to be one in a process, or to pass from part to part, is so with the parts in one, two and three crates, as in an
# ordinary program: exceptions (through ELF libraries too), types, inline variables, statics, thread-locals, constructors and
# destructors. Usage: cxx-parts.sh COMPILER
. "$(dirname "$0")/oracle.sh"
parts=$here/programs/cxx-parts
case $1 in
clang) need clang++ && compiler=clang++ ;;
toc) compiler="crateld c++" ;;
*) compiler=g++ ;;
esac
gcc -shared -fPIC -fexceptions -O2 -Wl,-soname,libeach.so -o libeach.so "$parts/each.c"
export LD_LIBRARY_PATH=$PWD

# ran WHAT CRATE OPTION...: it does what the native program does.
ran() {
    what=$1 crate=$2
    shift 2
    for argument in "" exit terminate; do
        # shellcheck disable=SC2086
        recorded crate crateld run "$@" "$crate" $argument
        same crate "native-$argument" "$what, $crate $* $argument"
    done
}

levels="-O0 -O2"
[ -z "${CRATELD_TEST_LONG:-}" ] || levels="-O0 -O1 -O2 -O3"
for model in -fPIE -fPIC; do
    for level in $levels; do
        flags="-std=c++17 $level $model"
        for part in base middle main; do
            # shellcheck disable=SC2086
            $compiler $flags -c "$parts/$part.cc" -o $part.o
        done
        # shellcheck disable=SC2086
        $compiler $flags -o native base.o middle.o main.o -L. -leach
        for argument in "" exit terminate; do
            # shellcheck disable=SC2086
            recorded "native-$argument" ./native $argument
        done
        linked one.crate base.o middle.o main.o -lstdc++ -L. -leach
        ran "$1 $flags" one.crate
        linked base.crate base.o -lstdc++
        linked middle.crate middle.o base.crate -lstdc++
        linked three.crate main.o base.crate middle.crate -lstdc++ -L. -leach
        ran "$1 $flags" three.crate
        ran "$1 $flags" three.crate --aslr --bind-now
        linked library.crate base.o middle.o -lstdc++ --no-relink
        linked two.crate main.o library.crate -lstdc++ -L. -leach --no-gc-sections
        ran "$1 $flags" two.crate --aslr
    done
done
