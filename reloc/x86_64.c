/* x86-64: relocation types and the instructions that they occur in. psABI 1.0 table 4.9; types 43 and up are those of
 * APX instructions. */
#include <elf.h>
#include <stddef.h>
#include <string.h>

#include "reloc/machine.h"

#define ROW(type, form, bytes, check) [type] = {#type, RELOC_##form, bytes, RELOC_RANGE_##check}
#define APX_ROW(number, text)         [number] = {text, RELOC_UNSUPPORTED, 0, RELOC_RANGE_WRAP}

static const struct reloc_howto table[] = {
    ROW(R_X86_64_NONE, NOTHING, 0, WRAP),
    ROW(R_X86_64_64, ABSOLUTE, 8, WRAP),
    ROW(R_X86_64_PC32, RELATIVE, 4, SIGNED),
    ROW(R_X86_64_GOT32, SLOT_OFFSET, 4, SIGNED),
    ROW(R_X86_64_PLT32, BRANCH, 4, SIGNED),
    ROW(R_X86_64_COPY, DYNAMIC, 0, WRAP),
    ROW(R_X86_64_GLOB_DAT, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_JUMP_SLOT, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_RELATIVE, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_GOTPCREL, SLOT, 4, SIGNED),
    ROW(R_X86_64_32, ABSOLUTE, 4, UNSIGNED),
    ROW(R_X86_64_32S, ABSOLUTE, 4, SIGNED),
    ROW(R_X86_64_16, ABSOLUTE, 2, EITHER),
    ROW(R_X86_64_PC16, RELATIVE, 2, SIGNED),
    ROW(R_X86_64_8, ABSOLUTE, 1, EITHER),
    ROW(R_X86_64_PC8, RELATIVE, 1, SIGNED),
    ROW(R_X86_64_DTPMOD64, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_DTPOFF64, TLS_BLOCK, 8, WRAP),
    ROW(R_X86_64_TPOFF64, TLS_LE, 8, WRAP),
    ROW(R_X86_64_TLSGD, TLS_GD, 4, SIGNED),
    ROW(R_X86_64_TLSLD, TLS_LD, 4, SIGNED),
    ROW(R_X86_64_DTPOFF32, TLS_BLOCK, 4, SIGNED),
    ROW(R_X86_64_GOTTPOFF, TLS_IE, 4, SIGNED),
    ROW(R_X86_64_TPOFF32, TLS_LE, 4, SIGNED),
    ROW(R_X86_64_PC64, RELATIVE, 8, WRAP),
    ROW(R_X86_64_GOTOFF64, BASE_OFFSET, 8, WRAP),
    ROW(R_X86_64_GOTPC32, BASE_RELATIVE, 4, SIGNED),
    ROW(R_X86_64_GOT64, SLOT_OFFSET, 8, WRAP),
    ROW(R_X86_64_GOTPCREL64, SLOT, 8, WRAP),
    ROW(R_X86_64_GOTPC64, BASE_RELATIVE, 8, WRAP),
    ROW(R_X86_64_GOTPLT64, SLOT_OFFSET, 8, WRAP),
    ROW(R_X86_64_PLTOFF64, BRANCH_OFFSET, 8, WRAP),
    ROW(R_X86_64_SIZE32, SIZE, 4, UNSIGNED),
    ROW(R_X86_64_SIZE64, SIZE, 8, WRAP),
    ROW(R_X86_64_GOTPC32_TLSDESC, TLS_DESC, 4, SIGNED),
    ROW(R_X86_64_TLSDESC_CALL, TLS_DESC_CALL, 0, WRAP),
    ROW(R_X86_64_TLSDESC, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_IRELATIVE, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_RELATIVE64, DYNAMIC, 8, WRAP),
    ROW(R_X86_64_GOTPCRELX, SLOT_RELAX, 4, SIGNED),
    ROW(R_X86_64_REX_GOTPCRELX, SLOT_RELAX, 4, SIGNED),
    APX_ROW(43, "R_X86_64_CODE_4_GOTPCRELX"),
    APX_ROW(44, "R_X86_64_CODE_4_GOTTPOFF"),
    APX_ROW(45, "R_X86_64_CODE_4_GOTPC32_TLSDESC"),
    APX_ROW(46, "R_X86_64_CODE_5_GOTPCRELX"),
    APX_ROW(47, "R_X86_64_CODE_5_GOTTPOFF"),
    APX_ROW(48, "R_X86_64_CODE_5_GOTPC32_TLSDESC"),
    APX_ROW(49, "R_X86_64_CODE_6_GOTPCRELX"),
    APX_ROW(50, "R_X86_64_CODE_6_GOTTPOFF"),
    APX_ROW(51, "R_X86_64_CODE_6_GOTPC32_TLSDESC"),
};

static const struct reloc_howto *howto(uint32_t type)
{
    static const struct reloc_howto unknown = {"R_X86_64_?", RELOC_UNKNOWN, 0, RELOC_RANGE_WRAP};
    if (type >= sizeof table / sizeof *table || !table[type].name)
        return &unknown;
    return &table[type];
}

/* Instructions around relocated places. Encodings: Intel SDM vol. 2; relaxations: psABI 1.0 §B.2 and ELF-TLS. */

