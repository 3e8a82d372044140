/* The stubs of x86-64 are executed, each in memory of its own; their unwind information is checked by
 * unwinding from every single instruction. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include "crateld/toc.h"
#include "tests/unit/leaks.h"
#include "toc/stubs.h"

TestSuite(toc_x86_64, .fini = require_no_leaks);

enum { REGION_SIZE = 64 * 1024, HALF = REGION_SIZE / 2, MAX_WORDS = 600 };

/* Known to the assembly below by offset. */
struct registers {
    uint64_t rdi, rsi, rdx, rcx, r8, r9; /* 0 .. 40 */
    uint64_t rax, r10, r15, r11;         /* 48 .. 72 */
    uint64_t xmm0, xmm1;                 /* 80, 88 */
    uint64_t rsp;                        /* 96 */
    uint64_t rbx, rbp, r12, r13, r14;    /* 104 .. 136 */
    uint64_t return_address;             /* 144 */
};

/* What the caller loads, what the callee and afterwards the caller found. Also used by the assembly. */
struct registers before, seen, after;
uint64_t stack_words[MAX_WORDS];
uint64_t seen_words[MAX_WORDS];
uint64_t stack_word_count;
uint64_t seen_callee; /* 1: the ordinary entry, 2: the varargs entry */
uint64_t single_step; /* 0x100, the trap flag, or 0 */

/* Calls `target` with everything that `before` says and the stack words, noting in `after` what comes back.
 */
void call_with_registers(const void *target);
extern const char call_with_registers_return[];
void ordinary_callee(void);
void varargs_callee(void);

__asm__(".text\n"
        ".type call_with_registers, @function\n"
        "call_with_registers:\n"
        "  .cfi_startproc\n"
        "  push %rbp; .cfi_def_cfa_offset 16; .cfi_offset %rbp, -16\n"
        "  mov %rsp, %rbp; .cfi_def_cfa_register %rbp\n"
        "  push %rbx; .cfi_offset %rbx, -24\n"
        "  push %r12; .cfi_offset %r12, -32\n"
        "  push %r13; .cfi_offset %r13, -40\n"
        "  push %r14; .cfi_offset %r14, -48\n"
        "  push %r15; .cfi_offset %r15, -56\n"
        "  push %rdi\n"
        "  mov stack_word_count(%rip), %rcx\n"
        "  lea (,%rcx,8), %rax\n"
        "  sub %rax, %rsp\n"
        "  and $-512, %rsp\n"
        "  lea stack_words(%rip), %rsi\n"
        "  mov %rsp, %rdi\n"
        "  rep movsq\n"
        "  lea before(%rip), %rbx\n"
        "  mov (%rbx), %rdi; mov 8(%rbx), %rsi; mov 16(%rbx), %rdx; mov 24(%rbx), %rcx\n"
        "  mov 32(%rbx), %r8; mov 40(%rbx), %r9; mov 56(%rbx), %r10; mov 64(%rbx), %r15\n"
        "  movq 80(%rbx), %xmm0; movq 88(%rbx), %xmm1\n"
        "  mov 112(%rbx), %rax; mov 120(%rbx), %r12; mov 128(%rbx), %r13; mov 136(%rbx), %r14\n"
        "  mov 48(%rbx), %rax; mov 104(%rbx), %rbx\n"
        "  mov %rsp, before+96(%rip)\n"
        "  pushf; mov single_step(%rip), %r11; or %r11, (%rsp); popf\n"
        "  call *-48(%rbp)\n"
        ".globl call_with_registers_return\n"
        "call_with_registers_return:\n"
        "  mov %rax, after+48(%rip); mov %rdx, after+16(%rip)\n"
        "  pushf; andq $-257, (%rsp); popf\n"
        "  mov %r15, after+64(%rip); mov %rbx, after+104(%rip); mov %rbp, after+112(%rip)\n"
        "  mov %r12, after+120(%rip); mov %r13, after+128(%rip); mov %r14, after+136(%rip)\n"
        "  movq %xmm0, after+80(%rip); movq %xmm1, after+88(%rip); mov %rsp, after+96(%rip)\n"
        "  lea -40(%rbp), %rsp\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "  .cfi_def_cfa %rsp, 8\n"
        "  ret\n"
        "  .cfi_endproc\n"
        "varargs_callee:\n"
        "  movq $2, seen_callee(%rip)\n"
        "  jmp 1f\n"
        "ordinary_callee:\n"
        "  movq $1, seen_callee(%rip)\n"
        "1:\n"
        "  mov %rdi, seen(%rip); mov %rsi, seen+8(%rip); mov %rdx, seen+16(%rip); mov %rcx, seen+24(%rip)\n"
        "  mov %r8, seen+32(%rip); mov %r9, seen+40(%rip); mov %rax, seen+48(%rip); mov %r10, seen+56(%rip)\n"
        "  mov %r15, seen+64(%rip); mov %r11, seen+72(%rip); movq %xmm0, seen+80(%rip)\n"
        "  movq %xmm1, seen+88(%rip); mov %rsp, seen+96(%rip)\n"
        "  mov (%rsp), %rax; mov %rax, seen+144(%rip)\n"
        "  lea 8(%rsp), %rsi; lea seen_words(%rip), %rdi; mov stack_word_count(%rip), %rcx; rep movsq\n"
        "  lea 8(%rsp), %rdi; mov stack_word_count(%rip), %rcx; mov $-1, %rax; rep stosq\n" /* they are the
                                                                                               callee's */
        "  mov $0x1111, %eax; mov $0x2222, %edx; mov $0x3333, %ecx\n"
        "  movq %rcx, %xmm0; inc %ecx; movq %rcx, %xmm1\n"
        "  ret\n");

