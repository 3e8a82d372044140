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

/* The general dynamic and the initial exec model: "ELF Handling for Thread-Local Storage" §4.1.6, §4.3.6. */
void export_write_thread_locals(FILE *out, bool is_static)
{
    fputs("    .text\n"
          "    .p2align 4\n"
          ".Lthread_locals:\n"
          "    .cfi_startproc\n",
          out);
    if (is_static)
        fputs("    mov .Lblock@gottpoff(%rip), %rax\n"
              "    mov %rax, .Ldistance+8(%rip)\n"
              "    lea .Ldistance(%rip), %rax\n",
              out);
    else
        fputs("    lea .Lblock@tlsgd(%rip), %rdi\n"
              "    mov %rdi, %rax\n",
              out);
    fputs("    ret\n"
          "    .cfi_endproc\n",
          out);
    if (is_static)
        fputs("    .local .Ldistance\n"
              "    .comm .Ldistance, 16, 8\n",
              out);
}
