/* Writes a relink section with some of everything to stdout: what fuzz_relink begins with. */
#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reloc/relink_builder.h"

enum { SECTIONS = 6, SYMBOLS = 20, RELOCS = 150 };

static struct crateld_error *add_module(struct relink_builder *builder, uint32_t number)
{
    struct relink_module module = {.path = number ? "lib/libx.a" : "", .member = number ? "b.o" : "", .hash = number};
    TRY(relink_builder_add_module(builder, &module, NULL));
    for (uint32_t i = 0; i < SECTIONS / 2; i++) {
        struct relink_section section = {.name = i ? ".text.main" : ".data",
                                         .rva = 0x1000 * i,
                                         .size = 0x400,
                                         .capacity = 0x420,
                                         .flags = i ? RELINK_SECTION_TEXT : RELINK_SECTION_DATA,
                                         .align_log2 = 4};
        TRY(relink_builder_add_section(builder, &section, NULL));
    }
    for (uint32_t i = 0; i < SYMBOLS / 2; i++) {
        static const char *const names[] = {"", "main", "puts", "helper", "table"};
        struct relink_symbol symbol = {.name = names[i % 5],
                                       .where = i % 4,
                                       .section = i % SECTIONS,
                                       .value = i * 8,
                                       .size = 16,
                                       .type = (uint8_t)(i % 3),
                                       .binding = i % 2 ? STB_GLOBAL : STB_LOCAL};
        memset(symbol.refs, 0xff, sizeof symbol.refs);
        symbol.refs[i % RELINK_REF_COUNT] = i;
        TRY(relink_builder_add_symbol(builder, &symbol, NULL));
    }
    return NULL;
}

static struct crateld_error *build(struct relink_builder *builder, size_t *ret)
{
    TRY(add_module(builder, 0));
    TRY(add_module(builder, 1));
    for (uint32_t i = 0; i < RELOCS; i++) {
        struct relink_reloc reloc = {.section = i % 5,
                                     .off = i * 7,
                                     .symbol = i * i % SYMBOLS,
                                     .type = i % 3 + 1,
                                     .addend = i % 4 ? -4 : (int64_t)i << i % 40};
        TRY(relink_builder_add_reloc(builder, &reloc));
    }
    TRY(relink_builder_end_names(builder));
    TRY(relink_builder_end_relocs(builder));
    return relink_builder_finish(builder, 1, ret);
}

int main(void)
{
    struct relink_builder *builder = NULL;
    size_t size = 0;
    struct crateld_error *error = relink_builder_create(&builder);
    if (!error)
        error = build(builder, &size);
    uint8_t *bytes = error ? NULL : calloc(size, 1);
    for (size_t i = 0; bytes && i < RELINK_PIECES; i++) {
        uint64_t off;
        struct span piece = relink_builder_piece(builder, i, &off);
        if (piece.size)
            memcpy(bytes + off, piece.data, piece.size);
    }
    bool is_written = bytes && fwrite(bytes, 1, size, stdout) == size;
    free(bytes);
    crateld_error_destroy(error);
    relink_builder_destroy(builder);
    return !is_written;
}
