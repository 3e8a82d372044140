/* A small Lisp that allocates only from a collected heap: pairs, symbols, closures, environments. It runs on every
 * plan, moving ones too: what it holds while it allocates is in a frame of precise roots. lisp [FILE]
 * CRATELD_GC=semispace,heap=16M,stress=10,sanity and the like choose the heap
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crateld/gc.h"

struct pair {
    void *first, *rest;
};

struct number {
    long value;
};

struct symbol {
    void *value; /* the global one */
    void *next;  /* of all symbols */
    char name[24];
};

struct closure {
    void *parameters, *body, *environment;
};

struct builtin {
    long which;
};

CRATELD_GC_TYPE(pair_type, struct pair, offsetof(struct pair, first), offsetof(struct pair, rest));
CRATELD_GC_TYPE(symbol_type, struct symbol, offsetof(struct symbol, value), offsetof(struct symbol, next));
CRATELD_GC_TYPE(closure_type, struct closure, offsetof(struct closure, parameters), offsetof(struct closure, body),
                offsetof(struct closure, environment));
static const struct crateld_gc_type number_type = {"number", CRATELD_GC_LEAF, sizeof(struct number), NULL, 0};
static const struct crateld_gc_type builtin_type = {"builtin", CRATELD_GC_LEAF, sizeof(struct builtin), NULL, 0};

static struct crateld_gc_heap *heap;
static uint32_t pairs, numbers, symbols, closures, builtins; /* the types' numbers */
static void *all_symbols, *truth;                            /* roots */
static FILE *input;
static jmp_buf failed;

/* A function's locals that have to survive allocation: declared with LOCALS(n), used as local[i], ended with
 * LEAVE(value). */
#define LOCALS(n)                                                                                                      \
    void *local[n] = {0};                                                                                              \
    struct crateld_gc_frame frame = {NULL, local, n};                                                                  \
    crateld_gc_frame_push(heap, &frame)
#define LEAVE(value)                                                                                                   \
    do {                                                                                                               \
        void *result = (value);                                                                                        \
        crateld_gc_frame_pop(heap);                                                                                    \
        return result;                                                                                                 \
    } while (0)

static void *fail(const char *what)
{
    printf("error: %s\n", what);
    longjmp(failed, 1);
}

static void *allocate(uint32_t type, size_t size)
{
    void *object = crateld_gc_alloc(crateld_gc_mutator(heap), type, size);
    return object ? object : fail(crateld_gc_why(heap));
}

static int is(const void *value, uint32_t type)
{
    return value && crateld_gc_type_of(value) == type;
}

static void *cons(void *first, void *rest)
{
    LOCALS(2);
    local[0] = first;
    local[1] = rest;
    struct pair *pair = allocate(pairs, sizeof *pair);
    pair->first = local[0];
    pair->rest = local[1];
    LEAVE(pair);
}

static void *first(void *list)
{
    return is(list, pairs) ? ((struct pair *)list)->first : fail("not a list");
}

static void *rest(void *list)
{
    return is(list, pairs) ? ((struct pair *)list)->rest : fail("not a list");
}

static void *box(long value)
{
    struct number *number = allocate(numbers, sizeof *number);
    number->value = value;
    return number;
}

static long unbox(const void *value)
{
    if (!is(value, numbers))
        fail("not a number");
    return ((const struct number *)value)->value;
}

static void *intern(const char *name)
{
    for (struct symbol *symbol = all_symbols; symbol; symbol = symbol->next)
        if (!strcmp(symbol->name, name))
            return symbol;
    struct symbol *symbol = allocate(symbols, sizeof *symbol);
    snprintf(symbol->name, sizeof symbol->name, "%s", name);
    symbol->next = all_symbols;
    return all_symbols = symbol;
}

/* ---- Reading ---- */

static int next_char(void)
{
    int c = getc(input);
    while (c == ';' || isspace(c)) {
        if (c == ';')
            while (c != '\n' && c != EOF)
                c = getc(input);
        else
            c = getc(input);
    }
    return c;
}

static void *read_value(int c);

