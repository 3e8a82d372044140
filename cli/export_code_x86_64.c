#include <stddef.h>

#include "cli/export_code.h"
#include "crateld/export.h"

void export_write_function(FILE *out, const char *name, uint32_t i)
{
    fprintf(out,
            "    .p2align 4\n"
            "\"%s\":\n"
            "    .cfi_startproc\n"
            "    jmp *.Lslots+%llu(%%rip)\n"
            ".Llazy%u:\n"
            "    lea .Lslots+%llu(%%rip), %%r11\n"
            "    jmp .Lhead\n"
            "    .cfi_endproc\n"
            "    .size \"%s\", . - \"%s\"\n",
            name, i * 16ULL, i, i * 16ULL, name, name);
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
