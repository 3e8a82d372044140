/* Options of heaps, as text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "crateld/gc.h"
#include "runtime/plan.h"

static const struct gc_plan *const plans[] = {&gc_plan_nogc, &gc_plan_semispace, &gc_plan_immix};

const struct gc_plan *gc_plan_find(const char *name)
{
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++)
        if (!strcmp(plans[i]->name, name))
            return plans[i];
    return NULL;
}

/* A number with K, M or G behind it. */
static bool parse_size(const char *text, size_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || *text == '-' || errno || (shift && end[1]) || (!shift && *end) || value > SIZE_MAX >> shift)
        return false;
    *ret = (size_t)value << shift;
    return true;
}

static bool parse_number(const char *text, double *ret)
{
    char *end;
    *ret = strtod(text, &end);
    return end != text && !*end && *ret >= 1 && *ret <= 1000;
}

/* Understands one word of the list. */
static bool parse_word(const char *word, struct crateld_gc_opts *ret)
{
    const struct gc_plan *plan = gc_plan_find(word);
    size_t count;
    if (plan)
        ret->plan = plan->name;
    else if (!strncmp(word, "heap=", 5))
        return parse_size(word + 5, &ret->heap_size);
    else if (!strncmp(word, "multiplier=", 11))
        return parse_number(word + 11, &ret->multiplier);
    else if (!strncmp(word, "stress=", 7) && parse_size(word + 7, &count) && count <= UINT32_MAX)
        ret->stress_interval = (unsigned)count;
    else if (!strcmp(word, "sanity"))
        ret->is_sane_checked = true;
    else if (!strcmp(word, "poison"))
        ret->is_poisoned = true;
    else if (!strcmp(word, "stack"))
        ret->is_stack_scanned = true;
    else
        return false;
    return true;
}

struct crateld_error *crateld_gc_opts_parse(const char *text, struct crateld_gc_opts *ret)
{
    struct crateld_gc_opts opts = {0};
    char word[64];
    while (*text) {
        size_t length = strcspn(text, ",");
        if (length >= sizeof word)
            return error_create(CRATELD_ERROR_USAGE, "gc options: '%.*s' is too long", (int)length, text);
        memcpy(word, text, length);
        word[length] = 0;
        if (length && !parse_word(word, &opts))
            return error_create(
                CRATELD_ERROR_USAGE,
                "gc options: '%s' is not understood; wanted nogc, semispace, immix, heap=SIZE, multiplier=NUMBER, "
                "stress=COUNT, sanity, poison or stack",
                word);
        text += length + (text[length] == ',');
    }
    *ret = opts;
    return NULL;
}
