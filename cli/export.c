/* crateld export: an ordinary ELF shared library whose functions and variables are those of a crate. It is written as
 * assembly, which the user's compiler driver assembles and links. What it does when it is called is in loader/host.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory_stream.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/export_code.h"
#include "cli/tool_path.h"
#include "crate/build_id.h"
#include "crate/check.h"
#include "crate/reader.h"
#include "crateld/export.h"

static const char usage[] =
    "usage: crateld export -o FILE [--soname NAME] [--runtime FOLDER] CRATE\n"
    "\n"
    "Makes an ELF shared library of what CRATE exports, for ordinary programs to link or dlopen.\n"
    "\n"
    "  -o, --output FILE     the library to be written (required)\n"
    "      --soname NAME     its soname (default: the file name)\n"
    "      --runtime FOLDER  where libcrateld.so will be (default: where it is; $ORIGIN is the library's folder)\n"
    "  -h, --help            show this\n"
    "\n"
    "The crate is looked for beside the library, and where it is now.\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"soname", required_argument, NULL, 's'},
    {"runtime", required_argument, NULL, 'r'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char runtime_name[] = "libcrateld.so.0";

struct exporting {
    const char *path, *output, *soname, *runtime;
    struct file file;
    struct crate_view view;
    VEC(const char *) functions;
    bool has_data;
    const char *why_no_thread_locals; /* the reason why thread-locals are left out; NULL: they are not */
    bool has_thread_locals;
    FILE *out; /* the assembly */
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A string in the assembler's words. */
static void write_string(FILE *out, const char *text)
{
    fputs("    .asciz \"", out);
    for (; *text; text++)
        fprintf(out, *text == '"' || *text == '\\' || (unsigned char)*text < ' ' ? "\\%03o" : "%c",
                (unsigned char)*text);
    fputs("\"\n", out);
}

/* The binding, visibility and type of a symbol. Variables are protected: a program must not have copies of them. */
static void write_symbol(FILE *out, const char *name, const struct crate_export *export, bool is_function)
{
    bool is_weak = export->flags & (CRATE_EXPORT_FLAG_WEAK | CRATE_EXPORT_FLAG_VAGUE);
    fprintf(out, "    .%s \"%s\"\n", is_weak ? "weak" : "globl", name);
    if (export->kind == CRATE_EXPORT_DATA)
        fprintf(out, "    .protected \"%s\"\n", name);
    if (export->kind == CRATE_EXPORT_DATA || export->kind == CRATE_EXPORT_TLS)
        fprintf(out, "    .size \"%s\", %u\n", name, export->size);
    fprintf(out, "    .type \"%s\", @%s\n", name,
            is_function                        ? "function"
            : export->kind == CRATE_EXPORT_TLS ? "tls_object"
                                               : "object");
}

/* Why the export can not be one of a library; NULL: it can. */
static const char *why_left_out(const struct exporting *e, const struct crate_export *export, bool is_function)
{
    if (export->flags & CRATE_EXPORT_FLAG_FORWARD)
        return is_function ? NULL : "a variable of the library that the crate stands for: link with that too";
    return export->kind == CRATE_EXPORT_TLS ? e->why_no_thread_locals : NULL;
}

