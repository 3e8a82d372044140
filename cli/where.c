/* crateld where: which function and line addresses of files are. */
#define _GNU_SOURCE
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

static const char usage[] = "usage: crateld where FILE ADDRESS [FILE ADDRESS]...\n"
                            "Prints, a line each, which function and which line of source the addresses are: as "
                            "the symbol tables and debug\n"
                            "information of the files (crates, patches, ELF files) have it.\n"
                            "  -h, --help  show this\n";

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};

static char *no_debug_folders = "";
static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .debuginfo_path = &no_debug_folders,
};

static void print_line(Dwfl_Module *module, const char *path, uint64_t address)
{
    GElf_Off off = 0;
    GElf_Sym symbol;
    int line = 0;
    const char *name = module ? dwfl_module_addrinfo(module, address, &off, &symbol, NULL, NULL, NULL) : NULL;
    Dwfl_Line *place = module ? dwfl_module_getsrc(module, address) : NULL;
    const char *source = place ? dwfl_lineinfo(place, NULL, &line, NULL, NULL, NULL) : NULL;
    const char *slash = strrchr(path, '/');
    printf("  ");
    if (name)
        printf("%s", name);
    if (source)
        printf("%s at %s:%d", name ? "" : "?", source, line);
    else if (name)
        printf("+0x%" PRIx64, (uint64_t)off);
    printf("%s(%s, 0x%" PRIx64 ")\n", name || source ? " " : "", slash ? slash + 1 : path, address);
}

/* Files are looked at one by one, since they may mean different things by one address. */
static struct crateld_error *print_place(const char *path, uint64_t address)
{
    Dwfl *dwfl = dwfl_begin(&callbacks);
    if (!dwfl)
        return error_memory();
    Dwfl_Module *module = dwfl_report_elf(dwfl, path, path, -1, 0, true);
    dwfl_report_end(dwfl, NULL, NULL);
    print_line(module, path, address);
    dwfl_end(dwfl);
    return NULL;
}

int cmd_where(int argc, char **argv)
{
    int option = getopt_long(argc, argv, "h", options, NULL), count = argc - optind;
    if (option >= 0 || !count || count % 2) {
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
    }
    for (char **argument = argv + optind; *argument; argument += 2) {
        char *end;
        errno = 0;
        uint64_t address = strtoull(argument[1], &end, 0);
        if (errno || end == argument[1] || *end) {
            fprintf(stderr, "crateld: where: '%s' is no address\n", argument[1]);
            return EXIT_STATUS_USAGE;
        }
        struct crateld_error *error = print_place(argument[0], address);
        if (error)
            return command_failed(error);
    }
    return EXIT_STATUS_DONE;
}
