/* Stubs for x86-64. %r15 holds the TOC in TOC code; %r11 and the flags are the only state that a stub may
 * change on the way into a function (x86-64 psABI 1.0 §3.2.3: %r11 is nobody's argument; %r10 is the static
 * chain, %al the count of vector arguments). Coming out, %rax, %rdx, %xmm0, %xmm1, %st and %st(1) carry
 * results.
 *
 * All references are %rip-relative, so stubs are the same wherever a crate is mapped.
 */
#include "toc/stubs.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "crateld/toc.h"

enum {
    IMPORT_PLAIN_SIZE = 8,
    IMPORT_TOC_SIZE = 32,
    LAZY_SIZE = 16,
    LAZY_HEAD_SIZE = 32,
    ENTRY_PLAIN_SIZE = 8,
    GATE_SIZE = 8,
    UNROLLED_WORDS = 8, /* up to here the words of stack arguments are pushed one by one, beyond it by a loop */
};

/* DWARF's numbers of registers (psABI §3.6.2, figure 3.36). */
enum { DWARF_RSP = 7, DWARF_R11 = 11, DWARF_R15 = 15, DWARF_RETURN = 16 };

/* DWARF 5 §7.24 (call frame instructions) and §7.7.1 (operations). */
enum {
    CFA_ADVANCE_LOC = 0x40, /* | delta, below 64 */
    CFA_OFFSET = 0x80,      /* | register */
    CFA_RESTORE = 0xc0,     /* | register */
    CFA_DEF_CFA = 0x0c,
    CFA_DEF_CFA_OFFSET = 0x0e,
    CFA_DEF_CFA_EXPRESSION = 0x0f,
    OP_NEG = 0x1f,
    OP_PLUS = 0x22,
    OP_SHL = 0x24,
    OP_LIT3 = 0x33,
    OP_BREG0 = 0x70, /* + register */
};

/* What stands in the padding: int3, so that nobody runs through it unseen. */
enum { PADDING = 0xcc };

/* Code and call frame instructions that are being written together, so that they can not disagree. A NULL
 * pointer: only the size is wanted. */
struct emitter {
    uint8_t *code;
    uint32_t size;
    uint64_t place; /* address of the first byte of code */
    uint8_t *cfi;
    uint32_t cfi_size;
    uint32_t cfi_at; /* the offset in the code up to which the call frame instructions speak */
};

static void emit(struct emitter *e, const void *bytes, uint32_t count)
{
    if (e->code)
        memcpy(e->code + e->size, bytes, count);
    e->size += count;
}

/* An instruction whose last four bytes are `value`. */
static void emit_imm32(struct emitter *e, const void *opcode, uint32_t count, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    emit(e, opcode, count);
    emit(e, bytes, sizeof bytes);
}

/* An instruction whose last four bytes are the distance from its end to `target`. */
static void emit_rel32(struct emitter *e, const void *opcode, uint32_t count, uint64_t target)
{
    emit_imm32(e, opcode, count, (uint32_t)(target - (e->place + e->size + count + 4)));
}

static void emit_padding(struct emitter *e, uint32_t size)
{
    assert(e->size <= size);
    if (e->code)
        memset(e->code + e->size, PADDING, size - e->size);
    e->size = size;
}

static void emit_cfi_byte(struct emitter *e, uint8_t byte)
{
    if (e->cfi)
        e->cfi[e->cfi_size] = byte;
    e->cfi_size++;
}

static void emit_cfi_uleb(struct emitter *e, uint32_t value)
{
    for (; value >= 0x80; value >>= 7)
        emit_cfi_byte(e, (uint8_t)(value | 0x80));
    emit_cfi_byte(e, (uint8_t)value);
}

/* Signed LEB128 of a value that is not negative: the last byte's bit 6 must be clear. */
static void emit_cfi_sleb(struct emitter *e, uint32_t value)
{
    for (; value >= 0x40; value >>= 7)
        emit_cfi_byte(e, (uint8_t)(value | 0x80));
    emit_cfi_byte(e, (uint8_t)value);
}

/* What follows holds from here on. No instruction of ours is longer than 63 bytes. */
static void emit_cfi_here(struct emitter *e)
{
    if (e->size == e->cfi_at)
        return;
    for (; e->size - e->cfi_at > 63; e->cfi_at += 63)
        emit_cfi_byte(e, CFA_ADVANCE_LOC | 63);
    emit_cfi_byte(e, (uint8_t)(CFA_ADVANCE_LOC | (e->size - e->cfi_at)));
    e->cfi_at = e->size;
}

