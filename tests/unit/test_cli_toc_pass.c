#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/toc_pass.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(cli_toc_pass, .fini = require_no_leaks);

#define RESTORE "nopl _TOC_(%rip)"
#define BEGIN                                                                                                          \
    "\t.file\t\"a.c\"\n\t.section\t.text.f,\"ax\",@progbits\n\t.globl\tf\n\t.type\tf, "                                \
    "@function\nf:\n.LFB0:\n"
#define END "\t.size\tf, .-f\n"
#define PROLOGUE                                                                                                       \
    "\tcmpq\t%fs:112, %rsp\n\tjb\t.L4\n.L2:\n"                                                                         \
    "\tjmp .L3\n.L4:\n\tmovl\t$24, %r10d\n\tmovl\t$16, "                                                               \
    "%r11d\n\tcall\t__morestack\n\tret\n\tjmp\t.L2\n.L3:\n"

/* The pass's output, a NUL behind it; the caller frees it. */
static char *pass(const char *text)
{
    struct toc_text output;
    require_success(toc_pass((struct asm_slice){text, strlen(text)}, &output));
    char *copy = malloc(output.size + 1);
    cr_assert_not_null(copy);
    if (output.size)
        memcpy(copy, output.at, output.size);
    copy[output.size] = 0;
    free(output.at);
    return copy;
}

/* `text` without blanks, in `ret`. */
static const char *without_blanks(const char *text, char *ret, size_t size)
{
    size_t length = 0;
    for (; *text && length + 1 < size; text++)
        if (*text != ' ' && *text != '\t')
            ret[length++] = *text;
    ret[length] = 0;
    return ret;
}

/* `wanted` is in the output, blanks aside. */
static void require_text(const char *output, const char *wanted)
{
    char text[8192], part[1024];
    cr_assert_not_null(strstr(without_blanks(output, text, sizeof text), without_blanks(wanted, part, sizeof part)),
                       "not found:\n%s\nin:\n%s", wanted, output);
}

static unsigned count(const char *output, const char *text)
{
    unsigned result = 0;
    while ((output = strstr(output, text))) {
        result++;
        output += strlen(text);
    }
    return result;
}

/* The body of a TOC function must come out with `wanted` in it and `restores` restores. */
static void require_body(const char *body, const char *wanted, unsigned restores)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s%s", BEGIN, PROLOGUE, body, END);
    char *output = pass(text);
    require_text(output, wanted);
    cr_assert_eq(count(output, RESTORE), restores, "%u restores, not %u, in:\n%s", count(output, RESTORE), restores,
                 output);
    free(output);
}

static void require_fault(const char *text, const char *message)
{
    struct toc_text output;
    require_error(toc_pass((struct asm_slice){text, strlen(text)}, &output), CRATELD_ERROR_UNSUPPORTED, message);
}

static void require_body_fault(const char *body, const char *message)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s%s", BEGIN, PROLOGUE, body, END);
    require_fault(text, message);
}

Test(cli_toc_pass, text_without_toc_code_stays_as_it_is)
{
    const char *text = "\t.file \"x\"\n f:\tcall *g@GOTPCREL(%rip) # c\n.data; .string \"a;b#\\\"\"; .byte "
                       "'c\n/* \n */ x: .long 1";
    char *output = pass(text);
    cr_assert_eq(strncmp(output, text, strlen(text)), 0, "%s", output);
    cr_assert_str_eq(output + strlen(text), "\n");
    free(output);
}

Test(cli_toc_pass, every_kind_of_call_is_followed_by_a_restore)
{
    require_body("\tcall\tg\n\tnop\n", "\tcall\tg\n" RESTORE "; \tnop\n", 1);
    require_body("\tcall\tg@PLT\n\tnop\n", "\tcall\tg@PLT\n" RESTORE "; \tnop\n", 1);
    require_body("\tcall\t*%rax\n\tret\n", "\tcall\t*%rax\n" RESTORE "; \tret\n", 1);
    require_body("\tcallq *8(%rax,%rbx,8); nop\n", "\tcallq *8(%rax,%rbx,8);" RESTORE ";  nop\n", 1);
    require_body("\tnotrack call *%rdx\n\tnop\n", RESTORE, 1);
    require_body("\tbnd\tcall g\n\tnop\n", RESTORE, 1);
    require_body("\t{disp32} call g /* c */ # d\n\tnop\n", RESTORE, 1);
    require_body("\tCALL g\n\tnop\n", RESTORE, 1);
    require_body("1:\tcall\t*mcount@GOTPCREL(%rip)\n\tnop\n", "1:call mcount@PLT\n" RESTORE "; \tnop", 1);
}