/* A region near enough to this program for 32-bit distances: stubs in its first half, data in its second. */
struct region {
    uint8_t *code;
    struct crateld_function *slot; /* a function descriptor; behind it another page for the TOC */
    struct crateld_toc *toc;
};

static struct region make_region(void)
{
    uint8_t *code = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(code, MAP_FAILED);
    return (struct region){code, (struct crateld_function *)(code + HALF), (struct crateld_toc *)(code + HALF + 4096)};
}

static void make_executable(const struct region *region)
{
    cr_assert_eq(mprotect(region->code, HALF, PROT_READ | PROT_EXEC), 0);
}

static uint64_t address(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

/* Sets `before` and the stack words to values that tell each other apart; %r15 to `r15`. */
static void prepare(uint32_t stack_arguments, uint64_t r15)
{
    uint64_t *fields = (uint64_t *)&before;
    for (size_t i = 0; i < sizeof before / 8; i++)
        fields[i] = 0x1000 + i;
    before.r15 = r15;
    memset(&seen, 0, sizeof seen);
    memset(&after, 0, sizeof after);
    stack_word_count = stack_arguments / 8;
    for (size_t i = 0; i < stack_word_count; i++)
        stack_words[i] = 0x77000000 + i;
    memset(seen_words, 0, sizeof seen_words);
    seen_callee = 0;
}

/* The callee found every argument, the caller every result and its own registers. */
static void check_arguments_and_results(void)
{
    cr_assert_eq(memcmp(&seen, &before, offsetof(struct registers, r15)), 0, "argument registers");
    cr_assert_eq(seen.xmm0, before.xmm0);
    cr_assert_eq(seen.xmm1, before.xmm1);
    cr_assert_eq(memcmp(seen_words, stack_words, stack_word_count * 8), 0, "stack arguments");
    cr_assert_eq(after.rax, 0x1111);
    cr_assert_eq(after.rdx, 0x2222);
    cr_assert_eq(after.xmm0, 0x3333);
    cr_assert_eq(after.xmm1, 0x3334);
    cr_assert_eq(after.rbx, before.rbx);
    cr_assert_eq(after.r12, before.r12);
    cr_assert_eq(after.r13, before.r13);
    cr_assert_eq(after.r14, before.r14);
    cr_assert_eq(after.rsp, before.rsp);
}

Test(toc_x86_64, import_stub_of_plain_code_jumps_through_its_slot)
{
    struct region region = make_region();
    toc_stubs_x86_64.write_import_plain(region.code, address(region.code), address(region.slot));
    make_executable(&region);
    region.slot->entry = address((const void *)ordinary_callee);
    prepare(24, 0x1515);
    call_with_registers(region.code);
    check_arguments_and_results();
    cr_assert_eq(seen.r15, 0x1515);
    cr_assert_eq(seen.return_address, address(call_with_registers_return));
}

Test(toc_x86_64, import_stub_of_toc_code_loads_entry_and_toc)
{
    struct region region = make_region();
    toc_stubs_x86_64.write_import_toc(region.code, address(region.code), address(region.slot));
    make_executable(&region);
    region.slot->entry = address((const void *)ordinary_callee);
    region.slot->toc = 0xabcdef;
    prepare(24, 0x1515);
    call_with_registers(region.code);
    check_arguments_and_results();
    cr_assert_eq(seen.r15, 0xabcdef);
}

/* Binding is a race: with the order reversed, an entry could meet an old TOC word. */
Test(toc_x86_64, import_stub_of_toc_code_loads_the_entry_first)
{
    uint8_t stub[64];
    toc_stubs_x86_64.write_import_toc(stub, 0, 0x1000);
    static const uint8_t wanted[] = {
        0x4c, 0x8b, 0x1d, 0xf9, 0x0f, 0, 0, /* mov 0x1000,%r11 */
        0x4c, 0x8b, 0x3d, 0xfa, 0x0f, 0, 0, /* mov 0x1008,%r15 */
        0x41, 0xff, 0xe3,                   /* jmp *%r11 */
    };
    cr_assert_eq(memcmp(stub, wanted, sizeof wanted), 0);
    for (size_t i = sizeof wanted; i < toc_stubs_x86_64.import_toc_size; i++)
        cr_assert_eq(stub[i], 0xcc);
}

Test(toc_x86_64, restore_replaces_an_instruction_that_does_nothing)
{
    uint8_t code[] = {0x0f, 0x1f, 0x05, 1, 2, 3, 4};                      /* nopl 0x04030201(%rip) */
    static const uint8_t wanted[] = {0x4c, 0x8d, 0x3d, 0xf9, 0x0f, 0, 0}; /* lea 0x1000,%r15 */
    cr_assert_eq(sizeof code, toc_stubs_x86_64.restore_size);
    cr_assert(toc_stubs_x86_64.is_restore(code));
    toc_stubs_x86_64.write_restore(code, 0, 0x1000);
    cr_assert_eq(memcmp(code, wanted, sizeof wanted), 0);
    cr_assert_not(toc_stubs_x86_64.is_restore(code));
}

/* Stands for the loader's resolver: notes the TOC from %r11 and the slot from the stack, and goes on to the
 * callee. */
void resolver(void);
uint64_t resolver_slot, resolver_toc;
__asm__(".text\n"
        "resolver:\n"
        "  mov %r11, resolver_toc(%rip)\n"
        "  pop %r11\n"
        "  mov %r11, resolver_slot(%rip)\n"
        "  jmp ordinary_callee\n");

Test(toc_x86_64, lazy_stub_hands_slot_and_toc_to_the_resolver)
{
    struct region region = make_region();
    const struct toc_stub_ops *ops = &toc_stubs_x86_64;
    uint8_t *lazy = region.code + 4096, *head = region.code;
    ops->write_lazy_head(head, address(head), address(region.toc));
    ops->write_lazy(lazy, address(lazy), address(region.slot), address(head));
    make_executable(&region);
    region.toc->resolver = address((const void *)resolver);
    prepare(24, 0x1515);
    call_with_registers(lazy);
    check_arguments_and_results();
    cr_assert_eq(resolver_slot, address(region.slot));
    cr_assert_eq(resolver_toc, address(region.toc));
    cr_assert_eq(seen.r15, 0x1515);
    cr_assert_eq(seen.return_address, address(call_with_registers_return));
}

/* Entry stubs jump directly: this leads on from a place that is near enough. Returns its address. */
static uint64_t make_way_to_callee(struct region *region)
{
    uint8_t *way = region->code + HALF - 64;
    struct crateld_function *slot = region->slot + 1;
    toc_stubs_x86_64.write_import_plain(way, address(way), address(slot));
    slot->entry = address((const void *)ordinary_callee);
    return address(way);
}

Test(toc_x86_64, entry_stub_of_plain_code_jumps_to_the_function)
{
    struct region region = make_region();
    uint64_t callee = make_way_to_callee(&region);
    toc_stubs_x86_64.write_entry_plain(region.code, address(region.code), callee);
    make_executable(&region);
    prepare(8, 0x1515);
    call_with_registers(region.code);
    check_arguments_and_results();
    cr_assert_eq(seen.r15, 0x1515);
}

/* What gates call: notes where the gate is, and goes on to the callee as if that had been called. */
uint64_t gate_return;
void gate_target(void);
__asm__(".text\n"
        "gate_target:\n"
        "  pop gate_return(%rip)\n"
        "  jmp ordinary_callee\n");

Test(toc_x86_64, gate_tells_by_its_return_address_which_one_was_called)
{
    struct region region = make_region();
    const struct toc_stub_ops *ops = &toc_stubs_x86_64;
    uint8_t *slot = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    cr_assert_neq(slot, MAP_FAILED);
    uint64_t target = address((const void *)gate_target);
    memcpy(slot, &target, sizeof target);
    uint8_t *gate = region.code + 3 * ops->gate_size;
    region.code[4 * ops->gate_size] = 0x5a;
    ops->write_gate(gate, address(slot));
    cr_assert_eq(region.code[4 * ops->gate_size], 0x5a, "wrote beyond its size");
    make_executable(&region);
    prepare(24, 0x1515);
    call_with_registers(gate);
    check_arguments_and_results();
    cr_assert_eq(gate_return, address(gate) + ops->gate_call_size);
    cr_assert_eq(seen.r15, 0x1515);
    cr_assert_eq(seen.return_address, address(call_with_registers_return));
}

static const uint32_t argument_sizes[] = {0, 8, 16, 24, 32, 40, 56, 64, 72, 80, 128, 320, 328, 4096, 4800};
enum { ARGUMENT_SIZES = sizeof argument_sizes / sizeof *argument_sizes };

/* Those with an odd number of stack words find their TOC in a word. */
static struct region make_entry_stub(uint32_t stack_arguments, bool is_varargs)
{
    struct region region = make_region();
    uint32_t size = toc_stubs_x86_64.entry_toc_size(stack_arguments, is_varargs);
    cr_assert_eq(size % TOC_ENTRY_TOC_ALIGN, 0);
    region.code[size] = 0x5a;
    uint64_t callee = make_way_to_callee(&region);
    bool is_toc_word = stack_arguments % 16;
    region.toc->crate = address(region.toc);
    struct toc_entry entry = {
        .function = callee,
        .func_ref = address(region.slot),
        .toc = is_toc_word ? address(&region.toc->crate) : address(region.toc),
        .is_toc_word = is_toc_word,
        .is_varargs = is_varargs,
        .stack_arguments = stack_arguments,
    };
    toc_stubs_x86_64.write_entry_toc(region.code, address(region.code), &entry);
    cr_assert_eq(region.code[size], 0x5a, "wrote beyond its size");
    make_executable(&region);
    region.slot->entry = address((const void *)ordinary_callee);
    region.slot->toc = address((const void *)varargs_callee);
    return region;
}

Test(toc_x86_64, preserving_entry_goes_straight_in_from_the_same_toc)
{
    for (size_t i = 0; i < ARGUMENT_SIZES; i++) {
        struct region region = make_entry_stub(argument_sizes[i], i % 2);
        prepare(argument_sizes[i], address(region.toc));
        call_with_registers(region.code);
        check_arguments_and_results();
        cr_assert_eq(seen_callee, 1);
        cr_assert_eq(seen.r15, address(region.toc));
        cr_assert_eq(seen.return_address, address(call_with_registers_return));
        cr_assert_eq(after.r15, address(region.toc));
    }
}

Test(toc_x86_64, preserving_entry_sets_its_toc_and_restores_the_callers)
{
    for (size_t i = 0; i < ARGUMENT_SIZES; i++) {
        struct region region = make_entry_stub(argument_sizes[i], false);
        prepare(argument_sizes[i], 0x1515);
        call_with_registers(region.code);
        check_arguments_and_results();
        cr_assert_eq(seen_callee, 1);
        cr_assert_eq(seen.r15, address(region.toc));
        cr_assert_eq(after.r15, 0x1515);
        cr_assert_eq(seen.rsp % 16, 8, "stack alignment with %u bytes of arguments", argument_sizes[i]);
    }
}

/* The harness aligns the arguments to 512: an argument of that size may rely on it. */
Test(toc_x86_64, preserving_entry_keeps_the_alignment_of_large_arguments)
{
    for (uint32_t size = 16; size <= 512; size *= 2) {
        struct region region = make_entry_stub(size, false);
        prepare(size, 0x1515);
        call_with_registers(region.code);
        cr_assert_eq((seen.rsp + 8) % size, 0, "%u bytes", size);
    }
}

Test(toc_x86_64, preserving_entry_of_a_varargs_function_tells_where_the_arguments_are)
{
    for (size_t i = 0; i < ARGUMENT_SIZES; i++) {
        struct region region = make_entry_stub(argument_sizes[i], true);
        prepare(argument_sizes[i], 0x1515);
        call_with_registers(region.code);
        check_arguments_and_results();
        cr_assert_eq(seen_callee, 2);
        cr_assert_eq(seen.r15, address(region.toc));
        cr_assert_eq(seen.r11, before.rsp);
        cr_assert_eq(after.r15, 0x1515);
        cr_assert_eq(seen.rsp % 16, 8);
    }
}

/* A function that moves has its stub written anew while threads may be in it: one aligned word may change. */
static void check_redirection(const uint8_t *before_move, const uint8_t *after_move, uint32_t size)
{
    uint32_t first = UINT32_MAX, last = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (before_move[i] == after_move[i])
            continue;
        first = first == UINT32_MAX ? i : first;
        last = i;
    }
    cr_assert_neq(first, UINT32_MAX);
    cr_assert_eq(first / 8, last / 8, "bytes %u to %u", first, last);
}