static void *read_list(void)
{
    LOCALS(2);
    int c = next_char();
    if (c == ')')
        LEAVE(NULL);
    if (c == EOF)
        fail("a list has no end");
    local[0] = read_value(c);
    local[1] = read_list();
    LEAVE(cons(local[0], local[1]));
}

static void *read_value(int c)
{
    char name[24], *end;
    size_t length = 0;
    if (c == '(')
        return read_list();
    if (c == ')')
        return fail("a list has no beginning");
    if (c == '\'') {
        LOCALS(2);
        local[0] = cons(read_value(next_char()), NULL);
        local[1] = intern("quote");
        LEAVE(cons(local[1], local[0]));
    }
    for (; c != EOF && !isspace(c) && c != '(' && c != ')'; c = getc(input))
        if (length < sizeof name - 1)
            name[length++] = (char)c;
    ungetc(c, input);
    name[length] = 0;
    long value = strtol(name, &end, 10);
    return !*end ? box(value) : strcmp(name, "nil") ? intern(name) : NULL;
}

/* ---- Printing ---- */

static void print(void *value)
{
    if (!value) {
        printf("nil");
    } else if (is(value, numbers)) {
        printf("%ld", unbox(value));
    } else if (is(value, symbols)) {
        printf("%s", ((struct symbol *)value)->name);
    } else if (is(value, pairs)) {
        const char *before = "(";
        for (; is(value, pairs); value = rest(value)) {
            printf("%s", before);
            print(first(value));
            before = " ";
        }
        if (value) {
            printf(" . ");
            print(value);
        }
        printf(")");
    } else {
        printf("#function");
    }
}

/* ---- Evaluating ---- */

static const char *const builtin_names[] = {"+", "-", "*", "<", "=", "cons", "first", "rest", "list", "collect"};
enum { ADD, SUBTRACT, MULTIPLY, LESS, EQUAL, CONS, FIRST, REST, LIST, COLLECT, BUILTIN_COUNT };

static void *call_builtin(long which, void *arguments)
{
    if (which == LIST)
        return arguments;
    if (which == COLLECT)
        return crateld_gc_collect(heap) ? truth : NULL;
    void *a = first(arguments), *b = which == FIRST || which == REST ? NULL : first(rest(arguments));
    switch (which) {
    case ADD:
        return box(unbox(a) + unbox(b));
    case SUBTRACT:
        return box(unbox(a) - unbox(b));
    case MULTIPLY:
        return box((long)((unsigned long)unbox(a) * (unsigned long)unbox(b)));
    case LESS:
        return unbox(a) < unbox(b) ? truth : NULL;
    case EQUAL:
        return a == b || (is(a, numbers) && is(b, numbers) && unbox(a) == unbox(b)) ? truth : NULL;
    case CONS:
        return cons(a, b);
    case FIRST:
        return first(a);
    default:
        return rest(a);
    }
}

/* An environment is a list of pairs of symbol and value. */
static void *look_up(void *symbol, void *environment)
{
    for (; environment; environment = rest(environment))
        if (first(first(environment)) == symbol)
            return rest(first(environment));
    return ((struct symbol *)symbol)->value;
}

static void *evaluate(void *value, void *environment);

static void *evaluate_all(void *list, void *environment)
{
    LOCALS(3);
    if (!list)
        LEAVE(NULL);
    local[0] = list;
    local[1] = environment;
    local[2] = evaluate(first(list), environment);
    void *others = evaluate_all(rest(local[0]), local[1]);
    LEAVE(cons(local[2], others));
}

static void *bind(void *parameters, void *arguments, void *environment)
{
    LOCALS(3);
    local[0] = parameters;
    local[1] = arguments;
    local[2] = environment;
    for (; local[0]; local[0] = rest(local[0]), local[1] = rest(local[1])) {
        void *binding = cons(first(local[0]), first(local[1]));
        local[2] = cons(binding, local[2]);
    }
    LEAVE(local[2]);
}

static int is_form(void *head, const char *name)
{
    return is(head, symbols) && !strcmp(((struct symbol *)head)->name, name);
}

