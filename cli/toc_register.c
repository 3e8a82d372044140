#include "cli/toc_register.h"

#include <strings.h>

/* Whether `operand` is %r15 or a part of it. */
static bool is_register(struct asm_slice operand, bool is_intel)
{
    static const char *const names[] = {"r15", "r15d", "r15w", "r15b"};
    if (operand.size && operand.at[0] == '%')
        operand = asm_trim(asm_skip(operand, 1));
    else if (!is_intel)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (asm_is_word(operand, names[i]))
            return true;
    return false;
}

/* Instructions that only read the operand that others write: the last one in AT&T order. */
static bool only_reads(const struct asm_statement *instruction)
{
    static const char *const readers[] = {"cmp",  "test", "bt",   "push", "call",     "jmp",      "mul", "div",
                                          "idiv", "nop",  "lldt", "ltr",  "wrfsbase", "wrgsbase", "out", "ptwrite"};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (asm_is_op(instruction->op, readers[i]))
            return true;
    return asm_is_op(instruction->op, "imul") && asm_operand_count(instruction->operands) == 1;
}

bool toc_register_is_named(const struct asm_statement *instruction, bool is_intel)
{
    struct asm_slice rest = instruction->operands;
    for (; rest.size >= 3; rest = asm_skip(rest, 1))
        if (!strncasecmp(rest.at, "r15", 3) && (is_intel || rest.at == instruction->operands.at || rest.at[-1] == '%'))
            return true;
    return false;
}

bool toc_register_is_written(const struct asm_statement *instruction, bool is_intel)
{
    if (!toc_register_is_named(instruction, is_intel) || only_reads(instruction))
        return false;
    unsigned count = asm_operand_count(instruction->operands);
    bool is_exchange = asm_is_op(instruction->op, "xchg") || asm_is_op(instruction->op, "xadd");
    for (unsigned i = 0; i < count; i++) {
        unsigned from_last = is_intel ? i : count - 1 - i;
        bool is_destination = from_last == 0 || is_exchange || (from_last == 1 && asm_is_op(instruction->op, "mulx"));
        if (is_destination && is_register(asm_operand(instruction->operands, i), is_intel))
            return true;
    }
    return false;
}
