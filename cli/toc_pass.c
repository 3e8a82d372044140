#include "cli/toc_pass.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/toc_scan.h"
#include "crateld/toc_record.h"

/* A restore that waits for the place where it is to stand. */
enum pending {
    PENDING_NONE,
    PENDING_CALL,     /* behind a call: before anything but notes for the debugger */
    PENDING_RECEIVER, /* at the first instruction behind a label, if there is one */
};

/* A pass under way. */
struct pass {
    struct toc_scan scan;
    struct asm_walk walk;
    VEC(char) text;
    bool is_out_of_memory;
    enum pending pending;
    struct asm_slice call_target; /* of PENDING_CALL */
    uint32_t function;            /* whose label came last, cold parts aside; TOC_SCAN_NONE: none */
    uint32_t has_adapter;         /* the function that has got its varargs adapter last */
    uint32_t separate;            /* the open function that stands in a section of its own; TOC_SCAN_NONE: none */
};

static const char restore[] = "nopl _TOC_(%rip)";
/* The same where Intel's syntax is on. */
static const char restore_bytes[] = ".byte 0x0f,0x1f,0x05; .long _TOC_-.-4";

static void put(struct pass *p, const char *at, size_t size)
{
    if (!VEC_RESERVE(&p->text, size)) {
        p->is_out_of_memory = true;
        return;
    }
    if (size)
        memcpy(p->text.at + p->text.count, at, size);
    p->text.count += size;
}

static void put_slice(struct pass *p, struct asm_slice slice)
{
    put(p, slice.at, slice.size);
}

static void put_text(struct pass *p, const char *text)
{
    put(p, text, strlen(text));
}

static void put_number(struct pass *p, uint32_t number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%u", number);
    put_text(p, digits);
}

static void put_restore(struct pass *p)
{
    put_text(p, p->walk.is_intel ? restore_bytes : restore);
    p->pending = PENDING_NONE;
}

/* The label that stands at the begin of each function and part of TOC code, for its record. */
static void put_record_label(struct pass *p, uint32_t function)
{
    put_text(p, ".Lcrateld_toc");
    put_number(p, function);
}

/* Debug labels right behind a call tell its return address, which is before the restore. */
static bool is_return_label(struct asm_slice name)
{
    return asm_begins(name, ".LVL");
}

/* Directives that emit nothing and may stand between a call or label and its restore. */
static bool is_note_directive(struct asm_slice op)
{
    return asm_is(op, ".loc") || asm_begins(op, ".cfi_");
}

static bool is_string_directive(struct asm_slice op)
{
    return asm_is(op, ".ascii") || asm_begins(op, ".asciz") || asm_begins(op, ".string");
}

/* Whether `target`, a call's operand, is the label that stands right behind it: then the call is there for
 * the address that it pushes. */
static bool is_next_label(struct asm_slice target, struct asm_slice label)
{
    if (target.size == label.size + 1 && target.at[label.size] == 'f')
        target.size--;
    return asm_equal(target, label);
}

/* The labels of a statement end the wait of a call's restore, and may begin that of a receiver. */
static struct crateld_error *pass_labels(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    struct asm_slice label, name;
    size_t cursor = 0;
    if (p->pending == PENDING_CALL && asm_next_label(statement, &cursor, &label) && !is_return_label(label)) {
        if (is_next_label(p->call_target, label)) {
            p->pending = PENDING_NONE;
        } else {
            put_restore(p);
            put_text(p, "; ");
        }
    }
    put_slice(p, (struct asm_slice){statement->text.at, (size_t)(statement->labels.at - statement->text.at)});
    put_slice(p, statement->labels);
    for (cursor = 0; asm_next_label(statement, &cursor, &label);) {
        TRY(toc_scan_label_name(&p->scan, label, &name));
        const struct toc_symbol *symbol = toc_scan_find(&p->scan, name);
        if (!symbol)
            continue;
        if (symbol->function != TOC_SCAN_NONE) {
            put_text(p, " ");
            put_record_label(p, symbol->function);
            put_text(p, ": ");
            if (p->scan.functions.at[symbol->function].parent == TOC_SCAN_NONE)
                p->function = symbol->function;
        } else if (symbol->flags & TOC_SYMBOL_RECEIVER && p->pending == PENDING_NONE) {
            p->pending = PENDING_RECEIVER;
        }
    }
    return NULL;
}