Test(cli_toc_pass, what_only_looks_like_a_call_is_not_one)
{
    require_body("\tsyscall\n\tvmcall\n\tnop # call g\n\tjmp\tcall\n", "\tvmcall\n", 0);
}

Test(cli_toc_pass, restore_comes_before_labels_but_behind_notes_for_the_debugger)
{
    require_body("\tcall\tg\n.L9:\n\tnop\n", "\tcall\tg\n" RESTORE "; .L9:\n", 1);
    require_body("\tcall\tg\n.LVL7:\n\t.loc 1 2 3 view .LVU4\n\t.cfi_adjust_cfa_offset 8\n\tnop\n",
                 "\t.cfi_adjust_cfa_offset 8\n" RESTORE "; \tnop\n", 1);
    require_body("\tcall\tg\n.LEHE0:\n\tnop\n", "\tcall\tg\n" RESTORE "; .LEHE0:\n", 1);
    require_body("\tcall\tg\n.LFE0:\n", "\tcall\tg\n" RESTORE "; .LFE0:\n", 1);
}

Test(cli_toc_pass, restore_comes_behind_the_landing_mark_of_setjmp)
{
    require_body("\tcall\t_setjmp@PLT\n\tendbr64\n\tnop\n", "\tendbr64; " RESTORE "\n\tnop\n", 1);
}

Test(cli_toc_pass, calls_for_the_sake_of_the_pushed_address_stay)
{
    require_body("\tcall\t1f\n1:\tpop %rax\n", "\tcall\t1f\n1:\tpop", 0);
    require_body("\tcall\t.L8\n.L8:\tpop %rax\n", "\tcall\t.L8\n.L8:\tpop", 0);
    require_body("\tcall\t1f\n\t.asciz \"text\"\n1:\tpop %rdi\n", "\tcall\t1f\n\t.asciz \"text\"\n1:", 0);
}

Test(cli_toc_pass, the_end_of_a_section_and_of_the_text_end_a_call)
{
    require_body("\tcall\tabort@PLT\n\t.section .rodata\n", "\tcall\tabort@PLT\n" RESTORE "; \t.section .rodata", 1);
    char *output = pass(BEGIN PROLOGUE "\tcall\tabort");
    require_text(output, "\tcall\tabort; " RESTORE "\n");
    free(output);
}

Test(cli_toc_pass, calls_and_jumps_through_the_got_become_direct)
{
    require_body("\tcall\t*g@GOTPCREL(%rip)\n\tjmp\t*h@GOTPCREL(%rip)\n", "call g@PLT\n" RESTORE "; jmp h@PLT\n", 1);
    require_body("\tmovq\tg@GOTPCREL(%rip), %rax\n", "\tmovq\tg@GOTPCREL(%rip), %rax\n", 0);
    require_body("\trex64\n\tcall\t*__tls_get_addr@GOTPCREL(%rip)\n\tnop\n",
                 "\trex64\n\tcall\t*__tls_get_addr@GOTPCREL(%rip)\n" RESTORE, 1);
}

Test(cli_toc_pass, landing_pads_restore)
{
    const char *table = "\t.section .gcc_except_table.f,\"a\",@progbits\n.LLSDA0:\n\t.byte 0xff\n"
                        "\t.uleb128 .LLSDACSE0-.LLSDACSB0\n.LLSDACSB0:\n"
                        "\t.uleb128 .LEHB0-.LFB0\n\t.uleb128 .LEHE0-.LEHB0\n\t.uleb128 %s-.LFB0\n\t.uleb128 0x1\n"
                        "\t.uleb128 .LEHB1-.LFB0\n\t.uleb128 .LEHE1-.LEHB1\n\t.uleb128 0\n\t.uleb128 0\n.LLSDACSE0:\n"
                        "\t.uleb128 .L99-.LFB0\n\t.section .text.f\n";
    char body[2048], tail[1024];
    snprintf(tail, sizeof tail, table, ".L27");
    snprintf(body, sizeof body, ".L27:\n\t.cfi_def_cfa_offset 32\n\tmovq %%rax, %%rdi\n.L99:\n\tnop\n%s", tail);
    require_body(body, ".L27:\n\t.cfi_def_cfa_offset 32\n" RESTORE "; \tmovq %rax, %rdi\n.L99:\n\tnop", 1);
    snprintf(body, sizeof body, ".L27: endbr64\n\tmovq %%rax, %%rdi\n%s", tail);
    require_body(body, ".L27: endbr64; " RESTORE "\n\tmovq %rax", 1);
}