static struct crateld_error *write_export(struct exporting *e, const struct crate_export *export)
{
    const char *name = crate_view_string(&e->view, export->name);
    bool is_forward = export->flags & CRATE_EXPORT_FLAG_FORWARD;
    bool is_function = export->kind == CRATE_EXPORT_FUNCTION_PLAIN || export->kind == CRATE_EXPORT_FUNCTION_TOC;
    if (is_function && !is_forward && export->canonical_rva == e->view.header.entry_rva)
        return NULL; /* programs have a main() of their own */
    if (strpbrk(name, "\"\\\n"))
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: an export has the name '%s', which assemblers do not take",
                            e->path, name);
    const char *why = why_left_out(e, export, is_function);
    if (why) {
        fprintf(stderr, "crateld: warning: %s: '%s' is left out: %s\n", e->path, name, why);
        return NULL;
    }
    write_symbol(e->out, name, export, is_function);
    if (is_function) {
        export_write_function(e->out, name, (uint32_t)e->functions.count);
        return VEC_PUSH(&e->functions, name) ? NULL : error_memory();
    }
    if (export->kind == CRATE_EXPORT_ABSOLUTE) {
        fprintf(e->out, "    .set \"%s\", 0x%08x%08x\n", name, export->canonical_rva, export->rva);
        return NULL;
    }
    if (export->kind == CRATE_EXPORT_TLS) {
        e->has_thread_locals = true;
        fprintf(e->out, "    .set \"%s\", .Lblock + 0x%x\n", name, export->rva);
        return NULL;
    }
    e->has_data = true;
    fprintf(e->out, "    .set \"%s\", .Larea + 0x%x\n", name, export->rva);
    return NULL;
}

/* Writes the crate's block of thread-locals as the library's. */
static void write_thread_locals(const struct exporting *e)
{
    const struct crate_header *header = &e->view.header;
    const uint8_t *image = e->file.data.data + header->tls_rva;
    fprintf(e->out, "    .section .t%s, \"awT\", @%s\n    .balign %u\n.Lblock:\n",
            header->tls_file_size ? "data" : "bss", header->tls_file_size ? "progbits" : "nobits", header->tls_align);
    for (uint32_t i = 0; i < header->tls_file_size; i++)
        fprintf(e->out, "    .byte %u\n", image[i]);
    fprintf(e->out, "    .skip 0x%" PRIx64 "\n", header->tls_mem_size - header->tls_file_size);
    export_write_thread_locals(e->out, header->flags & CRATE_FLAG_STATIC_TLS);
}

static void write_tables(struct exporting *e, const char *crate_path)
{
    FILE *out = e->out;
    const struct crate_header *header = &e->view.header;
    fputs("    .section .rodata\n", out);
    for (size_t i = 0; i < e->functions.count; i++) {
        fprintf(out, ".Lname%zu:\n", i);
        write_string(out, e->functions.at[i]);
    }
    fputs(".Lfile:\n", out);
    write_string(out, base_name(e->path));
    fputs(".Lpath:\n", out);
    write_string(out, crate_path);
    fputs("    .section .data.rel.ro, \"aw\"\n    .balign 8\n.Lnames:\n", out);
    for (size_t i = 0; i < e->functions.count; i++)
        fprintf(out, "    .quad .Lname%zu\n", i);
    fputs(".Lstubs:\n", out);
    for (size_t i = 0; i < e->functions.count; i++)
        fprintf(out, "    .quad .Lstub%zu\n", i);
    fputs("    .data\n    .balign 16\n.Lslots:\n", out);
    for (size_t i = 0; i < e->functions.count; i++)
        fprintf(out, "    .quad .Llazy%zu, 0\n", i);
    fprintf(out, ".Llibrary:\n    .quad 0x%" PRIx64 ", 0, 0, crateld_export_resolver\n", CRATELD_EXPORT_MAGIC);
    fprintf(out, "    .skip %zu\n", sizeof(struct crateld_toc) - 4 * sizeof(uint64_t));
    fprintf(out, "    .long %d, %zu\n    .quad .Lnames, .Lstubs, .Lslots, .Lfile, .Lpath\n", CRATELD_EXPORT_VERSION,
            e->functions.count);
    fprintf(out, "    .quad %s, 0x%" PRIx64 "\n    .byte ", e->has_data ? ".Larea" : "0",
            e->has_data ? header->image_size : 0);
    for (size_t i = 0; i < sizeof header->build_id; i++)
        fprintf(out, "%s%u", i ? ", " : "", header->build_id[i]);
    fprintf(out, "\n    .quad %s\n", e->has_thread_locals ? ".Lthread_locals" : "0");
    if (e->has_data)
        fprintf(out,
                "    .section .bss.crateld, \"aw\", @nobits\n    .balign 0x%" PRIx64 "\n.Larea:\n    .skip 0x%" PRIx64
                "\n",
                header->image_align, header->image_size);
    fputs("    .section .note.GNU-stack, \"\", @progbits\n", out);
}