/* What follows the labels of the statement. */
static struct asm_slice statement_body(const struct asm_statement *statement)
{
    const char *end = statement->text.at + statement->text.size;
    const char *begin = statement->labels.at + statement->labels.size;
    return (struct asm_slice){begin, (size_t)(end - begin)};
}

static void pass_directive(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    if (p->pending != PENDING_NONE && !is_note_directive(statement->op)) {
        if (p->pending == PENDING_CALL && !is_string_directive(statement->op)) {
            put_restore(p);
            put_text(p, "; ");
        }
        p->pending = PENDING_NONE;
    }
    put_slice(p, statement_body(statement));
}

/* `call *f@GOTPCREL(%rip)` becomes `call f@PLT`; likewise jmp. Calls of __tls_get_addr stay, being parts of
 * sequences that linkers know byte by byte. */
static bool pass_got_branch(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    struct asm_slice operand = statement->operands;
    static const char got[] = "@GOTPCREL(%rip)";
    size_t got_size = strlen(got);
    bool is_call = toc_is_call(statement);
    if ((!is_call && !asm_is_op(statement->op, "jmp")) || operand.size <= got_size + 1 || operand.at[0] != '*')
        return false;
    struct asm_slice symbol = {operand.at + 1, operand.size - 1 - got_size};
    if (!asm_is(asm_skip(operand, 1 + symbol.size), got) || asm_is(symbol, "__tls_get_addr"))
        return false;
    put_text(p, is_call ? "call " : "jmp ");
    put_slice(p, symbol);
    put_text(p, "@PLT");
    return true;
}

/* `lea f(%rip), …` of a local function of the same section: the assembler would resolve it, and the linker
 * would not see that the function's address escapes. The displacement is the instruction's last field. */
static void pass_own_address(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    if (!asm_is_op(statement->op, "lea"))
        return;
    struct asm_slice name = toc_rip_symbol(asm_operand(statement->operands, 0));
    const struct toc_symbol *symbol = name.size ? toc_scan_find(&p->scan, name) : NULL;
    if (!symbol || symbol->function == TOC_SCAN_NONE || symbol->flags & TOC_SYMBOL_GLOBAL ||
        symbol->section != p->walk.place.current)
        return;
    put_text(p, "; .reloc .-4, R_X86_64_PC32, ");
    put_slice(p, name);
    put_text(p, "-4");
}

/* `cmpq %fs:112, …` in the prologue of an ifunc's resolver: in a static program it runs before there is a
 * thread pointer. Equal operands never branch to the call of __morestack. */
static bool pass_limit_check(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    if (p->function == TOC_SCAN_NONE || !asm_is(statement->op, "cmpq") ||
        !asm_is(asm_operand(statement->operands, 0), "%fs:112"))
        return false;
    const struct toc_symbol *symbol = toc_scan_find(&p->scan, p->scan.functions.at[p->function].name);
    if (!symbol || !(symbol->flags & TOC_SYMBOL_RESOLVER))
        return false;
    put_text(p, "\tcmpq %rsp, %rsp");
    return true;
}

/* Whether the function is to be entered, for variable arguments, by a piece of its own: gcc renamed the
 * register. */
static bool has_varargs_adapter(const struct toc_function *function)
{
    return function->is_varargs && !asm_is(function->varargs_register, "%r11");
}

static void put_adapter_label(struct pass *p, uint32_t function)
{
    put_text(p, ".Lcrateld_varargs");
    put_number(p, function);
}

/* That piece, behind the jump to the varargs entry. */
static void pass_varargs_adapter(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    if (p->function == TOC_SCAN_NONE || !asm_is(statement->op, "jmp"))
        return;
    const struct toc_function *function = &p->scan.functions.at[p->function];
    if (!has_varargs_adapter(function) || !asm_equal(statement->operands, function->varargs_entry) ||
        p->has_adapter == p->function)
        return;
    p->has_adapter = p->function;
    put_text(p, "; ");
    put_adapter_label(p, p->function);
    put_text(p, ": movq %r11, ");
    put_slice(p, function->varargs_register);
    put_text(p, "; jmp ");
    put_slice(p, function->varargs_entry);
}

