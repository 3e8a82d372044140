#include "linker/version_script.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "linker/demangle.h"
#include "linker/script_lexer.h"

enum language { LANGUAGE_C, LANGUAGE_CXX, LANGUAGE_COUNT };

/* A name that is compared as a whole. */
struct exact {
    const char *name; /* borrowed from the arena */
    uint32_t node;    /* number of the version node: among equal names the first node's counts */
    enum version_scope scope;
};

struct pattern {
    const char *text;     /* borrowed from the arena */
    size_t prefix_length; /* text is so many ordinary characters and one '*'; SIZE_MAX: ask fnmatch */
    enum version_scope scope;
};

/* The names and patterns of one language. */
struct rules {
    VEC(struct exact) exacts;         /* owned */
    struct hash_index index;          /* owned; of `exacts` by name */
    VEC(struct pattern) patterns;     /* owned; without the lone `*` */
    bool has_star[VERSION_LOCAL + 1]; /* by scope: there is a lone `*` */
};

struct version_script {
    struct rules rules[LANGUAGE_COUNT];
    uint32_t node_count;
    struct arena arena; /* owned */
};

struct parser {
    struct script_lexer lexer;
    struct version_script *script;
    enum version_scope scope; /* of the names that come */
    struct script_token peeked;
    bool has_peeked;
};

struct crateld_error *version_script_create(struct version_script **ret)
{
    struct version_script *script = calloc(1, sizeof *script);
    if (!script)
        return error_memory();
    arena_init(&script->arena);
    *ret = script;
    return NULL;
}

void version_script_destroy(struct version_script *script)
{
    if (!script)
        return;
    for (int language = 0; language < LANGUAGE_COUNT; language++) {
        free(script->rules[language].exacts.at);
        free(script->rules[language].patterns.at);
        hash_index_deinit(&script->rules[language].index);
    }
    arena_deinit(&script->arena);
    free(script);
}

static struct exact *find_exact(const struct rules *rules, const char *name)
{
    uint64_t hash = hash_string(name);
    size_t cursor = 0;
    for (uint32_t i; (i = hash_index_next(&rules->index, hash, &cursor)) != HASH_INDEX_NONE;)
        if (strcmp(rules->exacts.at[i].name, name) == 0)
            return &rules->exacts.at[i];
    return NULL;
}

static struct crateld_error *add_exact(struct version_script *script, enum language language, const char *name,
                                       enum version_scope scope)
{
    struct rules *rules = &script->rules[language];
    struct exact *known = find_exact(rules, name);
    if (known) {
        if (known->node == script->node_count && scope == VERSION_GLOBAL)
            known->scope = scope;
        return NULL;
    }
    if (!VEC_RESERVE(&rules->exacts, 1) || !hash_index_add(&rules->index, hash_string(name)))
        return error_memory();
    return VEC_PUSH(&rules->exacts, (struct exact){name, script->node_count, scope}) ? NULL : error_memory();
}

static struct crateld_error *add_pattern(struct rules *rules, const char *text, enum version_scope scope)
{
    if (strcmp(text, "*") == 0) {
        rules->has_star[scope] = true;
        return NULL;
    }
    size_t plain = strcspn(text, "*?[\\");
    bool is_prefix = strcmp(text + plain, "*") == 0;
    struct pattern pattern = {text, is_prefix ? plain : SIZE_MAX, scope};
    return VEC_PUSH(&rules->patterns, pattern) ? NULL : error_memory();
}

/* Whether `text` has a wildcard that no backslash precedes. */
static bool has_wildcard(const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (strchr("*?[", *text))
            return true;
    }
    return false;
}

static void remove_backslashes(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *to = 0;
}

/* Adds a name or pattern as it stands in a script. */
static struct crateld_error *add_name(struct version_script *script, enum language language, const char *text,
                                      size_t length, bool is_quoted, enum version_scope scope)
{
    char *copy = arena_strndup(&script->arena, text, length);
    if (!copy)
        return error_memory();
    if (!is_quoted && has_wildcard(copy))
        return add_pattern(&script->rules[language], copy, scope);
    if (!is_quoted)
        remove_backslashes(copy);
    return add_exact(script, language, copy, scope);
}

