/* crateld stub: a crate that stands for an ELF library. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "linker/link.h"

static const char usage[] =
    "usage: crateld stub [-o FILE] [--name NAME] LIBRARY\n"
    "\n"
    "Makes a crate whose exports are those of the ELF shared library LIBRARY, for crates to link against.\n"
    "\n"
    "  -o, --output FILE  the crate to be written (required)\n"
    "      --name NAME    the crate's identity (default: from the file name)\n"
    "  -h, --help         show this\n"
    "\n"
    "LIBRARY is a file, or -l NAME to look for it where the linker does.\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"name", required_argument, NULL, 'n'},
    {"library", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

int cmd_stub(int argc, char **argv)
{
    struct link_options link = {.entry = "main", .has_no_entry = true, .is_stub = true};
    struct link_argument library = {.kind = LINK_ARGUMENT_FILE};
    for (int option; (option = getopt_long(argc, argv, "o:l:h", options, NULL)) >= 0;) {
        if (option == 'o') {
            link.output = optarg;
        } else if (option == 'n') {
            link.name = optarg;
        } else if (option == 'l') {
            library = (struct link_argument){.kind = LINK_ARGUMENT_LIBRARY, .value = optarg};
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
        }
    }
    if (!library.value && optind + 1 == argc)
        library.value = argv[optind++];
    if (!link.output || !library.value || optind != argc) {
        fprintf(stderr, "crateld: stub: %s\n%s",
                !link.output ? "no output file: -o x.crate" : "wanted one ELF shared library", usage);
        return EXIT_STATUS_USAGE;
    }
    link.arguments = &library;
    link.argument_count = 1;
    struct crateld_error *error = link_run(&link);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}
