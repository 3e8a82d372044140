#!/bin/bash
# With a stack limit that no stack pointer is above, every prologue calls __morestack: functions go on, on the same stack, with
# all their arguments, and can be unwound.
root=$(cd "$(dirname "$0")" && pwd)
. "$root/lib.sh"
need gcc g++ gdb
# Plain code sets the limit of the thread, then calls the program.
echo 'int real_main(void); int main(void) { __asm__ volatile("movq $-1, %fs:0x70"); return real_main(); }' >start.c
# check DRIVER COMPILER FILE FUNCTION: one that main calls
check() {
    for options in -O0 '-O2 -fcf-protection' '-O3 -fno-omit-frame-pointer'; do
        crateld "$1" -w -Wno-psabi $options "$root/cc/$3" -o wanted 2>log
        ./wanted >wanted.out 2>&1
        crateld "$1" -w -Wno-psabi -Dmain=real_main $options -c "$root/cc/$3" -o program.o
        "$2" -w -c start.c -o start.o
        crateld "$1" start.o program.o -o limited 2>log
        status 0 ./limited
        cmp out wanted.out || fail "$3 with $options"
    done
    gdb -batch -ex "break $4" -ex 'run >gdb.out' -ex bt ./limited >bt 2>/dev/null
    has bt 'in real_main'
    has bt 'in main ()'
    gdb -batch -ex 'break __morestack' -ex 'run >gdb.out' ./limited 2>/dev/null | grep -q 'Breakpoint 1, .*__morestack' ||
        fail "__morestack is never called"
}
check cc gcc language.c use
sed -i 's/real_main(void)/real_main()/; s/^/extern "C++" /' start.c
check c++ g++ language.cc thrower
