/* Known are the start files of gcc (crtstuff.c) with glibc's crti.o, and of LLVM, as they have been since
 * gcc 5. What is not recognised counts as an initialiser, so an unknown compiler costs an early load and
 * nothing else. */
#include "reloc/start_files.h"

#include <elf.h>
#include <stddef.h>
#include <string.h>

enum { ANY = -1 }; /* a byte that depends on where things lie */

/* x86-64. */
static const int16_t x86_64_endbr[] = {0xf3, 0x0f, 0x1e, 0xfa};
static const int16_t x86_64_init[] = {
    0x48, 0x83, 0xec, 0x08,                /* sub $8, %rsp */
    0x48, 0x8b, 0x05, ANY,  ANY, ANY, ANY, /* mov __gmon_start__@GOTPCREL(%rip), %rax */
    0x48, 0x85, 0xc0,                      /* test %rax, %rax */
    0x74, 0x02,                            /* je 1f */
    0xff, 0xd0,                            /* call *%rax */
    0x48, 0x83, 0xc4, 0x08,                /* 1: add $8, %rsp */
    0xc3,                                  /* ret */
};
static const int16_t x86_64_empty_init[] = {
    0x48, 0x83, 0xec, 0x08, /* sub $8, %rsp */
    0x48, 0x83, 0xc4, 0x08, /* add $8, %rsp */
    0xc3,                   /* ret */
};
static const int16_t x86_64_register_clones[] = {
    0x48, 0x8d, 0x3d, ANY,  ANY, ANY, ANY, /* lea __TMC_LIST__(%rip), %rdi */
    0x48, 0x8d, 0x35, ANY,  ANY, ANY, ANY, /* lea __TMC_END__(%rip), %rsi */
    0x48, 0x29, 0xfe,                      /* sub %rdi, %rsi */
    0x48, 0x89, 0xf0,                      /* mov %rsi, %rax */
    0x48, 0xc1, 0xee, 0x3f,                /* shr $63, %rsi */
    0x48, 0xc1, 0xf8, 0x03,                /* sar $3, %rax */
    0x48, 0x01, 0xc6,                      /* add %rax, %rsi */
    0x48, 0xd1, 0xfe,                      /* sar %rsi */
    0x74, ANY,                             /* je 1f */
    0x48, 0x8b, 0x05, ANY,  ANY, ANY, ANY, /* mov _ITM_registerTMCloneTable@GOTPCREL(%rip), %rax */
    0x48, 0x85, 0xc0,                      /* test %rax, %rax */
    0x74, ANY,                             /* je 1f */
    0xff, 0xe0,                            /* jmp *%rax */
};

/* Whether `count` bytes at `off` are `pattern`. */
static bool matches(struct span code, uint64_t off, const int16_t *pattern, size_t count)
{
    if (!span_has(code, off, count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (pattern[i] != ANY && pattern[i] != code.data[off + i])
            return false;
    return true;
}

#define MATCHES(code, off, pattern) matches(code, off, pattern, sizeof(pattern) / sizeof(pattern)[0])

static uint64_t x86_64_skip_endbr(struct span code, uint64_t off)
{
    return MATCHES(code, off, x86_64_endbr) ? off + 4 : off;
}

static bool x86_64_is_plain_init(struct span code)
{
    uint64_t off = x86_64_skip_endbr(code, 0);
    return MATCHES(code, off, x86_64_init) || MATCHES(code, off, x86_64_empty_init);
}

/* frame_dummy is a jump to register_tm_clones, or has become it by inlining. */
static bool x86_64_is_frame_dummy(struct span text, uint64_t off)
{
    enum { JUMP_SIZE = 5 };
    uint8_t opcode;
    int32_t distance;
    off = x86_64_skip_endbr(text, off);
    if (span_read(text, off, &opcode, 1) && opcode == 0xe9 && span_read(text, off + 1, &distance, sizeof distance))
        off += JUMP_SIZE + (uint64_t)(int64_t)distance; /* wraps when it leads out of the text: matches() refuses */
    return MATCHES(text, off, x86_64_register_clones);
}

bool start_files_is_plain_init(uint16_t machine, struct span code)
{
    return machine == EM_X86_64 && x86_64_is_plain_init(code);
}

bool start_files_is_frame_dummy(uint16_t machine, struct span text, uint64_t off)
{
    return machine == EM_X86_64 && x86_64_is_frame_dummy(text, off);
}
