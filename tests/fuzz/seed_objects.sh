# shellcheck shell=sh
# Sourced: seed_objects makes small objects of many kinds in the current folder, *.o. TOOL: the tool program.
c_source() {
    cat <<'END'
#include <stddef.h>
extern int imported(const char *, ...), imported_data;
extern void weak(void) __attribute__((weak));
int common, initialised = 3, *pointer = &initialised, (*function)(const char *, ...) = imported;
static int zeroed[100];
static const char *const names[] = {"zero", "one", "two and one"};
__thread int own_tls = 4;
static __thread int static_tls;
extern __thread int imported_tls;
int hidden(int) __attribute__((visibility("hidden")));
int hidden(int i)
{
    switch (i) {
    case 0: return imported("zero");
    case 1: return imported_data;
    case 2: return zeroed[i];
    case 3: return own_tls++;
    case 4: return static_tls++;
    case 5: return imported_tls++;
    case 6: return common;
    default: return imported(names[i % 3]);
    }
}
static int indirect(int i) { return hidden(i) * 2; }
int (*table[])(int) = {hidden, indirect};
double number(double x) { return x * 1.5 + 2.25; }
__attribute__((constructor(101))) static void early(void) { zeroed[1]++; }
__attribute__((constructor)) static void start(void) { if (weak) weak(); }
__attribute__((destructor)) static void end(void) { zeroed[2]++; }
int main(int argc, char **argv) { return table[argc & 1](argc) + (int)number(argc) + (argv[0] ? *pointer : 0); }
END
}

cxx_source() {
    cat <<'END'
struct base { virtual ~base() {} virtual int f(int) = 0; };
struct derived : base { int f(int i) override { if (i > 3) throw i; return i; } };
template <typename T> struct counted { static T count; };
template <typename T> T counted<T>::count = 1;
inline int inline_variable = 5;
inline int once() { static int i = inline_variable++; return i; }
derived one;
int main(int argc, char **)
{
    try { base *b = &one; return b->f(argc) + counted<int>::count + once(); }
    catch (int i) { return i; }
}
END
}

# What compilers seldom emit: every relocation, symbol type and section kind that the linker knows.
assembly_source() {
    cat <<'END'
    .text
    .globl main
    .type main, @function
main:
    .cfi_startproc
    lea x(%rip), %rax
    mov got@GOTPCREL(%rip), %rax
    call *called@GOTPCREL(%rip)
    jmp *called@GOTPCREL(%rip)
    call local_ifunc@PLT
    cmpq $0, absent@GOTPCREL(%rip)
    lea t@TLSDESC(%rip), %rax
    call *t@TLSCALL(%rax)
    lea t@TLSLD(%rip), %rdi
    mov t@GOTTPOFF(%rip), %rax
    mov %fs:t@TPOFF, %eax
    lea t@DTPOFF(%rax), %rax
    movabs $_GLOBAL_OFFSET_TABLE_-., %rbx
    movabs $got@GOT, %rax
    movabs $x@GOTOFF, %rax
    movabs $called@PLTOFF, %rax
    movabs $x, %rax
    mov $x, %eax
    ret
    .cfi_endproc
    .size main, .-main
    .type local_ifunc, @gnu_indirect_function
local_ifunc:
    lea main(%rip), %rax
    ret
    .weak absent
    .section .data.x, "aw"
    .globl unique
    .type unique, @gnu_unique_object
unique:
x:  .quad main, x + 8, called, x - ., local_ifunc
    .long x - ., main - .
    .size unique, .-unique
    .section .tdata, "awT"
    .type t, @object
t:  .quad x, 5
    .section .tbss, "awT", @nobits
    .zero 24
    .section set, "aw"
    .quad main
    .section .rodata.uses, "a"
    .quad __start_set, __stop_set, _end, __bss_start
    .section .ctors, "aw"
    .quad main
    .section .dtors.65000, "aw"
    .quad main
    .section .preinit_array, "aw", @preinit_array
    .quad main
    .section .rodata.str8.8, "aMS", @progbits, 8
    .quad 'a', 'b', 0, 'b', 0
    .section .rodata.cst16, "aM", @progbits, 16
    .quad 1, 2, 3, 4
    .section .text.group, "axG", @progbits, signature, comdat
    .globl signature
    .weak signature
signature: ret
    .section .linked, "ao", @progbits, .text
    .quad main
    .section .kept, "aR"
    .quad 7
    .section .excluded, "e"
    .quad 7
    .section .ldata, "awl"
    .quad 8
    .section .gnu.warning.called
    .string "do not"
    .section .bss.big, "aw", @nobits
    .zero 70000
    .comm shared, 64, 32
    .lcomm private, 9
    .section .note.GNU-stack, "x"
    .symver called, called@V1
END
}

seed_objects() {
    c_source >c.c
    cxx_source >cxx.cc
    assembly_source >all.s
    gcc -w -O2 -fPIC -fcommon -ffunction-sections -fdata-sections -c c.c -o gcc_pic.o
    gcc -w -O0 -fno-pie -mno-tls-direct-seg-refs -g -gz -c c.c -o gcc_nopic.o
    clang -w -O2 -c c.c -o clang.o
    g++ -w -O1 -fPIC -c cxx.cc -o gxx.o
    as all.s -o all.o
    "$TOOL" cc -w -O2 -c c.c -o toc.o
}
