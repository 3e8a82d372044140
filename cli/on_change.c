#include "cli/on_change.h"

#include <stdio.h>
#include <string.h>

#include "crateld/reload.h"

struct crateld_error *on_change_add(struct on_change *changes, char *text)
{
    static const char *const policies[] = {[CRATELD_ON_CHANGE_refuse] = "refuse",
                                           [CRATELD_ON_CHANGE_init] = "init",
                                           [CRATELD_ON_CHANGE_migrate] = "migrate"};
    char *equals = strrchr(text, '=');
    struct link_on_change change = {.variable = text};
    for (uint32_t i = CRATELD_ON_CHANGE_refuse; equals && i <= CRATELD_ON_CHANGE_migrate; i++)
        if (!strcmp(equals + 1, policies[i]))
            change.policy = i;
    if (!change.policy || equals == text)
        return error_create(CRATELD_ERROR_FORMAT,
                            "--on-change: '%s' is no VARIABLE=refuse, VARIABLE=init or VARIABLE=migrate", text);
    *equals = 0;
    return VEC_PUSH(&changes->list, change) ? NULL : error_memory();
}

void on_change_apply(struct on_change *changes, struct link_options *link)
{
    link->on_changes = changes->list.at;
    link->on_change_count = changes->list.count;
    link->is_forced = changes->is_forced;
    link->note = &changes->note;
}

struct crateld_error *on_change_check(const struct on_change *changes)
{
    for (size_t i = 0; i < changes->list.count; i++)
        if (!changes->list.at[i].is_found)
            return error_create(CRATELD_ERROR_NOT_FOUND, "--on-change: none of the modules has a variable '%s'",
                                changes->list.at[i].variable);
    return NULL;
}

void on_change_print(const struct on_change *changes)
{
    if (*changes->note.text)
        printf("note: %s\n", changes->note.text);
}

void on_change_deinit(struct on_change *changes)
{
    free(changes->list.at);
    *changes = (struct on_change){0};
}
