#include "cli/toc_scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cli/toc_register.h"
#include "toc/stubs.h"

/* A scan under way. */
struct scanner {
    struct toc_scan *scan;
    struct asm_walk walk;
    uint32_t function;           /* the open one; TOC_SCAN_NONE: none */
    int64_t r11;                 /* the constant that %r11 holds; -1: not known */
    int call_site_field;         /* of the exception table's call-site records; -1: not in them */
    struct asm_slice macro;      /* whose definition this is */
    struct crateld_error *error; /* faults so far */
};

enum { CALL_SITE_FIELDS = 4, CALL_SITE_LANDING_PAD = 2 }; /* start, length, landing pad, action */

/* Where a statement stands, for messages: in the scan's arena; NULL without memory. */
static const char *describe_place(struct scanner *s)
{
    struct asm_slice file = s->walk.file;
    const char *where;
    if (s->walk.line)
        where = arena_printf(&s->scan->arena, "%.*s:%u: ", (int)file.size, file.at, s->walk.line);
    else
        where =
            arena_printf(&s->scan->arena, "%.*s%s", (int)file.size, file.size ? file.at : "", file.size ? ": " : "");
    if (!where || s->function == TOC_SCAN_NONE)
        return where;
    struct asm_slice name = s->scan->functions.at[s->function].name;
    return arena_printf(&s->scan->arena, "%sin function '%.*s': ", where, (int)name.size, name.at);
}

/* Notes a fault at the current statement. */
static void fault(struct scanner *s, const char *text)
{
    const char *place = describe_place(s);
    s->error = error_join(s->error, error_create(CRATELD_ERROR_UNSUPPORTED, "%s%s", place ? place : "", text));
}

static uint64_t hash_name(struct asm_slice name)
{
    return hash_bytes(name.at, name.size);
}

struct toc_symbol *toc_scan_find(const struct toc_scan *scan, struct asm_slice name)
{
    size_t cursor = 0;
    uint32_t number;
    while ((number = hash_index_next(&scan->symbol_index, hash_name(name), &cursor)) != HASH_INDEX_NONE)
        if (asm_equal(scan->symbols.at[number].name, name))
            return &scan->symbols.at[number];
    return NULL;
}

/* Sets *ret to the symbol `name`, which is entered if it is new; the pointer holds until the next one is. */
static struct crateld_error *enter_symbol(struct toc_scan *scan, struct asm_slice name, struct toc_symbol **ret)
{
    *ret = toc_scan_find(scan, name);
    if (*ret)
        return NULL;
    struct toc_symbol symbol = {.name = name, .section = TOC_SCAN_NONE, .function = TOC_SCAN_NONE};
    if (!hash_index_add(&scan->symbol_index, hash_name(name)) || !VEC_PUSH(&scan->symbols, symbol))
        return error_memory();
    *ret = &scan->symbols.at[scan->symbols.count - 1];
    return NULL;
}

static struct crateld_error *flag_symbol(struct toc_scan *scan, struct asm_slice name, unsigned flag)
{
    struct toc_symbol *symbol;
    if (!name.size)
        return NULL;
    TRY(enter_symbol(scan, name, &symbol));
    symbol->flags |= flag;
    return NULL;
}

/* Whether `name` is that of a label which may be defined many times: digits. */
static bool is_numeric(struct asm_slice name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.at[i] < '0' || name.at[i] > '9')
            return false;
    return name.size > 0;
}

/* The name of definition `number` of the numeric label `name`; no label in a text can have it. */
static struct crateld_error *numeric_name(struct toc_scan *scan, struct asm_slice name, uint32_t number,
                                          struct asm_slice *ret)
{
    char *text = arena_printf(&scan->arena, "%.*s#%u", (int)name.size, name.at, number);
    if (!text)
        return error_memory();
    *ret = (struct asm_slice){text, strlen(text)};
    return NULL;
}

struct crateld_error *toc_scan_label_name(struct toc_scan *scan, struct asm_slice name, struct asm_slice *ret)
{
    *ret = name;
    if (!is_numeric(name))
        return NULL;
    struct toc_symbol *symbol;
    TRY(enter_symbol(scan, name, &symbol));
    return numeric_name(scan, name, ++symbol->definitions, ret);
}

void toc_scan_rewind(struct toc_scan *scan)
{
    for (size_t i = 0; i < scan->symbols.count; i++)
        scan->symbols.at[i].definitions = 0;
}

bool toc_is_call(const struct asm_statement *instruction)
{
    return asm_is_op(instruction->op, "call") || asm_is_op(instruction->op, "lcall");
}