/* From here on the CFA is %rsp + offset. */
static void emit_cfa_offset(struct emitter *e, uint32_t offset)
{
    emit_cfi_here(e);
    emit_cfi_byte(e, CFA_DEF_CFA_OFFSET);
    emit_cfi_uleb(e, offset);
}

/* From here on the CFA is %rsp + offset - 8 * %r11. */
static void emit_cfa_counted(struct emitter *e, uint32_t offset)
{
    emit_cfi_here(e);
    uint32_t length = offset < 0x40 ? 1 : offset < 0x2000 ? 2 : offset < 0x100000 ? 3 : 4;
    emit_cfi_byte(e, CFA_DEF_CFA_EXPRESSION);
    emit_cfi_uleb(e, 7 + length);
    emit_cfi_byte(e, OP_BREG0 + DWARF_R11);
    emit_cfi_sleb(e, 0);
    emit_cfi_byte(e, OP_LIT3);
    emit_cfi_byte(e, OP_SHL);
    emit_cfi_byte(e, OP_NEG);
    emit_cfi_byte(e, OP_BREG0 + DWARF_RSP);
    emit_cfi_sleb(e, offset);
    emit_cfi_byte(e, OP_PLUS);
}

static const uint8_t lea_rip_r11[] = {0x4c, 0x8d, 0x1d};       /* lea rel32(%rip),%r11 */
static const uint8_t mov_rip_r11[] = {0x4c, 0x8b, 0x1d};       /* mov rel32(%rip),%r11 */
static const uint8_t mov_rip_r15[] = {0x4c, 0x8b, 0x3d};       /* mov rel32(%rip),%r15 */
static const uint8_t jmp_rip[] = {0xff, 0x25};                 /* jmp *rel32(%rip) */
static const uint8_t call_rip[] = {0xff, 0x15};                /* call *rel32(%rip) */
static const uint8_t jmp_rel32[] = {0xe9};                     /* jmp rel32 */
static const uint8_t call_abs[] = {0xff, 0x14, 0x25};          /* call *abs32 */
static const uint8_t jmp_r11[] = {0x41, 0xff, 0xe3};           /* jmp *%r11 */
static const uint8_t push_r11[] = {0x41, 0x53};                /* push %r11 */
static const uint8_t cmp_r11_r15[] = {0x4d, 0x39, 0xdf};       /* cmp %r11,%r15 */
static const uint8_t je_rel32[] = {0x0f, 0x84};                /* je rel32 */
static const uint8_t push_r15[] = {0x41, 0x57};                /* push %r15 */
static const uint8_t mov_r11_r15[] = {0x4d, 0x89, 0xdf};       /* mov %r11,%r15 */
static const uint8_t sub_rsp[] = {0x48, 0x81, 0xec};           /* sub $imm32,%rsp */
static const uint8_t add_rsp[] = {0x48, 0x81, 0xc4};           /* add $imm32,%rsp */
static const uint8_t mov_r11d[] = {0x41, 0xbb};                /* mov $imm32,%r11d */
static const uint8_t push_rsp[] = {0xff, 0xb4, 0x24};          /* push disp32(%rsp) */
static const uint8_t dec_r11d[] = {0x41, 0xff, 0xcb};          /* dec %r11d */
static const uint8_t jne_push[] = {0x75, (uint8_t)-12};        /* jne to the push: 2 + 3 + 7 bytes back */
static const uint8_t lea_rsp_r11[] = {0x4c, 0x8d, 0x9c, 0x24}; /* lea disp32(%rsp),%r11 */
static const uint8_t lea_rip_r15[] = {0x4c, 0x8d, 0x3d};       /* lea rel32(%rip),%r15 */
static const uint8_t nopl_rip[] = {0x0f, 0x1f, 0x05};          /* nopl rel32(%rip) */
static const uint8_t pop_r15[] = {0x41, 0x5f};                 /* pop %r15 */
static const uint8_t ret[] = {0xc3};                           /* ret */

static void write_import_plain(uint8_t *at, uint64_t place, uint64_t slot)
{
    struct emitter e = {.code = at, .place = place};
    emit_rel32(&e, jmp_rip, sizeof jmp_rip, slot + offsetof(struct crateld_function, entry));
    emit_padding(&e, IMPORT_PLAIN_SIZE);
}

static void write_import_toc(uint8_t *at, uint64_t place, uint64_t slot)
{
    struct emitter e = {.code = at, .place = place};
    emit_rel32(&e, mov_rip_r11, sizeof mov_rip_r11, slot + offsetof(struct crateld_function, entry));
    emit_rel32(&e, mov_rip_r15, sizeof mov_rip_r15, slot + offsetof(struct crateld_function, toc));
    emit(&e, jmp_r11, sizeof jmp_r11);
    emit_padding(&e, IMPORT_TOC_SIZE);
}