static void *make_closure(void *rest_of_form, void *environment)
{
    LOCALS(2);
    local[0] = rest_of_form;
    local[1] = environment;
    struct closure *closure = allocate(closures, sizeof *closure);
    closure->parameters = first(local[0]);
    closure->body = first(rest(local[0]));
    closure->environment = local[1];
    LEAVE(closure);
}

static void *define(void *form, void *environment)
{
    LOCALS(1);
    local[0] = form;
    void *value = evaluate(first(rest(rest(form))), environment);
    struct symbol *symbol = first(rest(local[0]));
    symbol->value = value;
    LEAVE(symbol);
}

/* The last expression of a function is a loop, not a call: value and environment are replaced. */
static void *evaluate(void *value, void *environment)
{
    enum { VALUE, ENVIRONMENT, FUNCTION };
    LOCALS(3);
    local[VALUE] = value;
    local[ENVIRONMENT] = environment;
    for (;;) {
        if (is(local[VALUE], symbols))
            LEAVE(look_up(local[VALUE], local[ENVIRONMENT]));
        if (!is(local[VALUE], pairs))
            LEAVE(local[VALUE]);
        void *head = first(local[VALUE]);
        if (is_form(head, "quote"))
            LEAVE(first(rest(local[VALUE])));
        if (is_form(head, "lambda"))
            LEAVE(make_closure(rest(local[VALUE]), local[ENVIRONMENT]));
        if (is_form(head, "define"))
            LEAVE(define(local[VALUE], local[ENVIRONMENT]));
        if (is_form(head, "if")) {
            void *condition = evaluate(first(rest(local[VALUE])), local[ENVIRONMENT]);
            void *branches = rest(rest(local[VALUE]));
            local[VALUE] = condition ? first(branches) : first(rest(branches));
            continue;
        }
        local[FUNCTION] = evaluate(head, local[ENVIRONMENT]);
        void *arguments = evaluate_all(rest(local[VALUE]), local[ENVIRONMENT]);
        if (is(local[FUNCTION], builtins))
            LEAVE(call_builtin(((struct builtin *)local[FUNCTION])->which, arguments));
        if (!is(local[FUNCTION], closures))
            fail("not a function");
        const struct closure *closure = local[FUNCTION];
        local[ENVIRONMENT] = bind(closure->parameters, arguments, closure->environment);
        local[VALUE] = ((struct closure *)local[FUNCTION])->body;
    }
}

static void check(struct crateld_error *error)
{
    if (!error)
        return;
    fprintf(stderr, "lisp: %s\n", crateld_error_message(error));
    exit(1);
}

static void start(void)
{
    static void **const roots[] = {&all_symbols, &truth};
    const struct {
        const struct crateld_gc_type *type;
        uint32_t *number;
    } types[] = {{&pair_type, &pairs},
                 {&number_type, &numbers},
                 {&symbol_type, &symbols},
                 {&closure_type, &closures},
                 {&builtin_type, &builtins}};
    struct crateld_gc_opts opts = {0};
    const char *options = getenv("CRATELD_GC");
    check(crateld_gc_opts_parse(options ? options : "heap=16M", &opts));
    check(crateld_gc_heap_create(&opts, &heap));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        check(crateld_gc_type_add(heap, types[i].type, types[i].number));
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
        check(crateld_gc_roots_add(heap, roots,
                                   &(struct crateld_gc_root_range){(void *)roots[i], 1, CRATELD_GC_PRECISE}, 1));
    truth = intern("t");
    ((struct symbol *)truth)->value = truth;
    for (long i = 0; i < BUILTIN_COUNT; i++) {
        LOCALS(1);
        struct builtin *builtin = allocate(builtins, sizeof *builtin);
        builtin->which = i;
        local[0] = builtin;
        struct symbol *symbol = intern(builtin_names[i]);
        symbol->value = local[0];
        crateld_gc_frame_pop(heap);
    }
}

int main(int argc, char **argv)
{
    input = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!input) {
        perror(argv[1]);
        return 1;
    }
    if (setjmp(failed))
        return 1;
    start();
    for (int c; (c = next_char()) != EOF;) {
        void *value = evaluate(read_value(c), NULL);
        print(value);
        putchar('\n');
    }
    fclose(input);
    crateld_gc_heap_destroy(heap);
    return 0;
}
