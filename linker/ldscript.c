#include "linker/ldscript.h"

#include <string.h>

#include "base/vec.h"
#include "linker/script_lexer.h"

struct parser {
    struct script_lexer lexer;
    struct ldscript *script;
    const char *output_format; /* wanted */
    VEC(struct ldscript_input) inputs;
    VEC(const char *) search_dirs;
};

/* A name in the script's arena; quotes are gone. */
static struct crateld_error *copy_name(struct parser *parser, const char *text, size_t length, const char **ret)
{
    *ret = arena_strndup(&parser->script->arena, text, length);
    return *ret ? NULL : error_memory();
}

/* The next token, which must be a name. */
static struct crateld_error *read_name(struct parser *parser, struct script_token *ret)
{
    TRY(script_lexer_next(&parser->lexer, ret));
    if ((ret->kind != SCRIPT_WORD && ret->kind != SCRIPT_QUOTED) || !ret->length)
        return script_lexer_unexpected(&parser->lexer, ret, "a name");
    return NULL;
}

/* Adds the file or library that `token` names. */
static struct crateld_error *add_input(struct parser *parser, const struct script_token *token, bool is_group,
                                       bool is_as_needed)
{
    static const char *const sysroots[] = {"=", "$SYSROOT"};
    struct ldscript_input input = {.in_group = is_group, .as_needed = is_as_needed};
    const char *text = token->text;
    size_t length = token->length;
    input.is_library = token->kind == SCRIPT_WORD && length > 2 && memcmp(text, "-l", 2) == 0;
    size_t skip = input.is_library ? 2 : 0;
    for (size_t i = 0; !skip && i < sizeof sysroots / sizeof sysroots[0]; i++) {
        size_t prefix = strlen(sysroots[i]);
        if (length > prefix && memcmp(text, sysroots[i], prefix) == 0)
            skip = prefix;
    }
    TRY(copy_name(parser, text + skip, length - skip, &input.name));
    return VEC_PUSH(&parser->inputs, input) ? NULL : error_memory();
}

/* "( file, file AS_NEEDED ( file ) -lname )" */
static struct crateld_error *parse_inputs(struct parser *parser, bool is_group)
{
    TRY(script_lexer_expect(&parser->lexer, '('));
    for (unsigned depth = 1; depth;) {
        struct script_token token;
        TRY(script_lexer_next(&parser->lexer, &token));
        if (script_token_is(&token, "AS_NEEDED")) {
            TRY(script_lexer_expect(&parser->lexer, '('));
            depth++;
        } else if (script_token_is(&token, ")")) {
            depth--;
        } else if ((token.kind == SCRIPT_WORD || token.kind == SCRIPT_QUOTED) && token.length) {
            TRY(add_input(parser, &token, is_group, depth > 1));
        } else if (!script_token_is(&token, ",")) {
            return script_lexer_unexpected(&parser->lexer, &token, "a file or ')'");
        }
    }
    return NULL;
}

/* "( name )" or, of OUTPUT_FORMAT, "( default, big, little )", of which one must be the wanted format. */
static struct crateld_error *parse_output_format(struct parser *parser)
{
    struct script_token first, token;
    bool is_wanted = false;
    TRY(script_lexer_expect(&parser->lexer, '('));
    TRY(read_name(parser, &first));
    for (struct script_token name = first;;) {
        is_wanted |=
            name.length == strlen(parser->output_format) && memcmp(name.text, parser->output_format, name.length) == 0;
        TRY(script_lexer_next(&parser->lexer, &token));
        if (!script_token_is(&token, ","))
            break;
        TRY(read_name(parser, &name));
    }
    if (!script_token_is(&token, ")"))
        return script_lexer_unexpected(&parser->lexer, &token, "')'");
    if (!is_wanted)
        return script_lexer_error(&parser->lexer, first.off, CRATELD_ERROR_MISMATCH, "format is %.*s, wanted %s",
                                  (int)(first.length < 60 ? first.length : 60), first.text, parser->output_format);
    return NULL;
}

static struct crateld_error *parse_search_dir(struct parser *parser)
{
    struct script_token token;
    const char *dir;
    TRY(script_lexer_expect(&parser->lexer, '('));
    TRY(read_name(parser, &token));
    TRY(copy_name(parser, token.text, token.length, &dir));
    if (!VEC_PUSH(&parser->search_dirs, dir))
        return error_memory();
    return script_lexer_expect(&parser->lexer, ')');
}

/* OUTPUT_ARCH says nothing that the files themselves do not say. */
static struct crateld_error *skip_output_arch(struct parser *parser)
{
    struct script_token token;
    TRY(script_lexer_expect(&parser->lexer, '('));
    TRY(read_name(parser, &token));
    return script_lexer_expect(&parser->lexer, ')');
}

static struct crateld_error *parse_command(struct parser *parser, const struct script_token *command)
{
    if (script_token_is(command, "GROUP") || script_token_is(command, "INPUT"))
        return parse_inputs(parser, command->text[0] == 'G');
    if (script_token_is(command, "OUTPUT_FORMAT"))
        return parse_output_format(parser);
    if (script_token_is(command, "SEARCH_DIR"))
        return parse_search_dir(parser);
    if (script_token_is(command, "OUTPUT_ARCH"))
        return skip_output_arch(parser);
    if (script_token_is(command, ";"))
        return NULL;
    return script_lexer_unexpected(&parser->lexer, command,
                                   "a command of a library's linker script: GROUP, INPUT, OUTPUT_FORMAT, SEARCH_DIR");
}

static struct crateld_error *parse_script(struct parser *parser)
{
    for (;;) {
        struct script_token token;
        TRY(script_lexer_next(&parser->lexer, &token));
        if (token.kind == SCRIPT_END)
            return NULL;
        TRY(parse_command(parser, &token));
    }
}

struct crateld_error *ldscript_parse(struct span text, const char *path, const char *output_format,
                                     struct ldscript *ret)
{
    struct ldscript script = {0};
    arena_init(&script.arena);
    struct parser parser = {
        .lexer = {.text = text, .path = path, .punctuation = "(),;{}"},
        .script = &script,
        .output_format = output_format,
    };
    struct crateld_error *error = parse_script(&parser);
    script.inputs = parser.inputs.at;
    script.input_count = parser.inputs.count;
    script.search_dirs = parser.search_dirs.at;
    script.search_dir_count = parser.search_dirs.count;
    if (error) {
        ldscript_deinit(&script);
        return error;
    }
    *ret = script;
    return NULL;
}

void ldscript_deinit(struct ldscript *script)
{
    free(script->inputs);
    free(script->search_dirs);
    arena_deinit(&script->arena);
    *script = (struct ldscript){0};
}
