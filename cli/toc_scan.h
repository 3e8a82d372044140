/* What the TOC pass has to know about the whole of an assembly text before it changes any of it: its
 * functions with their split-stack prologues, which of its sections are TOC code, and which labels are
 * entered otherwise than by a branch.
 *
 * The forms looked for are those that gcc writes (12, and unchanged since 4.9): i386.cc,
 * ix86_expand_split_stack_prologue(); except.cc, output_one_function_exception_table().
 */
#ifndef CLI_TOC_SCAN_H
#define CLI_TOC_SCAN_H

#include "base/arena.h"
#include "base/error.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "cli/asm_walk.h"

enum { TOC_SCAN_NONE = HASH_INDEX_NONE };

enum toc_symbol_flags {
    TOC_SYMBOL_FUNCTION = 1 << 0,      /* of type @function */
    TOC_SYMBOL_GLOBAL = 1 << 1,        /* global or weak: the assembler leaves references to it to the linker */
    TOC_SYMBOL_RECEIVER = 1 << 2,      /* a landing pad, or its address is taken: control comes here from anywhere */
    TOC_SYMBOL_CALLING_MACRO = 1 << 3, /* a macro whose body calls, or names the TOC register */
    TOC_SYMBOL_IFUNC = 1 << 4,         /* of type @gnu_indirect_function */
    TOC_SYMBOL_RESOLVER = 1 << 5,      /* the function that chooses for one of those */
};

struct toc_symbol {
    struct asm_slice name;
    unsigned flags;       /* enum toc_symbol_flags */
    uint32_t section;     /* where its label stands; TOC_SCAN_NONE: nowhere */
    uint32_t function;    /* the function, or part of one, that its label begins; TOC_SCAN_NONE: none */
    uint32_t definitions; /* how often a numeric label has been defined up to here */
};

enum toc_prologue {
    TOC_PROLOGUE_NONE,    /* not seen */
    TOC_PROLOGUE_CALLED,  /* behind `call __morestack`, before its `ret` */
    TOC_PROLOGUE_RESUMED, /* where __morestack goes on */
    TOC_PROLOGUE_DONE,
};

struct toc_function {
    struct asm_slice name;
    uint32_t section;
    uint32_t parent; /* the function that this is a cold part of; TOC_SCAN_NONE: it is a function */
    enum toc_prologue prologue;
    uint32_t stack_arguments;       /* bytes, from the prologue */
    bool is_varargs;                /* it calls va_start */
    struct asm_slice varargs_entry; /* label where the caller's stack arguments are expected in varargs_register */
    struct asm_slice varargs_register;
    const char *register_written; /* place of an instruction that writes the TOC register; NULL: none */
    const char *calls_hidden;     /* place of a macro that calls; NULL: none */
    bool register_named;          /* some other instruction names it */
};

/* What a section holds. */
struct toc_section {
    uint32_t toc_function; /* one of its functions that is TOC code; TOC_SCAN_NONE: none */
    bool has_toplevel_asm; /* instructions that the user wrote outside functions */
};

struct toc_scan {
    struct arena arena;
    struct asm_sections sections;
    VEC(struct toc_section) section_kinds; /* as many as there are sections, once the scan is done */
    VEC(struct toc_symbol) symbols;
    struct hash_index symbol_index;
    VEC(struct toc_function) functions;
};

/* Scans `text`, which stays borrowed until toc_scan_deinit(). Errors: UNSUPPORTED, one line for each fault,
 * with file and line or function; MEMORY. *scan is to be released in every case. */
MUST_CHECK struct crateld_error *toc_scan(struct toc_scan *scan, struct asm_slice text);

void toc_scan_deinit(struct toc_scan *scan);

/* The symbol `name`, or NULL. */
struct toc_symbol *toc_scan_find(const struct toc_scan *scan, struct asm_slice name);

/* Sets *ret to the name that the label `name`, which is defined here, has among the symbols: its own, or for
 * a numeric one ("1") one for each definition. Advances toc_symbol.definitions. Error: MEMORY. */
MUST_CHECK struct crateld_error *toc_scan_label_name(struct toc_scan *scan, struct asm_slice name,
                                                     struct asm_slice *ret);

/* Forgets the count of numeric labels, for the next walk through the text. */
void toc_scan_rewind(struct toc_scan *scan);

/* Whether the section holds TOC code. */
static inline bool toc_scan_is_toc(const struct toc_scan *scan, uint32_t section)
{
    return scan->section_kinds.at[section].toc_function != TOC_SCAN_NONE;
}

/* Whether the function, or what it is a part of, has a split-stack prologue: then it is TOC code. */
static inline bool toc_scan_is_toc_function(const struct toc_scan *scan, const struct toc_function *function)
{
    if (function->parent != TOC_SCAN_NONE)
        function = &scan->functions.at[function->parent];
    return function->prologue != TOC_PROLOGUE_NONE;
}

/* Whether the instruction calls something; the operand is the target. */
bool toc_is_call(const struct asm_statement *instruction);

/* The symbol S of an operand `S(%rip)`; empty for any other operand. */
struct asm_slice toc_rip_symbol(struct asm_slice operand);

#endif
