#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

int command_failed(struct crateld_error *error)
{
    int status = crateld_error_code(error) == CRATELD_ERROR_USAGE ? EXIT_STATUS_USAGE : EXIT_STATUS_FAILED;
    for (const char *line = crateld_error_message(error); line;) {
        size_t length = strcspn(line, "\n");
        fprintf(stderr, "crateld: %.*s\n", (int)length, line);
        line = line[length] ? line + length + 1 : NULL;
    }
    crateld_error_destroy(error);
    return status;
}