Test(toc_x86_64, entry_stubs_are_redirected_by_one_aligned_store)
{
    uint8_t stubs[2][256];
    for (int i = 0; i < 2; i++)
        toc_stubs_x86_64.write_entry_plain(stubs[i], 0x1000, i ? 0x12345678 : 0x2000);
    check_redirection(stubs[0], stubs[1], toc_stubs_x86_64.entry_plain_size);
    for (size_t k = 0; k < ARGUMENT_SIZES; k++) {
        uint32_t size = toc_stubs_x86_64.entry_toc_size(argument_sizes[k], k % 2);
        cr_assert_leq(size, sizeof *stubs);
        for (int i = 0; i < 2; i++) {
            struct toc_entry entry = {i ? 0x12345678 : 0x2000, 0x3000, 0x4000, k % 3, k % 2, argument_sizes[k]};
            toc_stubs_x86_64.write_entry_toc(stubs[i], 0x1000, &entry);
        }
        check_redirection(stubs[0], stubs[1], size);
        uint32_t field;
        memcpy(&field, stubs[1] + toc_stubs_x86_64.entry_toc_field_off, sizeof field);
        cr_assert_eq(field, 0x12345678 - (0x1000 + toc_stubs_x86_64.entry_toc_field_off + 4));
    }
}

