#include "cli/process_crates.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/vec.h"

struct process_crates {
    struct address_namer namer;         /* first: name_address() gets from it to the rest */
    VEC(struct inspected_crate) crates; /* owned */
    Dwfl *libraries;                    /* owned; of all ELF files that are mapped */
};

/* One line of /proc/PID/maps. */
struct mapping {
    uint64_t start;
    uint64_t off; /* in the file */
    dev_t device;
    ino_t inode;
    const char *path; /* within the line; "": of no file */
};

/* Reads a line, see proc(5); false if it is not understood. Cuts the line's end off. */
static bool parse_mapping(char *line, struct mapping *ret)
{
    uint64_t end;
    unsigned major_number, minor_number;
    int path_off = 0;
    struct mapping mapping;
    line[strcspn(line, "\n")] = 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %lu %n", &mapping.start, &end, &mapping.off,
               &major_number, &minor_number, &mapping.inode, &path_off) < 6)
        return false;
    mapping.device = makedev(major_number, minor_number);
    mapping.path = path_off ? line + path_off : "";
    *ret = mapping;
    return true;
}

/* Whether the file mapped at `start`, from its beginning, has a crate header. */
static bool is_crate(int mem_fd, uint64_t start)
{
    _Alignas(8) uint8_t bytes[CRATE_START_SIZE];
    uint64_t off;
    if (pread(mem_fd, bytes, sizeof bytes, (off_t)start) != sizeof bytes)
        return false;
    struct crateld_error *error = crate_header_find("", (struct span){bytes, sizeof bytes}, &off);
    bool is_found = !error;
    crateld_error_destroy(error);
    return is_found;
}

/* The path without the mark of a file that was removed. */
static void trim_deleted(char *path)
{
    static const char mark[] = " (deleted)";
    size_t length = strlen(path);
    if (length > sizeof mark - 1 && strcmp(path + length - (sizeof mark - 1), mark) == 0)
        path[length - (sizeof mark - 1)] = 0;
}

static struct crateld_error *add_crate(struct process_crates *crates, int mem_fd, const struct mapping *mapping)
{
    struct inspected_crate crate = {0};
    char *path AUTO_FREE = strdup(mapping->path);
    if (!path)
        return error_memory();
    trim_deleted(path);
    TRY(inspected_crate_attach(path, mapping->device, mapping->inode, mem_fd, mapping->start, &crate));
    crate.namer = &crates->namer;
    if (VEC_PUSH(&crates->crates, crate))
        return NULL;
    inspected_crate_close(&crate);
    return error_memory();
}

/* Adds each crate that a line of `maps` begins. */
static struct crateld_error *read_maps(struct process_crates *crates, FILE *maps, int mem_fd)
{
    char *line AUTO_FREE = NULL;
    size_t size = 0;
    struct mapping mapping;
    while (getline(&line, &size, maps) >= 0) {
        if (parse_mapping(line, &mapping) && mapping.inode && !mapping.off && is_crate(mem_fd, mapping.start))
            TRY(add_crate(crates, mem_fd, &mapping));
    }
    return NULL;
}

/* Separate debug files are not needed for the names that libraries export. */
static int find_no_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, const char *path,
                             const char *link, GElf_Word checksum, char **ret)
{
    (void)module, (void)user, (void)name, (void)base, (void)path, (void)link, (void)checksum, (void)ret;
    return -1;
}

static const Dwfl_Callbacks dwfl_callbacks = {
    .find_elf = dwfl_linux_proc_find_elf,
    .find_debuginfo = find_no_debuginfo,
};

/* How `wanted` is a name of what is at `address` of the ELF file: NULL if it is none. */
static const char *match_name(Dwfl_Module *module, uint64_t address, const char *wanted)
{
    int count = wanted ? dwfl_module_getsymtab(module) : 0;
    for (int i = 1; i < count; i++) {
        GElf_Sym symbol;
        GElf_Addr value;
        const char *name = dwfl_module_getsym_info(module, i, &symbol, &value, NULL, NULL, NULL);
        if (!name || symbol.st_shndx == SHN_UNDEF || strcmp(name, wanted) != 0)
            continue;
        if (value == address)
            return "";
        if (GELF_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC)
            return " (the variant for this CPU)";
    }
    return NULL;
}