Test(cli_toc_pass, labels_whose_address_is_taken_restore)
{
    require_body("\tleaq\t.L36(%rip), %rdx\n\tnop\n.L36:\n\tmovl $1, %eax\n", ".L36:\n" RESTORE "; \tmovl $1", 1);
    require_body("\tleaq\t1f(%rip), %rdx\n1:\tnop\n\tjmp 1b\n1:\tnop\n", "1:" RESTORE "; \tnop\n\tjmp 1b\n1:\tnop", 1);
    require_body("1:\tnop\n\tleaq\t1b(%rip), %rdx\n1:\tnop\n", "1:" RESTORE "; \tnop\n\tleaq", 1);
    require_body("\tpushq $2f\n2:\tnop\n", "2:" RESTORE "; \tnop", 1);
    require_body("\tleaq\t2f(%rip), %rdi\n2:\t.asciz \"x\"\n", "2:\t.asciz", 0);
    require_body("\tleaq\t.LC0(%rip), %rdi\n\t.section .rodata\n.LC0:\n\t.byte 1\n\t.section .text.f\n",
                 ".LC0:\n\t.byte", 0);
}

Test(cli_toc_pass, own_local_functions_escape_through_a_relocation)
{
    char *output =
        pass("\t.text\n\t.type h, @function\nh:\n" PROLOGUE "\tleaq\th(%rip), %rdi\n\tret\n\t.size h, .-h\n");
    require_text(output, "\tleaq\th(%rip), %rdi; .reloc .-4, R_X86_64_PC32, h-4\n");
    free(output);
    require_body("\tleaq\tf(%rip), %rdi\n", "\tleaq\tf(%rip), %rdi\n", 0); /* global: the assembler makes one */
}

Test(cli_toc_pass, each_function_has_a_record)
{
    char *output = pass(BEGIN PROLOGUE "\tret\n" END);
    require_text(output, "f: .Lcrateld_toc0: ");
    require_text(output, "\t.section .crateld.toc,\"e\",@progbits\n\t.quad .Lcrateld_toc0, 0\n\t.long 1, 16\n");
    require_text(output, "\t.bss\n\t.weak _TOC_\n\t.hidden _TOC_\n_TOC_:\n");
    free(output);
}

Test(cli_toc_pass, prologues_of_all_optimisation_levels_are_recognised)
{
    static const char *const prologues[] = {
        /* -O0 */
        "\tcmpq\t%fs:112, %rsp\n\tjnb\t.L2\n\tmovl\t$24, %r10d\n\tmovl\t$32, "
        "%r11d\n\tcall\t__morestack\n\tret\n.L2:\n",
        /* -O2, a large frame, -fcf-protection, -g */
        "\tleaq\t-300008(%rsp), %r11\n\tcmpq\t%fs:112, %r11\n\tjb\t.L4\n.L2:\n\tret\n.L4:\n\tmovl\t$300008, "
        "%r10d\n"
        "\tmovl\t$32, %r11d\n\tcall\t__morestack\n.LVL3:\n\t.loc 1 2 3\n\tret\n\tendbr64\n\tjmp\t.L2\n",
        /* a static chain, scheduled */
        "\tcmpq\t%fs:112, %rsp\n\tjb\t.L4\n.L2:\n\tret\n.L4:\n\tmovq\t%r10, %rax\n\tmovl\t$32, "
        "%r11d\n\tmovl\t$24, %r10d\n"
        "\tcall\t__morestack\n\tret\n\tmovq\t%rax, %r10\n\tjmp\t.L2\n",
    };
    for (size_t i = 0; i < sizeof prologues / sizeof *prologues; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s%s\tret\n%s", BEGIN, prologues[i], END);
        char *output = pass(text);
        require_text(output, "\t.quad .Lcrateld_toc0, 0\n\t.long 1, 32\n");
        free(output);
    }
}

