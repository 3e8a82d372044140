#define _GNU_SOURCE
#include "loader/migrate.h"

#include <stdlib.h>
#include <string.h>

#include "crateld/reload.h"
#include "loader/guard.h"
#include "loader/hooks.h"

struct crateld_error *migrate_check(const struct loaded_crate *patch, const char *name, const char *difference)
{
    if (hooks_find(patch->needed[0].crate, CRATELD_MIGRATE_HOOK))
        return NULL;
    return error_create(CRATELD_ERROR_MISMATCH, "%s; and %s has no function %s() that would migrate '%s'", difference,
                        patch->needed[0].crate->path, CRATELD_MIGRATE_HOOK, name);
}

struct call {
    crateld_migrate_function *hook;
    const struct growth *growth;
    int result;
};

static void call_hook(void *argument)
{
    struct call *call = argument;
    const struct growth *growth = call->growth;
    call->result = call->hook(growth->name, growth->old_value, growth->size, growth_to(growth), growth->new_size);
}

/* The copy must not look like pointers that somebody has: it is kept inverted, but for the call. */
static void invert(uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = bytes[i] ^ 0xff;
}

static struct crateld_error *migrate(struct growth *growth)
{
    struct call call = {.growth = growth};
    int signal_number;
    call.hook = (crateld_migrate_function *)(uintptr_t)hooks_find(growth->base, CRATELD_MIGRATE_HOOK);
    initial_reset(versions_variable(growth->base, growth->base_rva)); /* it may have been called before */
    if (!growth->old_value)
        growth->old_value = malloc(growth->size);
    if (!growth->old_value)
        return error_memory();
    memcpy(growth->old_value, growth_from(growth), growth->size);
    bool is_done = guard_call(call_hook, &call, &signal_number);
    invert(growth->old_value, growth->size);
    if (!is_done)
        return error_create(CRATELD_ERROR_MISMATCH, "variable '%s': %s(): %s", growth->name, CRATELD_MIGRATE_HOOK,
                            strsignal(signal_number));
    if (call.result)
        return error_create(CRATELD_ERROR_MISMATCH, "variable '%s': %s() refuses its value, and returns %d",
                            growth->name, CRATELD_MIGRATE_HOOK, call.result);
    return NULL;
}

static bool is_stale(const struct growth *growth)
{
    bool is_same = growth->way != GROWTH_MIGRATE || growth->old_value;
    for (uint32_t i = 0; is_same && growth->way == GROWTH_MIGRATE && i < growth->size; i++)
        is_same = (growth->old_value[i] ^ growth_from(growth)[i]) == 0xff;
    return !is_same;
}

struct crateld_error *migrate_values(struct initial_values *values)
{
    for (size_t i = 0; i < values->growths.count; i++)
        if (is_stale(&values->growths.at[i]))
            TRY(migrate(&values->growths.at[i]));
    return NULL;
}

bool migrate_is_current(const struct initial_values *values)
{
    for (size_t i = 0; i < values->growths.count; i++)
        if (is_stale(&values->growths.at[i]))
            return false;
    return true;
}