static void write_lazy(uint8_t *at, uint64_t place, uint64_t slot, uint64_t head)
{
    struct emitter e = {.code = at, .place = place};
    emit_rel32(&e, lea_rip_r11, sizeof lea_rip_r11, slot);
    emit_rel32(&e, jmp_rel32, sizeof jmp_rel32, head);
    emit_padding(&e, LAZY_SIZE);
}

/* The resolver finds the slot's address at (%rsp), the caller's return address above it, the TOC in %r11. */
static void emit_lazy_head(struct emitter *e, uint64_t toc)
{
    emit(e, push_r11, sizeof push_r11);
    emit_cfa_offset(e, 16);
    emit_rel32(e, lea_rip_r11, sizeof lea_rip_r11, toc);
    emit_rel32(e, jmp_rip, sizeof jmp_rip, toc + offsetof(struct crateld_toc, resolver));
    emit_padding(e, LAZY_HEAD_SIZE);
}

static void write_lazy_head(uint8_t *at, uint64_t place, uint64_t toc)
{
    struct emitter e = {.code = at, .place = place};
    emit_lazy_head(&e, toc);
}

static uint32_t lazy_head_cfi(uint8_t *at)
{
    struct emitter e = {.cfi = at};
    emit_lazy_head(&e, 0);
    return e.cfi_size;
}

static void write_gate(uint8_t *at, uint64_t slot)
{
    assert(slot <= INT32_MAX);
    struct emitter e = {.code = at};
    emit_imm32(&e, call_abs, sizeof call_abs, (uint32_t)slot);
    emit_padding(&e, GATE_SIZE);
}

static void write_entry_plain(uint8_t *at, uint64_t place, uint64_t function)
{
    struct emitter e = {.code = at, .place = place};
    emit_rel32(&e, jmp_rel32, sizeof jmp_rel32, function);
    emit_padding(&e, ENTRY_PLAIN_SIZE);
}

/* Bytes from the copy of the stack arguments up to the caller's: room for the copy, the saved %r15 and the
 * return address, and as much more as keeps the alignment that the caller gave an argument (none is aligned
 * to more than its size, all together have `stack_arguments` bytes). */
static uint32_t copy_distance(uint32_t stack_arguments)
{
    uint32_t align = 16;
    while (align <= stack_arguments / 2)
        align *= 2;
    return (stack_arguments + 16 + align - 1) & ~(align - 1);
}

/* Copies the caller's stack arguments below the saved %r15. Pushing moves %rsp by what lies between one word
 * and the next lower one, so the displacement is the same for every word. */
static void emit_copy(struct emitter *e, uint32_t stack_arguments)
{
    uint32_t words = stack_arguments / 8;
    uint32_t distance = copy_distance(stack_arguments);
    uint32_t cfa = distance - stack_arguments;
    emit_imm32(e, sub_rsp, sizeof sub_rsp, cfa - 16);
    emit_cfa_offset(e, cfa);
    if (words <= UNROLLED_WORDS) {
        for (uint32_t i = 0; i < words; i++) {
            emit_imm32(e, push_rsp, sizeof push_rsp, distance - 8);
            emit_cfa_offset(e, cfa += 8);
        }
        return;
    }
    emit_imm32(e, mov_r11d, sizeof mov_r11d, words);
    emit_cfa_counted(e, distance);
    emit_imm32(e, push_rsp, sizeof push_rsp, distance - 8);
    emit_cfa_counted(e, distance + 8);
    emit(e, dec_r11d, sizeof dec_r11d);
    emit_cfa_counted(e, distance);
    emit(e, jne_push, sizeof jne_push);
    emit_cfi_here(e);
    emit_cfi_byte(e, CFA_DEF_CFA);
    emit_cfi_uleb(e, DWARF_RSP);
    emit_cfi_uleb(e, distance);
}

