#include "linker/undefined.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "linker/demangle.h"
#include "linker/near_match.h"

/* The names that an undefined one may have been meant to be. */
static size_t list_known(const struct link *link, const char **names)
{
    size_t count = 0;
    for (size_t i = 0; i < link->symbols.count; i++)
        if (link->symbols.at[i]->state != LINK_SYMBOL_UNDEFINED)
            names[count++] = link->symbols.at[i]->name;
    for (size_t i = 0; i < link->archives.count; i++)
        for (uint32_t k = 0; k < link->archives.at[i]->archive.symbol_count; k++)
            names[count++] = link->archives.at[i]->archive.symbols[k].name;
    return count;
}

static struct crateld_error *describe(const struct link_undefined *undefined, const struct near_matcher *matcher,
                                      const char *advice)
{
    const struct link_symbol *symbol = undefined->symbol;
    struct near_match match = near_match_find(matcher, symbol->name);
    char *hint AUTO_FREE = symbol->bound_version ? NULL : near_match_describe(&match);
    char *readable AUTO_FREE = demangle(symbol->name);
    char more[64] = "";
    if (undefined->more)
        snprintf(more, sizeof more, " (and %u more reference%s)", undefined->more, undefined->more > 1 ? "s" : "");
    bool is_hidden = symbol->visibility == STV_HIDDEN || symbol->visibility == STV_INTERNAL;
    return error_create(CRATELD_ERROR_UNDEFINED, "%s: %s+0x%llx: undefined symbol '%s'%s%s%s%s%s%s%s%s",
                        undefined->section->object->path, undefined->section->name, (unsigned long long)undefined->off,
                        readable ? readable : symbol->name, symbol->bound_version ? ", version " : "",
                        symbol->bound_version ? symbol->bound_version : "", is_hidden ? ", which is hidden" : "", more,
                        hint ? "; " : "", hint ? hint : "", advice ? ": " : "", advice ? advice : "");
}

struct crateld_error *link_report_undefined(struct link *link)
{
    if (!link->undefined.count)
        return NULL;
    size_t capacity = link->symbols.count;
    for (size_t i = 0; i < link->archives.count; i++)
        capacity += link->archives.at[i]->archive.symbol_count;
    const char **names AUTO_FREE = calloc(capacity + 1, sizeof *names);
    struct near_matcher *matcher;
    if (!names)
        return error_memory();
    TRY(near_matcher_create(names, list_known(link, names), &matcher));
    for (size_t i = 0; i < link->undefined.count; i++)
        link_report(link, describe(&link->undefined.at[i], matcher, link->options->undefined_advice));
    near_matcher_destroy(matcher);
    return NULL;
}