/* What one single-stepped call showed. */
static struct {
    uint64_t begin, end;
    unsigned steps, found;
    uint64_t wrong_ip;
} unwinding;

struct unwind_search {
    bool is_found;
    unsigned frames;
};

/* Looks for the frame that called the stub, with its stack pointer and its %r15. */
static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *context, void *data)
{
    struct unwind_search *search = data;
    if (search->frames++ > 20)
        return _URC_NORMAL_STOP;
    if (_Unwind_GetIP(context) != address(call_with_registers_return))
        return _URC_NO_REASON;
    search->is_found = _Unwind_GetGR(context, 15) == before.r15;
    return _URC_NORMAL_STOP;
}

static void step(int number, siginfo_t *info, void *data)
{
    (void)number, (void)info;
    uint64_t ip = (uint64_t)((ucontext_t *)data)->uc_mcontext.gregs[REG_RIP];
    if (ip < unwinding.begin || ip >= unwinding.end)
        return;
    struct unwind_search search = {0};
    unwinding.steps++;
    _Unwind_Backtrace(look_at_frame, &search);
    if (search.is_found)
        unwinding.found++;
    else if (!unwinding.wrong_ip)
        unwinding.wrong_ip = ip - unwinding.begin;
}

extern void __register_frame(const void *);
extern void __deregister_frame(const void *);