/* Sets `ret` to the ELF file and symbol at `address`; false if it is in no ELF file. Symbols that begin
 * elsewhere are not shown: they would be the nearest exported ones, seldom the right ones. */
static bool name_in_library(const struct process_crates *crates, uint64_t address, const char *wanted, char *ret,
                            size_t size)
{
    Dwfl_Module *module = crates->libraries ? dwfl_addrmodule(crates->libraries, address) : NULL;
    if (!module)
        return false;
    Dwarf_Addr start;
    GElf_Off off = 0;
    GElf_Sym symbol;
    const char *path = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
    const char *file = path && strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *match = match_name(module, address, wanted);
    const char *name = match ? wanted : dwfl_module_addrinfo(module, address, &off, &symbol, NULL, NULL, NULL);
    if (name && !off)
        snprintf(ret, size, "%s:%s%s", file, name, match ? match : "");
    else
        snprintf(ret, size, "%s+0x%" PRIx64, file, address - start);
    return true;
}

/* address_namer's: looks in the crates, then in the ELF files. */
static void name_address(const struct address_namer *namer, uint64_t address, const char *wanted, char *ret,
                         size_t size)
{
    const struct process_crates *crates = (const struct process_crates *)namer;
    for (size_t i = 0; i < crates->crates.count; i++) {
        const struct inspected_crate *crate = &crates->crates.at[i];
        if (address - crate->base >= crate->view.header.image_size)
            continue;
        int length = snprintf(ret, size, "%s:", crate_view_name(&crate->view));
        if (length >= 0 && (size_t)length < size)
            inspected_crate_name(crate, address, ret + length, size - (size_t)length);
        return;
    }
    if (!name_in_library(crates, address, wanted, ret, size))
        snprintf(ret, size, "0x%" PRIx64, address);
}

/* Reads the maps of the process by `mem_fd` and `maps_path`. */
static struct crateld_error *read_process(struct process_crates *crates, pid_t pid, int mem_fd, const char *maps_path)
{
    FILE *maps = fopen(maps_path, "re");
    if (!maps)
        return error_errno(errno, "%s: cannot open", maps_path);
    struct crateld_error *error = read_maps(crates, maps, mem_fd);
    fclose(maps);
    TRY(error);
    if (!crates->crates.count)
        return error_create(CRATELD_ERROR_NOT_FOUND, "process %d has no crates", pid);
    /* Without libdw's help addresses in libraries stay numbers. */
    crates->libraries = dwfl_begin(&dwfl_callbacks);
    if (crates->libraries && dwfl_linux_proc_report(crates->libraries, pid) == 0)
        dwfl_report_end(crates->libraries, NULL, NULL);
    return NULL;
}

struct crateld_error *process_crates_create(pid_t pid, struct process_crates **ret)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int mem_fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (mem_fd < 0 && errno == ENOENT)
        return error_create(CRATELD_ERROR_NOT_FOUND, "there is no process %d", pid);
    if (mem_fd < 0)
        return error_errno(errno, "%s: cannot open", path);
    struct process_crates *crates = calloc(1, sizeof *crates);
    if (!crates)
        return error_memory();
    crates->namer.name = name_address;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    struct crateld_error *error = read_process(crates, pid, mem_fd, path);
    if (error)
        process_crates_destroy(crates);
    else
        *ret = crates;
    return error;
}

void process_crates_destroy(struct process_crates *crates)
{
    if (!crates)
        return;
    for (size_t i = 0; i < crates->crates.count; i++)
        inspected_crate_close(&crates->crates.at[i]);
    free(crates->crates.at);
    if (crates->libraries)
        dwfl_end(crates->libraries);
    free(crates);
}

const struct inspected_crate *process_crates_at(const struct process_crates *crates, size_t i)
{
    return i < crates->crates.count ? &crates->crates.at[i] : NULL;
}