/* The leading part of `text` that can be a symbol. */
static struct asm_slice symbol_part(struct asm_slice text)
{
    size_t size = 0;
    while (size < text.size && !strchr("+-*/()[]@, \t$%\"", text.at[size]))
        size++;
    return (struct asm_slice){text.at, size};
}

struct asm_slice toc_rip_symbol(struct asm_slice operand)
{
    struct asm_slice symbol = symbol_part(operand);
    if (!symbol.size || !asm_is_word(asm_trim(asm_skip(operand, symbol.size)), "(%rip)"))
        return (struct asm_slice){operand.at, 0};
    return symbol;
}

/* Control may come to the label that an instruction takes the address of: `lea label(%rip), …`, `push
 * $label`. */
static struct crateld_error *scan_taken_address(struct scanner *s)
{
    const struct asm_statement *instruction = &s->walk.statement;
    struct asm_slice operand = asm_operand(instruction->operands, 0), name = {0};
    if (asm_is_op(instruction->op, "lea"))
        name = toc_rip_symbol(operand);
    else if (operand.size > 1 && operand.at[0] == '$')
        name = symbol_part(asm_skip(operand, 1));
    if (name.size < 2)
        return NULL;
    struct asm_slice digits = {name.at, name.size - 1};
    if (!is_numeric(digits))
        return is_numeric(name) ? NULL : flag_symbol(s->scan, name, TOC_SYMBOL_RECEIVER);
    char direction = name.at[name.size - 1];
    if (direction != 'f' && direction != 'b')
        return NULL;
    struct toc_symbol *symbol;
    TRY(enter_symbol(s->scan, digits, &symbol));
    TRY(numeric_name(s->scan, digits, symbol->definitions + (direction == 'f'), &name));
    return flag_symbol(s->scan, name, TOC_SYMBOL_RECEIVER);
}

/* A decimal immediate operand; -1 for anything else. */
static int64_t immediate(struct asm_slice operand)
{
    int64_t value = 0;
    if (operand.size < 2 || operand.at[0] != '$')
        return -1;
    for (size_t i = 1; i < operand.size; i++) {
        if (operand.at[i] < '0' || operand.at[i] > '9' || value > INT32_MAX)
            return -1;
        value = value * 10 + (operand.at[i] - '0');
    }
    return value;
}

/* Follows the constant in %r11, which in a prologue is the size of the stack arguments. */
static void track_r11(struct scanner *s)
{
    const struct asm_statement *instruction = &s->walk.statement;
    unsigned count = asm_operand_count(instruction->operands);
    struct asm_slice last = count ? asm_operand(instruction->operands, count - 1) : (struct asm_slice){0};
    if (!asm_is(last, "%r11d") && !asm_is(last, "%r11"))
        return;
    struct asm_slice first = asm_operand(instruction->operands, 0);
    if (asm_is_op(instruction->op, "xor") && asm_equal(first, last))
        s->r11 = 0;
    else if (asm_is_op(instruction->op, "mov"))
        s->r11 = immediate(first);
    else
        s->r11 = -1;
}

static bool is_morestack_call(const struct asm_statement *instruction)
{
    return toc_is_call(instruction) &&
           (asm_is(instruction->operands, "__morestack") || asm_is(instruction->operands, "__morestack@PLT"));
}

/* `call __morestack`, with the size of the stack arguments in %r11. */
static void begin_morestack(struct scanner *s, struct toc_function *function)
{
    if (function->prologue != TOC_PROLOGUE_NONE)
        return fault(s, "has a second split-stack prologue");
    function->prologue = TOC_PROLOGUE_CALLED;
    if (s->r11 < 0)
        return fault(s, "the split-stack prologue does not tell the size of the arguments on the stack");
    if (s->r11 > TOC_STACK_ARGUMENTS_MAX)
        return fault(s, "has more arguments on the stack than TOC code can have (16 MiB)");
    function->stack_arguments = (uint32_t)(s->r11 + 7) & ~7u;
}

/* What stands where __morestack goes on: a function that calls va_start first sets %r11 to the address of the
 * caller's stack arguments, and joins the other way in, where %r11 is set from %rsp: there it can be entered
 * with %r11 set by somebody else. A profiler's call may stand between. */
