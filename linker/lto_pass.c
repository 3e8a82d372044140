#include "linker/lto_pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/lto.h"
#include "linker/own.h"
#include "linker/resolve.h"

void link_lto_deinit(struct link_lto *lto)
{
    for (size_t i = 0; i < lto->compiled_paths.count; i++)
        free(lto->compiled_paths.at[i]);
    for (size_t i = 0; i < lto->files.count; i++)
        file_close(&lto->files.at[i]);
    free(lto->compiled_paths.at);
    free(lto->files.at);
    *lto = (struct link_lto){0};
}

static bool is_compiled(const struct link_lto *lto, const char *path)
{
    for (size_t i = 0; i < lto->compiled_paths.count; i++)
        if (!strcmp(lto->compiled_paths.at[i], path))
            return true;
    return false;
}

/* What a symbol of intermediate code says, in the terms of struct link_symbol. */
static void describe(const struct lto_symbol *symbol, struct link_object *object, struct link_section *section,
                     struct link_symbol *ret)
{
    *ret = (struct link_symbol){
        .name = symbol->name,
        .object = object,
        .size = symbol->size,
        .state = LINK_SYMBOL_UNDEFINED,
        .type = symbol->type == LTO_TYPE_FUNCTION ? STT_FUNC : STT_NOTYPE,
        .binding = STB_GLOBAL,
    };
    if (symbol->kind == LTO_COMMON) {
        ret->state = LINK_SYMBOL_COMMON;
        ret->value = 1;
    } else if (symbol->kind == LTO_DEF || symbol->kind == LTO_WEAK_DEF) {
        ret->state = LINK_SYMBOL_DEFINED;
        ret->section = section;
        /* Copies of one COMDAT are as good as weak: the first is taken and no other is an error. */
        if (symbol->kind == LTO_WEAK_DEF || symbol->comdat)
            ret->binding = STB_WEAK;
    }
}

struct crateld_error *link_add_lto_object(struct link *link, struct link_object *object)
{
    static const uint8_t visibilities[] = {
        [LTO_VISIBILITY_DEFAULT] = STV_DEFAULT,
        [LTO_VISIBILITY_PROTECTED] = STV_PROTECTED,
        [LTO_VISIBILITY_INTERNAL] = STV_INTERNAL,
        [LTO_VISIBILITY_HIDDEN] = STV_HIDDEN,
    };
    struct lto_object lto;
    struct link_section *section;
    if (is_compiled(link->lto, object->path))
        return NULL;
    TRY(lto_object_read(object->image, object->path, &link->arena, &lto));
    TRY(link_own_section(link, "", SHT_PROGBITS, SHF_ALLOC, 0, 0, &section));
    if (!VEC_PUSH(&link->lto_objects, object))
        return error_memory();
    for (uint32_t i = 0; i < lto.symbol_count; i++) {
        struct link_symbol seen;
        describe(&lto.symbols[i], object, section, &seen);
        TRY(link_add_symbol(link, &seen, visibilities[lto.symbols[i].visibility],
                            lto.symbols[i].kind == LTO_WEAK_UNDEF));
    }
    return NULL;
}

struct crateld_error *link_add_compiled_objects(struct link *link)
{
    for (size_t i = 0; i < link->lto->files.count; i++)
        TRY(link_add_object(link, link->lto->files.at[i].path, link->lto->files.at[i].data));
    return NULL;
}

/* Whether the object's code is to be TOC code: the TOC pass left its mark. */
static bool is_toc_object(const struct link_object *object)
{
    for (uint32_t i = 1; i < object->section_count; i++)
        if (!strcmp(object->sections[i].name, CRATELD_TOC_RECORD_SECTION))
            return true;
    return false;
}

/* Compiles all objects of one kind. */
static struct crateld_error *compile_kind(struct link *link, bool is_toc)
{
    VEC(struct lto_input) inputs = {0};
    struct crateld_error *error = NULL;
    for (size_t i = 0; i < link->lto_objects.count && !error; i++) {
        const struct link_object *object = link->lto_objects.at[i];
        struct lto_input input = {.data = object->image, .name = object->path};
        if (is_toc_object(object) == is_toc && !VEC_PUSH(&inputs, input))
            error = error_memory();
    }
    static const char *const plain_flags[] = {"-fPIC", "-ffunction-sections", "-fdata-sections", NULL};
    struct lto_opts opts = {
        .compiler = is_toc ? (const char *const *)link->lto->compiler : NULL,
        .flags = is_toc ? NULL : plain_flags,
    };
    struct file file;
    if (!error && inputs.count && VEC_RESERVE(&link->lto->files, 1)) {
        error = lto_compile(inputs.at, inputs.count, &opts, &file);
        if (!error)
            link->lto->files.at[link->lto->files.count++] = file;
    }
    free(inputs.at);
    return error;
}

struct crateld_error *link_compile_lto(struct link *link, bool *ret)
{
    *ret = link->lto_objects.count > 0;
    for (size_t i = 0; i < link->lto_objects.count; i++) {
        char *path = strdup(link->lto_objects.at[i]->path);
        if (!path || !VEC_PUSH(&link->lto->compiled_paths, path)) {
            free(path);
            return error_memory();
        }
    }
    TRY(compile_kind(link, false));
    return compile_kind(link, true);
}