static struct crateld_error *next(struct parser *parser, struct script_token *ret)
{
    if (!parser->has_peeked)
        return script_lexer_next(&parser->lexer, ret);
    *ret = parser->peeked;
    parser->has_peeked = false;
    return NULL;
}

static struct crateld_error *peek(struct parser *parser, struct script_token *ret)
{
    if (!parser->has_peeked)
        TRY(script_lexer_next(&parser->lexer, &parser->peeked));
    parser->has_peeked = true;
    *ret = parser->peeked;
    return NULL;
}

/* What may follow a name: ';', or the '}' that closes the list (then it is not consumed). */
static struct crateld_error *end_name(struct parser *parser)
{
    struct script_token token;
    TRY(peek(parser, &token));
    if (script_token_is(&token, "}"))
        return NULL;
    TRY(next(parser, &token));
    return script_token_is(&token, ";") ? NULL : script_lexer_unexpected(&parser->lexer, &token, "';'");
}

/* One name of a list, which `token` is. */
static struct crateld_error *parse_name(struct parser *parser, const struct script_token *token, enum language language)
{
    if ((token->kind != SCRIPT_WORD && token->kind != SCRIPT_QUOTED) || !token->length)
        return script_lexer_unexpected(&parser->lexer, token, "a symbol, a pattern or '}'");
    TRY(add_name(parser->script, language, token->text, token->length, token->kind == SCRIPT_QUOTED, parser->scope));
    return end_name(parser);
}

/* `extern "C++" { name; pattern; }`; `extern` is consumed. */
static struct crateld_error *parse_extern(struct parser *parser)
{
    struct script_token token;
    TRY(next(parser, &token));
    bool is_cxx = token.length == 3 && memcmp(token.text, "C++", 3) == 0;
    bool is_c = token.length == 1 && token.text[0] == 'C';
    if (token.kind != SCRIPT_QUOTED || !(is_c || is_cxx))
        return script_lexer_unexpected(&parser->lexer, &token, "\"C++\" or \"C\"");
    TRY(script_lexer_expect(&parser->lexer, '{'));
    for (;;) {
        TRY(next(parser, &token));
        if (script_token_is(&token, "}"))
            return end_name(parser);
        if (!script_token_is(&token, ";"))
            TRY(parse_name(parser, &token, is_cxx ? LANGUAGE_CXX : LANGUAGE_C));
    }
}

/* Whether `token` begins "global:" or "local:"; then the colon is consumed and the scope set. */
static struct crateld_error *parse_scope(struct parser *parser, const struct script_token *token, bool *ret)
{
    *ret = false;
    bool is_global = script_token_is(token, "global");
    if (!is_global && !script_token_is(token, "local"))
        return NULL;
    struct script_token colon;
    TRY(peek(parser, &colon));
    if (!script_token_is(&colon, ":"))
        return NULL; /* a symbol of that name */
    parser->scope = is_global ? VERSION_GLOBAL : VERSION_LOCAL;
    *ret = true;
    return next(parser, &colon);
}

/* The inside of a node's braces, and the closing one. has_scopes: global: and local: may stand there. */
static struct crateld_error *parse_node_body(struct parser *parser, bool has_scopes)
{
    parser->scope = VERSION_GLOBAL;
    for (;;) {
        struct script_token token, following;
        TRY(next(parser, &token));
        if (script_token_is(&token, "}"))
            return NULL;
        if (script_token_is(&token, ";"))
            continue;
        bool is_scope = false;
        if (has_scopes)
            TRY(parse_scope(parser, &token, &is_scope));
        if (is_scope)
            continue;
        TRY(peek(parser, &following));
        if (script_token_is(&token, "extern") && following.kind == SCRIPT_QUOTED)
            TRY(parse_extern(parser));
        else
            TRY(parse_name(parser, &token, LANGUAGE_C));
    }
}