static void scan_resumption(struct scanner *s, struct toc_function *function)
{
    const struct asm_statement *instruction = &s->walk.statement;
    struct asm_slice first = asm_operand(instruction->operands, 0), second = asm_operand(instruction->operands, 1);
    if (asm_is(instruction->op, "endbr64") || toc_is_call(instruction))
        return;
    if (asm_is(instruction->op, "movq") && asm_is(first, "%rax") && asm_is(second, "%r10"))
        return;
    if (asm_is(instruction->op, "leaq") && asm_is(first, "24(%rbp)") && !function->is_varargs) {
        function->is_varargs = true;
        function->varargs_register = second;
        return;
    }
    function->prologue = TOC_PROLOGUE_DONE;
    if (asm_is(instruction->op, "jmp"))
        function->varargs_entry = first;
    else if (function->is_varargs)
        fault(s, "the split-stack prologue of a function with variable arguments has an unknown form");
}

static void scan_prologue(struct scanner *s, struct toc_function *function)
{
    const struct asm_statement *instruction = &s->walk.statement;
    if (is_morestack_call(instruction)) {
        begin_morestack(s, function);
    } else if (function->prologue == TOC_PROLOGUE_CALLED) {
        function->prologue = TOC_PROLOGUE_RESUMED;
        if (!asm_is_op(instruction->op, "ret") || instruction->operands.size)
            fault(s, "the call of __morestack is not followed by 'ret'");
    } else if (function->prologue == TOC_PROLOGUE_RESUMED) {
        scan_resumption(s, function);
    } else if (function->prologue == TOC_PROLOGUE_NONE) {
        track_r11(s);
    }
}

/* Notes where a function writes the TOC register, and calls that can not be seen. */
static struct crateld_error *scan_register_and_macros(struct scanner *s, struct toc_function *function)
{
    const struct asm_statement *instruction = &s->walk.statement;
    const char **place = NULL;
    if (toc_register_is_written(instruction, s->walk.is_intel))
        place = &function->register_written;
    else if (toc_register_is_named(instruction, s->walk.is_intel))
        function->register_named = true;
    struct toc_symbol *macro = toc_scan_find(s->scan, instruction->op);
    if (macro && macro->flags & TOC_SYMBOL_CALLING_MACRO)
        place = &function->calls_hidden;
    if (!place || *place)
        return NULL;
    *place = describe_place(s);
    return *place ? NULL : error_memory();
}

static struct crateld_error *scan_instruction(struct scanner *s)
{
    if (s->function == TOC_SCAN_NONE) {
        if (s->walk.is_app) {
            while (s->scan->section_kinds.count <= s->walk.place.current)
                if (!VEC_PUSH(&s->scan->section_kinds, (struct toc_section){TOC_SCAN_NONE, false}))
                    return error_memory();
            s->scan->section_kinds.at[s->walk.place.current].has_toplevel_asm = true;
        }
        return NULL;
    }
    struct toc_function *function = &s->scan->functions.at[s->function];
    if (asm_holds(s->walk.statement.operands, "__morestack_large_model"))
        fault(s, "TOC code can not be made with -mcmodel=large");
    if (!s->walk.is_app)
        scan_prologue(s, function);
    TRY(scan_register_and_macros(s, function));
    return scan_taken_address(s);
}

/* A label that may begin a function, or the cold part of the open one ("<name>.cold"). */
static struct crateld_error *scan_function_label(struct scanner *s, struct toc_symbol *symbol)
{
    if (!(symbol->flags & TOC_SYMBOL_FUNCTION) || s->walk.is_app || !asm_walk_section(&s->walk)->is_code)
        return NULL;
    struct toc_function function = {.name = symbol->name, .section = s->walk.place.current, .parent = TOC_SCAN_NONE};
    symbol->function = (uint32_t)s->scan->functions.count;
    if (s->function != TOC_SCAN_NONE) {
        struct asm_slice open = s->scan->functions.at[s->function].name;
        if (symbol->name.size > open.size && !memcmp(symbol->name.at, open.at, open.size) &&
            asm_is(asm_skip(symbol->name, open.size), ".cold"))
            function.parent = s->function;
    }
    if (function.parent == TOC_SCAN_NONE) {
        s->function = symbol->function;
        s->r11 = -1;
    }
    return VEC_PUSH(&s->scan->functions, function) ? NULL : error_memory();
}

/* Labels that only debug information and exception tables refer to. */
static bool is_note_label(struct asm_slice name)
{
    return asm_begins(name, ".LVL") || asm_begins(name, ".LB") || asm_begins(name, ".LEH");
}

