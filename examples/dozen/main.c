#include <stdio.h>
#include <stdlib.h>

#include "count.h"
#include "report.h"
#include "script.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: main TEXT SCRIPT\n");
        return 2;
    }
    struct arena *arena = arena_create();
    struct table table = {0};
    struct text text = text_read(arena, argv[1]);
    count_words(arena, text, &table);
    script_apply(argv[2], &table);
    report_print(&table, text);
    free(table.entries);
    arena_destroy(arena);
    return 0;
}
