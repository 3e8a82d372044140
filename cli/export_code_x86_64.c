#include <stddef.h>

#include "cli/export_code.h"
#include "crateld/export.h"

/* A stub has a cache line's half to itself: branches that share one are predicted worse. */
void export_write_function(FILE *out, const char *name, uint32_t i)
{
    fprintf(out,
            "    .text\n"
            "    .p2align 5\n"
            "\"%s\":\n"
            ".Lstub%u:\n"
            "    .cfi_startproc\n"
            "    jmp *.Lslots+%llu(%%rip)\n"
            "    .cfi_endproc\n"
            "    .size \"%s\", . - \"%s\"\n"
            "    .text 1\n"
            ".Llazy%u:\n"
            "    .cfi_startproc\n"
            "    lea .Lslots+%llu(%%rip), %%r11\n"
            "    jmp .Lhead\n"
            "    .cfi_endproc\n",
            name, i, i * 16ULL, name, name, i, i * 16ULL);
}

void export_write_head(FILE *out)
{
    fprintf(out,
            ".Lhead:\n"
            "    .cfi_startproc\n"
            "    push %%r11\n"
            "    .cfi_adjust_cfa_offset 8\n"
            "    lea .Llibrary(%%rip), %%r11\n"
            "    jmp *%zu(%%r11)\n"
            "    .cfi_endproc\n",
            offsetof(struct crateld_export, head.resolver));
}

void export_write_start(FILE *out)
{
    fputs(".Lstart:\n"
          "    lea .Llibrary(%rip), %rdi\n"
          "    jmp crateld_export_start@PLT\n"
          "    .section .init_array, \"aw\"\n"
          "    .balign 8\n"
          "    .quad .Lstart\n",
          out);
}