/* An .eh_frame section with one CIE and one FDE. */
struct frame_section {
    uint8_t bytes[4096];
    size_t size;
};

static void put(struct frame_section *section, uint64_t value, size_t size)
{
    memcpy(section->bytes + section->size, &value, size);
    section->size += size;
}

/* Pads the entry that begins at `begin` to 8 and sets its length. */
static void end_entry(struct frame_section *section, size_t begin)
{
    while (section->size % 8 != 4)
        put(section, 0, 1); /* DW_CFA_nop */
    uint32_t length = (uint32_t)(section->size - begin - 4);
    memcpy(section->bytes + begin, &length, 4);
}

static void make_frame_section(struct frame_section *section, const uint8_t *code, size_t code_size, const uint8_t *cfi,
                               size_t cfi_size)
{
    const struct toc_cfi *cie = &toc_stubs_x86_64.cfi;
    section->size = 4; /* so that entries begin at 4 modulo 8, and their contents at 0 */
    size_t begin = section->size;
    put(section, 0, 4);
    put(section, 0, 4);
    put(section, 1, 1); /* version */
    put(section, 0, 1); /* augmentation "" : absolute addresses */
    put(section, cie->code_align, 1);
    put(section, (uint8_t)cie->data_align & 0x7f, 1);
    put(section, cie->return_register, 1);
    memcpy(section->bytes + section->size, cie->initial, cie->initial_size);
    section->size += cie->initial_size;
    end_entry(section, begin);
    size_t fde = section->size;
    put(section, 0, 4);
    put(section, fde + 4 - begin, 4);
    put(section, address(code), 8);
    put(section, code_size, 8);
    memcpy(section->bytes + section->size, cfi, cfi_size);
    section->size += cfi_size;
    end_entry(section, fde);
    put(section, 0, 4);
}