Test(cli_toc_pass, functions_with_variable_arguments_have_a_second_entry)
{
    char *output = pass(BEGIN "\tcmpq\t%fs:112, %rsp\n\tjb\t.L14\n\tleaq\t8(%rsp), %r11\n.L12:\n\tret\n.L14:\n"
                              "\tmovl\t$88, %r10d\n\txorl\t%r11d, %r11d\n\tcall\t__morestack\n\tret\n"
                              "\tleaq\t24(%rbp), %r11\n\tjmp\t.L12\n" END);
    require_text(output, "\t.quad .Lcrateld_toc0, .L12\n\t.long 1, 0\n");
    free(output);
    /* -frename-registers */
    output = pass(BEGIN "\tcmpq\t%fs:112, %rsp\n\tjb\t.L14\n\tleaq\t8(%rsp), %r10\n.L12:\n\tret\n.L14:\n"
                        "\tmovl\t$88, %r10d\n\txorl\t%r11d, %r11d\n\tcall\t__morestack\n\tret\n"
                        "\tleaq\t24(%rbp), %r10\n\tjmp\t.L12\n" END);
    require_text(output, "\tjmp\t.L12; .Lcrateld_varargs0: movq %r11, %r10; jmp .L12\n");
    require_text(output, "\t.quad .Lcrateld_toc0, .Lcrateld_varargs0\n");
    free(output);
}

Test(cli_toc_pass, cold_parts_are_toc_code)
{
    char *output =
        pass(BEGIN PROLOGUE "\tret\n\t.section .text.unlikely.f,\"ax\",@progbits\n\t.type f.cold, @function\n"
                            "f.cold:\n\tcall g\n\tud2\n\t.section .text.f\n" END
                            "\t.section .text.unlikely.f\n\t.size f.cold, .-f.cold\n");
    require_text(output, "\tcall g\n" RESTORE "; \tud2\n");
    require_text(output, "\t.quad .Lcrateld_toc1, 0\n\t.long 2, 0\n");
    free(output);
}

Test(cli_toc_pass, records_of_a_group_stand_in_it)
{
    char *output = pass("\t.section .text._Zf,\"axG\",@progbits,_Zf,comdat\n\t.type _Zf, @function\n_Zf:\n" PROLOGUE
                        "\tret\n\t.size _Zf, .-_Zf\n");
    require_text(output, "\t.section .crateld.toc,\"eG\",@progbits,\"_Zf\",comdat\n\t.quad .Lcrateld_toc0");
    free(output);
}

Test(cli_toc_pass, functions_without_a_prologue_are_left_alone)
{
    const char *text = BEGIN "\tcall g\n\tret\n" END;
    char *output = pass(text);
    cr_assert_str_eq(output, text);
    free(output);
}

Test(cli_toc_pass, thunks_get_a_section_of_their_own)
{
    char *output =
        pass("\t.section .text._Zf,\"axG\",@progbits,_Zf,comdat\n\t.type _Zf, @function\n_Zf:\n" PROLOGUE
             "\tret\n\t.size _Zf, .-_Zf\n\t.type _ZThn16_f, @function\n_ZThn16_f:\n\tsubq $16, %rdi\n\tjmp _Zf\n"
             "\t.size _ZThn16_f, .-_ZThn16_f\n\tnop\n");
    require_text(output, ".section .text._Zf,\"axG\",@progbits,_Zf,comdat,unique,1; .p2align 4; _ZThn16_f:\n");
    require_text(output, "\t.size _ZThn16_f, .-_ZThn16_f; .section .text._Zf,\"axG\",@progbits,_Zf,comdat; \n\tnop");
    cr_assert_eq(count(output, "\t.quad"), 1);
    free(output);
}

Test(cli_toc_pass, resolvers_of_ifuncs_do_not_look_at_the_limit)
{
    char *output = pass(BEGIN PROLOGUE "\tret\n" END "\t.type x, @gnu_indirect_function\n\t.set x,f\n");
    require_text(output, "\tcmpq %rsp, %rsp\n\tjb\t.L4\n");
    free(output);
}

Test(cli_toc_pass, calls_in_an_asm_restore_and_lines_keep_their_number)
{
    require_body("#APP\n# 25 \"a.c\" 1\n\tcall g; nop\n\tcall h\n# 0 \"\" 2\n#NO_APP\n\tnop\n",
                 "\tcall g;" RESTORE ";  nop\n\tcall h\n# 0 \"\" 2\n#NO_APP\n" RESTORE "; \tnop\n", 2);
    require_body("#APP\n\t.intel_syntax noprefix\n\tcall g\n\tnop\n\t.att_syntax prefix\n#NO_APP\n",
                 "\tcall g\n.byte 0x0f,0x1f,0x05; .long _TOC_-.-4; \tnop", 0);
}