/* "{ ... } older_node older_node;" from the brace on. */
static struct crateld_error *parse_node(struct parser *parser, bool is_version_script)
{
    parser->script->node_count++;
    TRY(parse_node_body(parser, is_version_script));
    for (;;) {
        struct script_token token;
        TRY(next(parser, &token));
        if (script_token_is(&token, ";"))
            return NULL;
        if (token.kind != SCRIPT_WORD || !is_version_script)
            return script_lexer_unexpected(&parser->lexer, &token, "';'");
    }
}

static struct crateld_error *parse(struct version_script *script, struct span text, const char *path,
                                   bool is_version_script)
{
    struct parser parser = {
        .lexer = {.text = text, .path = path, .punctuation = "{};:", .has_hash_comments = true},
        .script = script,
    };
    for (;;) {
        struct script_token token;
        TRY(next(&parser, &token));
        if (token.kind == SCRIPT_END)
            return NULL;
        if (token.kind == SCRIPT_WORD && is_version_script) /* the node's name */
            TRY(next(&parser, &token));
        if (!script_token_is(&token, "{"))
            return script_lexer_unexpected(&parser.lexer, &token, "'{'");
        TRY(parse_node(&parser, is_version_script));
    }
}

struct crateld_error *version_script_add(struct version_script *script, struct span text, const char *path)
{
    return parse(script, text, path, true);
}

struct crateld_error *version_script_add_dynamic_list(struct version_script *script, struct span text, const char *path)
{
    return parse(script, text, path, false);
}

struct crateld_error *version_script_add_export(struct version_script *script, const char *pattern)
{
    script->node_count++;
    return add_name(script, LANGUAGE_C, pattern, strlen(pattern), false, VERSION_GLOBAL);
}

/* Sets what the patterns of `rules` say of `name`. */
static void match_patterns(const struct rules *rules, const char *name, bool matched[VERSION_LOCAL + 1])
{
    for (size_t i = 0; i < rules->patterns.count; i++) {
        const struct pattern *pattern = &rules->patterns.at[i];
        if (matched[pattern->scope])
            continue;
        matched[pattern->scope] = pattern->prefix_length != SIZE_MAX
                                      ? strncmp(name, pattern->text, pattern->prefix_length) == 0
                                      : fnmatch(pattern->text, name, 0) == 0;
    }
}

static bool is_empty(const struct rules *rules)
{
    return !rules->exacts.count && !rules->patterns.count;
}

enum version_scope version_script_scope(const struct version_script *script, const char *name)
{
    const struct rules *c = &script->rules[LANGUAGE_C], *cxx = &script->rules[LANGUAGE_CXX];
    const struct exact *exact = find_exact(c, name), *cxx_exact = NULL;
    char *demangled AUTO_FREE = NULL;
    const char *cxx_name = name; /* a C name stands for itself in extern "C++", as GNU ld has it */
    if (!is_empty(cxx)) {
        demangled = demangle_cxx(name);
        cxx_name = demangled ? demangled : name;
        cxx_exact = find_exact(cxx, cxx_name);
    }
    if (cxx_exact && (!exact || cxx_exact->node < exact->node ||
                      (cxx_exact->node == exact->node && cxx_exact->scope == VERSION_GLOBAL)))
        exact = cxx_exact;
    if (exact)
        return exact->scope;
    bool matched[VERSION_LOCAL + 1] = {false};
    match_patterns(c, name, matched);
    match_patterns(cxx, cxx_name, matched);
    for (enum version_scope scope = VERSION_GLOBAL; scope <= VERSION_LOCAL; scope++)
        if (matched[scope])
            return scope;
    for (enum version_scope scope = VERSION_GLOBAL; scope <= VERSION_LOCAL; scope++)
        if (c->has_star[scope] || cxx->has_star[scope])
            return scope;
    return VERSION_UNSPECIFIED;
}

void version_script_each_exact_global(const struct version_script *script,
                                      void (*visit)(const char *name, void *context), void *context)
{
    const struct rules *rules = &script->rules[LANGUAGE_C];
    for (size_t i = 0; i < rules->exacts.count; i++)
        if (rules->exacts.at[i].scope == VERSION_GLOBAL)
            visit(rules->exacts.at[i].name, context);
}