static void emit_entry_toc(struct emitter *e, const struct toc_entry *to)
{
    uint32_t stack_arguments = to->stack_arguments;
    assert(stack_arguments <= TOC_STACK_ARGUMENTS_MAX && stack_arguments % 8 == 0);
    uint64_t entry = to->func_ref + offsetof(struct crateld_function, entry);
    uint64_t varargs_entry = to->func_ref + offsetof(struct crateld_function, toc);
    uint32_t distance = stack_arguments ? copy_distance(stack_arguments) : 16;

    if (to->is_toc_word)
        emit_rel32(e, mov_rip_r11, sizeof mov_rip_r11, to->toc);
    else
        emit_rel32(e, lea_rip_r11, sizeof lea_rip_r11, to->toc);
    emit(e, cmp_r11_r15, sizeof cmp_r11_r15);
    emit_rel32(e, je_rel32, sizeof je_rel32, to->function);
    emit(e, push_r15, sizeof push_r15);
    emit_cfa_offset(e, 16);
    emit_cfi_byte(e, CFA_OFFSET | DWARF_R15);
    emit_cfi_uleb(e, 2);
    emit(e, mov_r11_r15, sizeof mov_r11_r15);
    if (stack_arguments)
        emit_copy(e, stack_arguments);
    if (to->is_varargs)
        emit_imm32(e, lea_rsp_r11, sizeof lea_rsp_r11, distance);
    emit_rel32(e, call_rip, sizeof call_rip, to->is_varargs ? varargs_entry : entry);
    if (stack_arguments) {
        emit_imm32(e, add_rsp, sizeof add_rsp, distance - 16);
        emit_cfa_offset(e, 16);
    }
    emit(e, pop_r15, sizeof pop_r15);
    emit_cfa_offset(e, 8);
    emit_cfi_byte(e, CFA_RESTORE | DWARF_R15);
    emit(e, ret, sizeof ret);
    emit_padding(e, (e->size + TOC_ENTRY_TOC_ALIGN - 1) & ~(uint32_t)(TOC_ENTRY_TOC_ALIGN - 1));
}

static bool is_restore(const uint8_t *at)
{
    return !memcmp(at, nopl_rip, sizeof nopl_rip);
}

static void write_restore(uint8_t *at, uint64_t place, uint64_t toc)
{
    struct emitter e = {.code = at, .place = place};
    emit_rel32(&e, lea_rip_r15, sizeof lea_rip_r15, toc);
}

static uint32_t entry_toc_size(uint32_t stack_arguments, bool is_varargs)
{
    struct emitter e = {0};
    emit_entry_toc(&e, &(struct toc_entry){.stack_arguments = stack_arguments, .is_varargs = is_varargs});
    return e.size;
}

static void write_entry_toc(uint8_t *at, uint64_t place, const struct toc_entry *entry)
{
    struct emitter e = {.code = at, .place = place};
    emit_entry_toc(&e, entry);
}

static uint32_t entry_toc_cfi(uint8_t *at, uint32_t stack_arguments, bool is_varargs)
{
    struct emitter e = {.cfi = at};
    emit_entry_toc(&e, &(struct toc_entry){.stack_arguments = stack_arguments, .is_varargs = is_varargs});
    return e.cfi_size;
}

static void init_frame(struct span *begin, struct span *end)
{
    static const uint8_t prologue[] = {
        0x48, 0x83, 0xec, 0x08, /* sub $8, %rsp */
    };
    static const uint8_t epilogue[] = {
        0x48, 0x83, 0xc4, 0x08, /* add $8, %rsp */
        0xc3,                   /* ret */
    };
    *begin = (struct span){prologue, sizeof prologue};
    *end = (struct span){epilogue, sizeof epilogue};
}

const struct toc_stub_ops toc_stubs_x86_64 = {
    .import_plain_size = IMPORT_PLAIN_SIZE,
    .import_toc_size = IMPORT_TOC_SIZE,
    .lazy_size = LAZY_SIZE,
    .lazy_head_size = LAZY_HEAD_SIZE,
    .entry_plain_size = ENTRY_PLAIN_SIZE,
    .gate_size = GATE_SIZE,
    .gate_call_size = sizeof call_abs + 4,
    .entry_plain_field_off = sizeof jmp_rel32,
    .entry_toc_field_off = sizeof lea_rip_r11 + 4 + sizeof cmp_r11_r15 + sizeof je_rel32,
    .write_import_plain = write_import_plain,
    .write_import_toc = write_import_toc,
    .write_lazy = write_lazy,
    .write_lazy_head = write_lazy_head,
    .write_gate = write_gate,
    .write_entry_plain = write_entry_plain,
    .entry_toc_size = entry_toc_size,
    .write_entry_toc = write_entry_toc,
    .init_frame = init_frame,
    .restore_size = sizeof lea_rip_r15 + 4,
    .restore_field_off = sizeof lea_rip_r15,
    .is_restore = is_restore,
    .write_restore = write_restore,
    .cfi =
        {
            .code_align = 1,
            .data_align = -8,
            .return_register = DWARF_RETURN,
            .initial_size = 5,
            .initial = {CFA_DEF_CFA, DWARF_RSP, 8, CFA_OFFSET | DWARF_RETURN, 1},
        },
    .entry_toc_cfi = entry_toc_cfi,
    .lazy_head_cfi = lazy_head_cfi,
};