Test(cli_toc_pass, writing_the_register_is_refused_with_the_place)
{
    static const char *const writers[] = {
        "movq %rax, %r15", "movl $1, %r15d",        "movb %al, %r15b",    "popq %r15",
        "xchg %r15, %rax", "xchgq %rax, %r15",      "addw $1, %r15w",     "lea 1(%rax), %r15",
        "incq %r15",       "mulx %rax, %r15, %rbx", "cmovne %rax, %r15",  "bts $1, %r15",
        "setc %r15b",      "rdrand %r15",           "xaddq %r15, (%rax)", "nop; lock xadd %r15, (%rax)",
        "MOV %RAX, %R15"};
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        char body[256];
        snprintf(body, sizeof body, "#APP\n# 25 \"b.h\" 1\n\tnop\n\t%s\n#NO_APP\n", writers[i]);
        require_body_fault(body, "b.h:26: in function 'f': writes %r15, which holds the TOC in TOC code");
    }
    require_body_fault("\tmovq %rax, %r15\n", "a.c: in function 'f': writes %r15");
    require_body_fault("#APP\n\t.intel_syntax noprefix\n\tmov r15, rax\n\t.att_syntax\n#NO_APP\n", "writes %r15");
}

Test(cli_toc_pass, reading_the_register_is_not)
{
    require_body("\tmovq %r15, %rax\n\tmovq %rax, (%r15)\n\tpushq %r15\n\tcmpq %rax, %r15\n\ttest %r15, "
                 "%r15\n\tmulq %r15\n"
                 "\tcall *%r15\n\tmovq %rax, 8(%rbx,%r15,8)\n\tbtq $1, %r15\n\timulq %r15\n",
                 "mulq", 1);
}

Test(cli_toc_pass, plain_functions_may_write_the_register_if_they_save_it)
{
    require_fault(BEGIN "\tmovq %rax, %r15\n\tret\n" END, "in function 'f': writes %r15 without saving it");
    free(pass(BEGIN "\tpushq %r15\n\tmovq %rax, %r15\n\tpopq %r15\n\tret\n" END));
}

Test(cli_toc_pass, macros_that_hide_calls_are_refused)
{
    const char *macro = "#APP\n.macro m\n\tcall g\n.endm\n.macro n\n\tm\n.endm\n.macro o\n\tnop\n.endm\n#NO_APP\n";
    char text[2048];
    snprintf(text, sizeof text, "%s%s%s#APP\n\tn\n#NO_APP\n%s", macro, BEGIN, PROLOGUE, END);
    require_fault(text, "in function 'f': uses an assembler macro that calls");
    snprintf(text, sizeof text, "%s%s%s#APP\n\to\n#NO_APP\n%s", macro, BEGIN, PROLOGUE, END);
    free(pass(text));
}

Test(cli_toc_pass, forms_that_can_not_be_toc_code_are_refused)
{
    require_body_fault("\tmovabsq\t$__morestack_large_model, %r11\n", "-mcmodel=large");
    require_fault("\t.intel_syntax noprefix\n", "-masm=intel");
    require_fault(BEGIN "\tcall\t__morestack\n\tret\n" END, "does not tell the size of the arguments");
    require_fault(BEGIN "\tmovl $8, %r11d\n\tcall\t__morestack\n\tnop\n" END, "is not followed by 'ret'");
    require_fault(BEGIN "\tmovl $99999992, %r11d\n\tcall\t__morestack\n\tret\n.L2:\n" END,
                  "more arguments on the stack");
    require_fault(BEGIN "\tmovl $0, %r11d\n\tcall\t__morestack\n\tret\n\tleaq 24(%rbp), %r11\n\tnop\n" END,
                  "variable arguments has an unknown form");
    require_fault("#APP\n\tnop\n#NO_APP\n\t.text\n\t.type f, @function\nf:\n" PROLOGUE "\tret\n" END,
                  "section '.text' holds both TOC code ('f') and an asm outside functions");
    require_body_fault("\t.include \"x\"\n", ".include");
}

Test(cli_toc_pass, all_faults_are_reported_together)
{
    struct toc_text output;
    const char *text = BEGIN PROLOGUE "\tmovq %rax, %r15\n\tmovabsq\t$__morestack_large_model, %r11\n" END;
    struct crateld_error *error = toc_pass((struct asm_slice){text, strlen(text)}, &output);
    cr_assert_not_null(error);
    require_text(crateld_error_message(error), "-mcmodel=large");
    require_text(crateld_error_message(error), "writes %r15");
    crateld_error_destroy(error);
}

Test(cli_toc_pass, intermediate_code_is_marked)
{
    char *output = pass("\t.section .gnu.lto_.decls,\"e\",@progbits\n\t.string \"call g; f:\"\n");
    require_text(output, "\t.section .crateld.toc,\"e\",@progbits\n");
    cr_assert_eq(count(output, "_TOC_"), 0);
    free(output);
}