enum {
    OPCODE_LEA = 0x8d,
    OPCODE_MOV_LOAD = 0x8b,
    OPCODE_CALL = 0xe8,
    OPCODE_JMP = 0xe9,
    OPCODE_GROUP5 = 0xff,
    PREFIX_DATA16 = 0x66,
    PREFIX_ADDR32 = 0x67,
    NOP = 0x90,
    INT3 = 0xcc,
    REX_W = 0x48,
    REX_W_MASK = 0xf8,  /* R, X and B may be anything, W is set */
    REX_WR_MASK = 0xfb, /* R may be anything */
    MODRM_RIP = 0x05,   /* mod 00, r/m 101: disp32(%rip) */
    MODRM_RIP_MASK = 0xc7,
    MODRM_CALL_RIP = 0x15, /* ff /2 */
    MODRM_JMP_RIP = 0x25,  /* ff /4 */
    LEA_SIZE = 6,          /* opcode, ModRM, displacement */
};

/* The byte `back` bytes before `off`; 0 if there is none. */
static uint8_t byte_before(struct span code, uint64_t off, unsigned back)
{
    return off >= back && off - back < code.size ? code.data[off - back] : 0;
}

/* The byte before a 32-bit pc-relative memory operand is a ModRM byte with mod 00 and r/m 101, which is none of these
 * opcodes. */
static bool is_branch(struct span code, uint64_t off)
{
    uint8_t opcode = byte_before(code, off, 1);
    return opcode == OPCODE_CALL || opcode == OPCODE_JMP ||
           (opcode >= 0x80 && opcode <= 0x8f && byte_before(code, off, 2) == 0x0f);
}

static bool is_slot_branch(struct span code, uint64_t off)
{
    uint8_t modrm = byte_before(code, off, 1);
    return byte_before(code, off, 2) == OPCODE_GROUP5 && (modrm == MODRM_CALL_RIP || modrm == MODRM_JMP_RIP);
}

static bool is_slot_load(struct span code, uint64_t off)
{
    return byte_before(code, off, 2) == OPCODE_MOV_LOAD && (byte_before(code, off, 1) & MODRM_RIP_MASK) == MODRM_RIP;
}

/* lea x@tlsdesc(%rip), %reg: any register, since gcc moves it to %rax for the call. */
static bool is_tls_desc(struct span code, uint64_t off)
{
    return (byte_before(code, off, 3) & REX_WR_MASK) == REX_W && byte_before(code, off, 2) == OPCODE_LEA &&
           (byte_before(code, off, 1) & MODRM_RIP_MASK) == MODRM_RIP;
}

static void relax_load(uint8_t *place)
{
    place[-2] = OPCODE_LEA;
}

static uint8_t *relax_branch(uint8_t *place, uint64_t off)
{
    bool is_padded = off >= 4 && place[-4] == PREFIX_DATA16 && place[-3] == REX_W;
    if (place[-1] == MODRM_CALL_RIP && is_padded) {
        /* `data16 rex.W call *__tls_get_addr@GOTPCREL(%rip)` of -fno-plt. REX must stand before the opcode: the prefix
         * alone makes it a call with 16 bits on AMD's CPUs. */
        place[-3] = PREFIX_DATA16;
        place[-2] = REX_W;
        place[-1] = OPCODE_CALL;
        return place;
    }
    if (place[-1] == MODRM_CALL_RIP) {
        place[-2] = PREFIX_ADDR32; /* fills the sixth byte */
        place[-1] = OPCODE_CALL;
        return place;
    }
    place[-2] = OPCODE_JMP;
    place[3] = NOP;
    return place - 1;
}

static int relax_branch_shift(struct span code, uint64_t off)
{
    return byte_before(code, off, 1) == MODRM_JMP_RIP ? -1 : 0;
}

static void relax_tls_desc(uint8_t *place)
{
    place[-2] = OPCODE_MOV_LOAD; /* mov slot(%rip), %reg */
}

static void relax_tls_desc_call(uint8_t *place)
{
    place[0] = PREFIX_DATA16; /* xchg %ax, %ax */
    place[1] = NOP;
}

/* lea disp32(%rip), %reg64. */
static bool next_code_address(struct span code, uint64_t *at, uint64_t *field, int64_t *target)
{
    while (*at < code.size) {
        const uint8_t *found = memchr(code.data + *at, OPCODE_LEA, code.size - *at);
        if (!found)
            break;
        uint64_t opcode = (uint64_t)(found - code.data);
        *at = opcode + 1;
        if ((byte_before(code, opcode, 1) & REX_W_MASK) != REX_W || code.size - opcode < LEA_SIZE ||
            (found[1] & MODRM_RIP_MASK) != MODRM_RIP)
            continue;
        int32_t displacement;
        memcpy(&displacement, found + 2, sizeof displacement);
        *field = opcode + 2;
        *target = (int64_t)opcode + LEA_SIZE + displacement;
        return true;
    }
    return false;
}

const struct reloc_machine reloc_machine_x86_64 = {
    .elf_machine = EM_X86_64,
    .name = "x86-64",
    .triplet = "x86_64-linux-gnu",
    .ld_format = "elf64-x86-64",
    .stubs = &toc_stubs_x86_64,
    .howto = howto,
    .type_word = R_X86_64_64,
    .type_word32 = R_X86_64_32,
    .type_word32s = R_X86_64_32S,
    .type_relative64 = R_X86_64_PC64,
    .type_relative = R_X86_64_PC32,
    .type_branch = R_X86_64_PLT32,
    .type_tls_offset = R_X86_64_GOTTPOFF,
    .operand_bias = 4,
    .is_branch = is_branch,
    .is_slot_branch = is_slot_branch,
    .is_slot_load = is_slot_load,
    .is_tls_desc = is_tls_desc,
    .relax_load = relax_load,
    .relax_branch = relax_branch,
    .relax_branch_shift = relax_branch_shift,
    .relax_tls_desc = relax_tls_desc,
    .relax_tls_desc_call = relax_tls_desc_call,
    .next_code_address = next_code_address,
    .filler = INT3,
    .init_filler = NOP,
};