static struct crateld_error *scan_label(struct scanner *s, struct asm_slice label)
{
    struct asm_slice name;
    TRY(toc_scan_label_name(s->scan, label, &name));
    struct toc_symbol *symbol;
    TRY(enter_symbol(s->scan, name, &symbol));
    symbol->section = s->walk.place.current;
    if (asm_begins(asm_walk_section(&s->walk)->name, ".gcc_except_table")) {
        if (asm_begins(name, ".LLSDACSB"))
            s->call_site_field = 0;
        else if (asm_begins(name, ".LLSDACSE"))
            s->call_site_field = -1;
    }
    if (s->function != TOC_SCAN_NONE && !is_numeric(label) && !is_note_label(label)) {
        struct toc_function *function = &s->scan->functions.at[s->function];
        if (function->prologue == TOC_PROLOGUE_RESUMED) {
            function->prologue = TOC_PROLOGUE_DONE;
            function->varargs_entry = label;
            if (function->is_varargs && !asm_is(function->varargs_register, "%r11"))
                fault(s, "the split-stack prologue of a function with variable arguments has an unknown form");
        } else if (function->prologue == TOC_PROLOGUE_NONE) {
            s->r11 = -1;
        }
    }
    return scan_function_label(s, symbol);
}

/* `.uleb128 .Lx-.LFBn` in a call-site record. */
static struct crateld_error *scan_call_site(struct scanner *s)
{
    struct asm_slice operands = s->walk.statement.operands;
    unsigned count = asm_operand_count(operands);
    for (unsigned i = 0; i < count; i++) {
        struct asm_slice name = symbol_part(asm_operand(operands, i));
        bool is_landing_pad = s->call_site_field == CALL_SITE_LANDING_PAD;
        s->call_site_field = (s->call_site_field + 1) % CALL_SITE_FIELDS;
        if (is_landing_pad && !is_numeric(name))
            TRY(flag_symbol(s->scan, name, TOC_SYMBOL_RECEIVER));
    }
    return NULL;
}

static struct crateld_error *scan_type(struct scanner *s, struct asm_slice name, struct asm_slice type)
{
    if (asm_is(type, "@function"))
        return flag_symbol(s->scan, name, TOC_SYMBOL_FUNCTION);
    return asm_is(type, "@gnu_indirect_function") ? flag_symbol(s->scan, name, TOC_SYMBOL_IFUNC) : NULL;
}

static struct crateld_error *scan_directive(struct scanner *s)
{
    const struct asm_statement *statement = &s->walk.statement;
    struct asm_slice first = asm_operand(statement->operands, 0);
    if (statement->is_assignment)
        return NULL;
    if (asm_is(statement->op, ".uleb128") && s->call_site_field >= 0)
        return scan_call_site(s);
    if (asm_is(statement->op, ".type"))
        return scan_type(s, first, asm_operand(statement->operands, 1));
    if (asm_is(statement->op, ".set")) {
        const struct toc_symbol *symbol = toc_scan_find(s->scan, first);
        if (symbol && symbol->flags & TOC_SYMBOL_IFUNC)
            return flag_symbol(s->scan, asm_operand(statement->operands, 1), TOC_SYMBOL_RESOLVER);
    }
    if (asm_is(statement->op, ".globl") || asm_is(statement->op, ".global") || asm_is(statement->op, ".weak")) {
        for (unsigned i = 0; i < asm_operand_count(statement->operands); i++)
            TRY(flag_symbol(s->scan, asm_operand(statement->operands, i), TOC_SYMBOL_GLOBAL));
    } else if (asm_is(statement->op, ".size")) {
        if (s->function != TOC_SCAN_NONE && asm_equal(first, s->scan->functions.at[s->function].name))
            s->function = TOC_SCAN_NONE;
    } else if (asm_is(statement->op, ".intel_syntax") && !s->walk.is_app) {
        fault(s, "TOC code can not be made with -masm=intel");
    } else if (asm_is(statement->op, ".include") && s->function != TOC_SCAN_NONE) {
        fault(s, "what '.include' brings into a function can not be seen");
    } else if (asm_is(statement->op, ".macro")) {
        s->macro = symbol_part(statement->operands);
    }
    return NULL;
}

/* A statement in the body of s->macro. */
static struct crateld_error *scan_macro_body(struct scanner *s)
{
    const struct asm_statement *statement = &s->walk.statement;
    struct toc_symbol *inner = toc_scan_find(s->scan, statement->op);
    if (toc_is_call(statement) || toc_register_is_named(statement, s->walk.is_intel) ||
        (inner && inner->flags & TOC_SYMBOL_CALLING_MACRO))
        return flag_symbol(s->scan, s->macro, TOC_SYMBOL_CALLING_MACRO);
    return NULL;
}