/* Calls `target` instruction by instruction; from each one within the `size` bytes at `code` the unwinder
 * must find the caller and its registers. */
static void check_unwinding(const uint8_t *target, const uint8_t *code, size_t size, const uint8_t *cfi,
                            size_t cfi_size)
{
    static struct frame_section section;
    memset(&section, 0, sizeof section);
    make_frame_section(&section, code, size, cfi, cfi_size);
    __register_frame(section.bytes + 4);
    memset(&unwinding, 0, sizeof unwinding);
    unwinding.begin = address(code);
    unwinding.end = address(code) + size;
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    cr_assert_eq(sigaction(SIGTRAP, &action, NULL), 0);
    single_step = 0x100;
    call_with_registers(target);
    single_step = 0;
    __deregister_frame(section.bytes + 4);
    cr_assert_gt(unwinding.steps, 1);
    cr_assert_eq(unwinding.found, unwinding.steps, "%u of %u instructions, first wrong one at +%#lx", unwinding.found,
                 unwinding.steps, (unsigned long)unwinding.wrong_ip);
}

Test(toc_x86_64, preserving_entry_can_be_unwound_from_every_instruction)
{
    for (size_t i = 0; i < 2 * ARGUMENT_SIZES; i++) {
        uint32_t size = argument_sizes[i / 2];
        bool is_varargs = i % 2;
        uint8_t cfi[256];
        uint32_t cfi_size = toc_stubs_x86_64.entry_toc_cfi(NULL, size, is_varargs);
        cr_assert_leq(cfi_size, sizeof cfi);
        cr_assert_eq(toc_stubs_x86_64.entry_toc_cfi(cfi, size, is_varargs), cfi_size);
        struct region region = make_entry_stub(size, is_varargs);
        prepare(size, 0x1515);
        check_unwinding(region.code, region.code, toc_stubs_x86_64.entry_toc_size(size, is_varargs), cfi, cfi_size);
        check_arguments_and_results();
    }
}

Test(toc_x86_64, lazy_head_can_be_unwound_from_every_instruction)
{
    struct region region = make_region();
    const struct toc_stub_ops *ops = &toc_stubs_x86_64;
    uint8_t *lazy = region.code + 4096, *head = region.code;
    ops->write_lazy_head(head, address(head), address(region.toc));
    ops->write_lazy(lazy, address(lazy), address(region.slot), address(head));
    make_executable(&region);
    region.toc->resolver = address((const void *)resolver);
    uint8_t cfi[16];
    uint32_t cfi_size = ops->lazy_head_cfi(cfi);
    prepare(8, 0x1515);
    check_unwinding(lazy, head, ops->lazy_head_size, cfi, cfi_size);
}