/* Whether the loader writes an address into the initial values of the crate's thread-locals. */
static bool has_addresses_in_thread_locals(const struct crate_view *view)
{
    uint32_t start = view->header.tls_rva, size = view->header.tls_file_size, place;
    struct crate_relr_cursor cursor = {0};
    while (crate_view_relr_next(view, &cursor, &place) == CRATE_RELR_PLACE)
        if (place - start < size)
            return true;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_DATA_RELOCS); i++)
        if (view->data_relocs[i].place_rva - start < size)
            return true;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_FIXUPS); i++)
        if (view->fixups[i].place_rva - start < size)
            return true;
    return false;
}

/* Whether the crate deals with collected objects, for which the heap looks in the blocks that are the loader's. */
static bool has_collected_objects(const struct crate_view *view)
{
    static const char prefix[] = "crateld_gc_";
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_IMPORTS); i++)
        if (!strncmp(crate_view_string(view, view->imports[i].name), prefix, sizeof prefix - 1))
            return true;
    return view->header.types.count;
}

/* Why the crate's thread-locals can not be those of a library; NULL: they can. */
static const char *why_no_thread_locals(const struct crate_view *view)
{
    if (has_collected_objects(view))
        return "a thread-local of a crate with collected objects: export a function that returns its address";
    if (has_addresses_in_thread_locals(view))
        return "a thread-local of a crate in which the initial value of one is an address: export a function that "
               "returns its address";
    return NULL;
}

static struct crateld_error *write_assembly(struct exporting *e)
{
    char crate_path[PATH_MAX];
    if (!realpath(e->path, crate_path))
        return error_errno(errno, "%s: cannot find", e->path);
    e->why_no_thread_locals = why_no_thread_locals(&e->view);
    fputs("    .text\n", e->out);
    for (uint32_t i = 0; i < crate_view_count(&e->view, CRATE_TABLE_EXPORTS); i++) {
        struct crate_export export;
        TRY(crate_view_export(&e->view, i, &export));
        TRY(write_export(e, &export));
    }
    /* Code that counts on them at a fixed distance from the thread pointer has them nowhere else. */
    if (e->view.header.flags & CRATE_FLAG_STATIC_TLS && e->view.header.tls_mem_size && !e->why_no_thread_locals)
        e->has_thread_locals = true;
    if (!e->functions.count && !e->has_data && !e->has_thread_locals)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: exports nothing that a library can", e->path);
    export_write_head(e->out);
    if (e->has_data)
        export_write_start(e->out);
    if (e->has_thread_locals)
        write_thread_locals(e);
    write_tables(e, crate_path);
    return NULL;
}

/* Sets *ret to the folder of libcrateld.so: in the build folder, or where it is installed. */
static struct crateld_error *find_runtime(char **ret)
{
    static const char *const folders[] = {"../loader/", LIB_FROM_TOOL_FOLDER "/"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *folder AUTO_FREE = NULL, *library AUTO_FREE = NULL;
        TRY(tool_path(folders[i], &folder));
        if (asprintf(&library, "%s%s", folder, runtime_name) < 0) {
            library = NULL;
            return error_memory();
        }
        if (access(library, R_OK))
            continue;
        *ret = realpath(folder, NULL);
        return *ret ? NULL : error_errno(errno, "%s: cannot find", folder);
    }
    return error_create(CRATELD_ERROR_NOT_FOUND, "%s: not found where crateld is", runtime_name);
}

