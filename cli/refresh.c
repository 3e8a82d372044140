/* crateld refresh: what `crateld run --fresh` needs of the linker. For each crate CRATE:PATCH:PATH, with the
 * descriptors of its file and of an empty one, and its path, the patch of what changed since it was linked goes into
 * that file, which stays empty if nothing did. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/diff.h"

static struct crateld_error *refresh(const char *operand)
{
    char *end, path[64];
    bool is_any = false;
    long crate = strtol(operand, &end, 10), patch = *end == ':' ? strtol(end + 1, &end, 10) : 0;
    if (crate <= 0 || patch <= 0 || *end != ':')
        return error_create(CRATELD_ERROR_USAGE, "refresh: wanted CRATE:PATCH:PATH, found '%s'", operand);
    snprintf(path, sizeof path, "/proc/self/fd/%ld", crate);
    struct output_file file;
    TRY(output_file_adopt((int)patch, end + 1, 0, &file));
    struct link_options link = {.collect_garbage = true, .output = end + 1, .adopted = &file};
    struct crateld_error *error = diff_changed(&link, path, end + 1, NULL, &is_any);
    output_file_discard(&file);
    return error;
}

int cmd_refresh(int argc, char **argv)
{
    struct crateld_error *errors = NULL;
    for (int i = 1; i < argc; i++)
        errors = error_join(errors, refresh(argv[i]));
    return errors ? command_failed(errors) : EXIT_STATUS_DONE;
}