static struct crateld_error *scan_statement(struct scanner *s)
{
    const struct asm_statement *statement = &s->walk.statement;
    if (s->walk.macro_depth)
        return scan_macro_body(s);
    struct asm_slice label;
    for (size_t cursor = 0; asm_next_label(statement, &cursor, &label);)
        TRY(scan_label(s, label));
    if (!statement->op.size)
        return NULL;
    if (asm_is_directive(statement))
        return scan_directive(s);
    return asm_walk_section(&s->walk)->is_code ? scan_instruction(s) : NULL;
}

/* The faults of one function, now that it is known whether it is TOC code. */
static void judge_function(struct scanner *s, const struct toc_function *function, bool is_toc)
{
    struct crateld_error *error = NULL;
    if (function->register_written && is_toc)
        error = error_create(CRATELD_ERROR_UNSUPPORTED, "%swrites %%r15, which holds the TOC in TOC code",
                             function->register_written);
    else if (function->register_written && !function->register_named)
        error = error_create(CRATELD_ERROR_UNSUPPORTED, "%swrites %%r15 without saving it", function->register_written);
    if (function->calls_hidden && is_toc)
        error = error_join(error, error_create(CRATELD_ERROR_UNSUPPORTED,
                                               "%suses an assembler macro that calls or names %%r15, where TOC code "
                                               "needs to see it",
                                               function->calls_hidden));
    if (function->prologue == TOC_PROLOGUE_CALLED || function->prologue == TOC_PROLOGUE_RESUMED)
        error = error_join(error, error_create(CRATELD_ERROR_UNSUPPORTED,
                                               "in function '%.*s': the split-stack prologue has an unknown form",
                                               (int)function->name.size, function->name.at));
    if (error)
        s->error = error_join(s->error, error);
}

/* What the user wrote outside functions can not be told from the TOC code that it shares a section with.
 * (Functions of the compiler's that are no TOC code can: the pass gives them sections of their own.) */
static void judge_section(struct scanner *s, const struct toc_section *kind, const struct asm_section *section)
{
    if (kind->toc_function == TOC_SCAN_NONE || !kind->has_toplevel_asm)
        return;
    struct asm_slice toc = s->scan->functions.at[kind->toc_function].name, file = s->walk.main_file;
    s->error = error_join(
        s->error, error_create(CRATELD_ERROR_UNSUPPORTED,
                               "%.*s%ssection '%.*s' holds both TOC code ('%.*s') and an asm outside functions: put "
                               "them into sections of their own, as -ffunction-sections does",
                               (int)file.size, file.size ? file.at : "", file.size ? ": " : "", (int)section->name.size,
                               section->name.at, (int)toc.size, toc.at));
}

/* Decides which sections are TOC code, and reports what does not go together with that. */
static struct crateld_error *judge(struct scanner *s)
{
    struct toc_scan *scan = s->scan;
    while (scan->section_kinds.count < scan->sections.list.count)
        if (!VEC_PUSH(&scan->section_kinds, (struct toc_section){TOC_SCAN_NONE, false}))
            return error_memory();
    for (uint32_t i = 0; i < scan->functions.count; i++) {
        const struct toc_function *function = &scan->functions.at[i];
        bool is_toc = toc_scan_is_toc_function(scan, function);
        if (is_toc)
            scan->section_kinds.at[function->section].toc_function = i;
        judge_function(s, function, is_toc);
    }
    for (size_t i = 0; i < scan->sections.list.count; i++)
        judge_section(s, &scan->section_kinds.at[i], &scan->sections.list.at[i]);
    return NULL;
}

static struct crateld_error *scan_text(struct scanner *s)
{
    for (bool is_there;;) {
        TRY(asm_walk_next(&s->walk, &is_there));
        if (!is_there)
            return judge(s);
        TRY(scan_statement(s));
    }
}

struct crateld_error *toc_scan(struct toc_scan *scan, struct asm_slice text)
{
    *scan = (struct toc_scan){0};
    arena_init(&scan->arena);
    asm_sections_init(&scan->sections);
    hash_index_init(&scan->symbol_index);
    struct scanner s = {.scan = scan, .function = TOC_SCAN_NONE, .r11 = -1, .call_site_field = -1};
    struct crateld_error *error = asm_walk_init(&s.walk, text, &scan->sections);
    if (!error)
        error = scan_text(&s);
    asm_walk_deinit(&s.walk);
    return error_join(s.error, error);
}

void toc_scan_deinit(struct toc_scan *scan)
{
    arena_deinit(&scan->arena);
    asm_sections_deinit(&scan->sections);
    hash_index_deinit(&scan->symbol_index);
    free(scan->section_kinds.at);
    free(scan->symbols.at);
    free(scan->functions.at);
}