/* Runs `argv` with `text` as its standard input. */
static struct crateld_error *run_with_input(char *const *argv, const char *text, size_t size)
{
    FILE *input = tmpfile();
    if (!input)
        return error_errno(errno, "cannot make a temporary file");
    bool is_written = fwrite(text, 1, size, input) == size && !fflush(input) && !fseek(input, 0, SEEK_SET);
    pid_t child = is_written ? fork() : -1;
    if (!child) {
        dup2(fileno(input), STDIN_FILENO);
        execvp(argv[0], argv);
        fprintf(stderr, "crateld: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    int reason = errno, status = 0;
    fclose(input);
    if (child < 0)
        return error_errno(reason, "cannot run %s", argv[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_create(CRATELD_ERROR_IO, "%s could not make the library: status %d", argv[0], status);
    return NULL;
}

/* Has the compiler driver make `target` of the assembly. */
static struct crateld_error *link_library(const struct exporting *e, const char *runtime, const char *target,
                                          const char *text, size_t size)
{
    const char *compiler = getenv("CRATELD_CC");
    char *soname AUTO_FREE = NULL, *library AUTO_FREE = NULL;
    char *rpath AUTO_FREE = NULL;
    if (asprintf(&soname, "-Wl,-soname,%s", e->soname ? e->soname : base_name(e->output)) < 0)
        soname = NULL;
    if (asprintf(&library, "%s/%s", runtime, runtime_name) < 0)
        library = NULL;
    if (asprintf(&rpath, "-Wl,-rpath,%s", e->runtime ? e->runtime : runtime) < 0)
        rpath = NULL;
    if (!soname || !library || !rpath)
        return error_memory();
    const char *argv[] = {compiler && *compiler ? compiler : "gcc",
                          "-shared",
                          "-nostdlib",
                          "-fuse-ld=bfd",
                          "-o",
                          target,
                          soname,
                          rpath,
                          "-Wl,--enable-new-dtags,-z,noexecstack,--no-as-needed",
                          "-x",
                          "assembler",
                          "-",
                          "-x",
                          "none",
                          library,
                          NULL};
    return run_with_input((char *const *)argv, text, size);
}

static struct crateld_error *make_library(struct exporting *e, const char *text, size_t size)
{
    char *runtime AUTO_FREE = NULL, *temporary AUTO_FREE = NULL;
    TRY(find_runtime(&runtime));
    if (asprintf(&temporary, "%s.%d.tmp", e->output, (int)getpid()) < 0) {
        temporary = NULL;
        return error_memory();
    }
    struct crateld_error *error = link_library(e, runtime, temporary, text, size);
    if (!error && rename(temporary, e->output) < 0)
        error = error_errno(errno, "%s: cannot rename into place", e->output);
    if (error)
        unlink(temporary);
    return error;
}

static struct crateld_error *export(struct exporting *e)
{
    char *text AUTO_FREE = NULL;
    size_t size = 0;
    TRY(file_open(e->path, &e->file));
    TRY(crate_view_open(e->path, e->file.data, &e->view));
    TRY(crate_check_meta(e->path, e->file.data, &e->view.header));
    TRY(crate_view_check_all(&e->view));
    e->out = open_memstream(&text, &size);
    if (!e->out)
        return error_memory();
    struct crateld_error *error = write_assembly(e);
    bool is_written = !ferror(e->out);
    if (fclose(e->out) || !is_written)
        error = error_join(error, error_memory());
    return error ? error : make_library(e, text, size);
}

int cmd_export(int argc, char **argv)
{
    struct exporting e = {0};
    for (int option; (option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0;) {
        if (option == 'o') {
            e.output = optarg;
        } else if (option == 's') {
            e.soname = optarg;
        } else if (option == 'r') {
            e.runtime = optarg;
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
        }
    }
    if (!e.output || optind + 1 != argc) {
        fprintf(stderr, "crateld: export: %s\n%s", e.output ? "wanted one crate" : "no output file: -o libapp.so",
                usage);
        return EXIT_STATUS_USAGE;
    }
    e.path = argv[optind];
    struct crateld_error *error = export(&e);
    file_close(&e.file);
    free(e.functions.at);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}