static void pass_instruction(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    struct asm_slice body = statement_body(statement);
    if (p->pending != PENDING_NONE && asm_is_word(statement->op, "endbr64")) {
        put_slice(p, body);
        put_text(p, "; ");
        put_restore(p);
        return;
    }
    if (p->pending != PENDING_NONE) {
        put_restore(p);
        put_text(p, "; ");
    }
    if (!pass_got_branch(p) && !pass_limit_check(p))
        put_slice(p, body);
    pass_own_address(p);
    pass_varargs_adapter(p);
    if (!toc_is_call(statement) || asm_begins(statement->operands, "__morestack@PLT") ||
        asm_is(statement->operands, "__morestack"))
        return;
    p->pending = PENDING_CALL;
    p->call_target = statement->operands;
}

/* Keeps the count of numeric labels right across statements that are not changed. */
static struct crateld_error *count_labels(struct pass *p)
{
    struct asm_slice label, name;
    for (size_t cursor = 0; !p->walk.macro_depth && asm_next_label(&p->walk.statement, &cursor, &label);)
        TRY(toc_scan_label_name(&p->scan, label, &name));
    return NULL;
}

/* Switches to the section of `function`, or to another one of the same name for what is not TOC code in it: a
 * thunk, say, which gcc puts beside its function. */
static void put_section(struct pass *p, const struct toc_function *function, bool is_separate)
{
    const struct asm_section *section = &p->scan.sections.list.at[function->section];
    put_text(p, ".section ");
    put_slice(p, section->name);
    put_text(p, ",");
    if (section->flags.size)
        put_slice(p, section->flags);
    else
        put_text(p, "\"ax\"");
    put_text(p, ",@progbits");
    if (section->group.size) {
        put_text(p, ",");
        put_slice(p, section->group);
        put_text(p, ",comdat");
    }
    if (is_separate)
        put_text(p, ",unique,1");
    put_text(p, "; ");
}

/* The function that a label of the statement begins, if it is no TOC code but stands among it; or
 * TOC_SCAN_NONE. */
static uint32_t separate_function(const struct pass *p)
{
    struct asm_slice label;
    for (size_t cursor = 0; asm_next_label(&p->walk.statement, &cursor, &label);) {
        const struct toc_symbol *symbol = toc_scan_find(&p->scan, label);
        if (symbol && symbol->function != TOC_SCAN_NONE && symbol->section == p->walk.place.current &&
            !toc_scan_is_toc_function(&p->scan, &p->scan.functions.at[symbol->function]))
            return symbol->function;
    }
    return TOC_SCAN_NONE;
}

/* A statement of a function that is no TOC code but stands among it. */
static struct crateld_error *pass_separate(struct pass *p, bool is_begin)
{
    const struct asm_statement *statement = &p->walk.statement;
    const struct toc_function *function = &p->scan.functions.at[p->separate];
    if (is_begin) {
        if (p->pending == PENDING_CALL) {
            put_restore(p);
            put_text(p, "; ");
        }
        p->pending = PENDING_NONE;
        put_section(p, function, true);
        put_text(p, ".p2align 4; ");
    }
    TRY(count_labels(p));
    bool is_back = !p->walk.macro_depth && asm_walk_names_section(&p->walk, function->section);
    if (is_back)
        put_section(p, function, true);
    else
        put_slice(p, statement->text);
    if (asm_is(statement->op, ".size") && asm_equal(asm_operand(statement->operands, 0), function->name)) {
        put_text(p, "; ");
        put_section(p, function, false);
        p->separate = TOC_SCAN_NONE;
    }
    put_slice(p, statement->rest);
    return NULL;
}

