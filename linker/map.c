#define _GNU_SOURCE
#include "linker/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory_stream.h"
#include "linker/address.h"

/* Symbols by place, to be listed under their sections. */
static int compare_symbols(const void *a, const void *b)
{
    const struct link_symbol *x = *(struct link_symbol *const *)a, *y = *(struct link_symbol *const *)b;
    uint64_t x_rva = link_symbol_rva(x, 0), y_rva = link_symbol_rva(y, 0);
    if (x_rva != y_rva)
        return x_rva < y_rva ? -1 : 1;
    return strcmp(x->name, y->name);
}

static size_t list_symbols(const struct link *link, struct link_symbol **ret)
{
    size_t count = 0;
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        if (symbol->state == LINK_SYMBOL_DEFINED && symbol->section->is_live && symbol->section->type != SHT_NULL)
            ret[count++] = symbol;
    }
    qsort(ret, count, sizeof *ret, compare_symbols);
    return count;
}

static void print_outputs(const struct link *link, struct link_symbol *const *symbols, size_t count, FILE *out)
{
    size_t next = 0;
    fprintf(out, "     rva       size  align  section\n");
    for (size_t i = 0; i < link->outputs.count; i++) {
        const struct link_output *output = link->outputs.at[i];
        fprintf(out, "%8" PRIx64 " %10" PRIx64 " %6" PRIu64 "  %s\n", output->rva, output->size,
                UINT64_C(1) << output->align_log2, output->name);
        for (size_t k = 0; k < output->sections.count; k++) {
            const struct link_section *section = output->sections.at[k];
            uint64_t rva = link_section_rva(section, 0);
            fprintf(out, "%8" PRIx64 " %10" PRIx64 " %6" PRIu64 "          %s:(%s)\n", rva, section->size,
                    UINT64_C(1) << section->align_log2, section->object->path, section->name);
            if (output->segment == CRATE_SEGMENT_COUNT)
                continue;
            while (next < count && link_symbol_rva(symbols[next], 0) < rva)
                next++;
            for (; next < count && link_symbol_rva(symbols[next], 0) < rva + section->size; next++)
                fprintf(out, "%8" PRIx64 " %10" PRIx64 "                        %s\n",
                        link_symbol_rva(symbols[next], 0), symbols[next]->size, symbols[next]->name);
        }
    }
}

static void print_imports(const struct link *link, FILE *out)
{
    static const char *const kinds[] = {
        [CRATE_IMPORT_CALL_PLAIN] = "call",       [CRATE_IMPORT_CALL_TOC] = "call from TOC code",
        [CRATE_IMPORT_IFUNC] = "ifunc",           [CRATE_IMPORT_ADDRESS] = "address",
        [CRATE_IMPORT_TLS_OFFSET] = "TLS offset", [CRATE_IMPORT_TLS_INDEX] = "TLS index",
    };
    fprintf(out, "\nimports: slot rva, kind, symbol, from\n");
    for (size_t i = 0; i < link->function_imports.count + link->global_imports.count; i++) {
        bool is_function = i < link->function_imports.count;
        const struct link_import *import =
            is_function ? &link->function_imports.at[i] : &link->global_imports.at[i - link->function_imports.count];
        const struct link_symbol *symbol = import->symbol;
        bool is_foreign = symbol && symbol->state == LINK_SYMBOL_IMPORTED;
        uint64_t slot =
            is_function ? link_function_slot_rva(link, import->slot) : link_global_slot_rva(link, import->slot);
        fprintf(out, "%8" PRIx64 "  %-18s  %s  %s\n", slot, kinds[import->kind],
                symbol ? symbol->name : "(thread-local block)",
                is_foreign ? link->providers.at[symbol->provider]->name : "");
    }
}

static void print_dropped(const struct link *link, FILE *out)
{
    fprintf(out, "\nleft out\n");
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++) {
            const struct link_section *section = &link->objects.at[i]->sections[k];
            if ((section->flags & SHF_ALLOC) && section->size && !section->is_live &&
                section->kind != LINK_SECTION_EH_FRAME)
                fprintf(out, "         %10" PRIx64 "                 %s:(%s)\n", section->size, section->object->path,
                        section->name);
        }
}

static struct crateld_error *print_map(const struct link *link, FILE *out)
{
    struct link_symbol **symbols = calloc(link->symbols.count + 1, sizeof *symbols);
    if (!symbols)
        return error_memory();
    size_t count = list_symbols(link, symbols);
    fprintf(out, "crate %s, preferred base 0x%" PRIx64 "\n\n", link->name, link->preferred_base);
    print_outputs(link, symbols, count, out);
    print_imports(link, out);
    print_dropped(link, out);
    free(symbols);
    return NULL;
}

struct crateld_error *link_write_map(struct link *link)
{
    const char *path = link->options->map_path;
    if (!path)
        return NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return error_memory();
    struct crateld_error *error = print_map(link, out);
    if (!memory_stream_close(out, &text) && !error)
        error = error_memory();
    if (!error && !strcmp(path, "-")) {
        if (fwrite(text, 1, size, stdout) != size || fflush(stdout) != 0)
            error = error_errno(errno, "standard output");
    } else if (!error) {
        error = file_write(path, text, size, 0666);
    }
    free(text);
    return error;
}
