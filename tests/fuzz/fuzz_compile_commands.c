/* compile_commands.json, and compilers' lists of dependencies. */
#include <string.h>

#include "cli/compile_commands.h"
#include "cli/depfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_commands(struct span text)
{
    struct compile_commands commands;
    volatile size_t sum = 0;
    crateld_error_destroy(compile_commands_parse("compile_commands.json", text, &commands));
    for (size_t i = 0; i < commands.list.count; i++) {
        const struct compile_command *command = &commands.list.at[i];
        sum += strlen(command->directory) + strlen(command->file) + strlen(command->output);
        for (size_t k = 0; k < command->count; k++)
            sum += strlen(command->arguments[k]);
    }
    compile_commands_deinit(&commands);
}

static void read_dependencies(struct span text)
{
    struct depfile list;
    struct arena arena;
    volatile size_t sum = 0;
    arena_init(&arena);
    crateld_error_destroy(depfile_parse(text, &arena, &list));
    for (size_t i = 0; i < list.names.count; i++)
        sum += strlen(list.names.at[i]);
    depfile_deinit(&list);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_commands((struct span){data, size});
    read_dependencies((struct span){data, size});
    return 0;
}