static struct crateld_error *pass_statement(struct pass *p)
{
    const struct asm_statement *statement = &p->walk.statement;
    bool is_toc =
        asm_walk_section(&p->walk)->is_code && toc_scan_is_toc(&p->scan, p->walk.place.current) && !p->walk.macro_depth;
    bool is_separate_begin = false;
    if (is_toc && p->separate == TOC_SCAN_NONE && statement->labels.size) {
        p->separate = separate_function(p);
        is_separate_begin = p->separate != TOC_SCAN_NONE;
    }
    if (p->separate != TOC_SCAN_NONE)
        return pass_separate(p, is_separate_begin);
    if (!is_toc) {
        TRY(count_labels(p));
        put_slice(p, statement->text);
        put_slice(p, statement->rest);
        return NULL;
    }
    TRY(pass_labels(p));
    if (!statement->op.size)
        put_slice(p, statement_body(statement));
    else if (asm_is_directive(statement))
        pass_directive(p);
    else
        pass_instruction(p);
    put_slice(p, statement->rest);
    return NULL;
}

/* One record of crateld/toc_record.h. */
static void put_record(struct pass *p, uint32_t number)
{
    const struct toc_function *function = &p->scan.functions.at[number];
    struct asm_slice group = p->scan.sections.list.at[function->section].group;
    put_text(p, "\t.section " CRATELD_TOC_RECORD_SECTION ",\"e");
    if (group.size) {
        put_text(p, "G\",@progbits,\"");
        put_slice(p, group);
        put_text(p, "\",comdat\n\t.quad ");
    } else {
        put_text(p, "\",@progbits\n\t.quad ");
    }
    put_record_label(p, number);
    put_text(p, ", ");
    if (has_varargs_adapter(function))
        put_adapter_label(p, number);
    else if (function->is_varargs)
        put_slice(p, function->varargs_entry);
    else
        put_text(p, "0");
    put_text(p, "\n\t.long ");
    put_number(p, function->parent == TOC_SCAN_NONE ? CRATELD_TOC_FUNCTION : CRATELD_TOC_PART);
    put_text(p, ", ");
    put_number(p, function->stack_arguments);
    put_text(p, "\n");
}

/* Whether the text carries intermediate code for link-time optimisation. */
static bool has_lto_sections(const struct pass *p)
{
    for (size_t i = 0; i < p->scan.sections.list.count; i++)
        if (asm_begins(p->scan.sections.list.at[i].name, ".gnu.lto_"))
            return true;
    return false;
}

/* The records, and a definition of _TOC_ for programs that are no crates. Intermediate code gets a section of
 * no records: it tells the linker to compile it to TOC code. */
static void put_records(struct pass *p)
{
    bool has_toc_code = false;
    if (p->text.count && p->text.at[p->text.count - 1] != '\n')
        put_text(p, "\n");
    for (uint32_t i = 0; i < p->scan.functions.count; i++) {
        if (!toc_scan_is_toc_function(&p->scan, &p->scan.functions.at[i]))
            continue;
        put_record(p, i);
        has_toc_code = true;
    }
    if (has_lto_sections(p))
        put_text(p, "\t.section " CRATELD_TOC_RECORD_SECTION ",\"e\",@progbits\n");
    if (has_toc_code)
        put_text(p, "\t.bss\n\t.weak _TOC_\n\t.hidden _TOC_\n_TOC_:\n");
}

static struct crateld_error *pass_text(struct pass *p)
{
    toc_scan_rewind(&p->scan);
    for (bool is_there;;) {
        TRY(asm_walk_next(&p->walk, &is_there));
        if (!is_there)
            break;
        TRY(pass_statement(p));
    }
    if (p->pending == PENDING_CALL) {
        put_text(p, "; ");
        put_restore(p);
    }
    put_records(p);
    return p->is_out_of_memory ? error_memory() : NULL;
}

struct crateld_error *toc_pass(struct asm_slice text, struct toc_text *ret)
{
    struct pass p = {.function = TOC_SCAN_NONE, .has_adapter = TOC_SCAN_NONE, .separate = TOC_SCAN_NONE};
    struct crateld_error *error = toc_scan(&p.scan, text);
    if (!error)
        error = asm_walk_init(&p.walk, text, &p.scan.sections);
    if (!error)
        error = pass_text(&p);
    asm_walk_deinit(&p.walk);
    toc_scan_deinit(&p.scan);
    if (error) {
        free(p.text.at);
        return error;
    }
    *ret = (struct toc_text){p.text.at, p.text.count};
    return NULL;
}
