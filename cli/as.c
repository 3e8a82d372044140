/* The assembler of `crateld cc`: runs the TOC pass over what the compiler wrote, then the real assembler.
 *
 * The compiler says which of its inputs are its own output: toc.specs puts OWN_OUTPUT before those, and not
 * before assembly that the user wrote, which goes to the real assembler as it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/toc_pass.h"
#include "cli/tool_path.h"

#define OWN_OUTPUT "--crateld-toc"

/* Appends all that can be read from `fd` to *ret, which is released by the caller in every case. */
static struct crateld_error *read_all(int fd, const char *path, struct toc_text *ret)
{
    size_t capacity = 0;
    for (;;) {
        if (!vec_grow((void **)&ret->at, &capacity, ret->size, 1 << 16, 1))
            return error_memory();
        ssize_t count = read(fd, ret->at + ret->size, capacity - ret->size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_errno(errno, "%s: cannot read", path);
        if (!count)
            return NULL;
        ret->size += (size_t)count;
    }
}

/* Makes a file in memory with `text` the standard input. */
static struct crateld_error *make_standard_input(const struct toc_text *text)
{
    int fd AUTO_CLOSE = memfd_create("crateld-toc.s", MFD_CLOEXEC);
    if (fd < 0)
        return error_errno(errno, "memfd_create");
    for (size_t done = 0; done < text->size;) {
        ssize_t count = write(fd, text->at + done, text->size - done);
        if (count < 0 && errno != EINTR)
            return error_errno(errno, "cannot write %zu bytes of assembly", text->size);
        if (count > 0)
            done += (size_t)count;
    }
    if (lseek(fd, 0, SEEK_SET) < 0 || dup2(fd, STDIN_FILENO) < 0)
        return error_errno(errno, "cannot pass on the assembly");
    return NULL;
}

/* Runs the pass over the file `path`, or standard input if it is NULL. */
static struct crateld_error *run_pass(const char *path)
{
    int fd AUTO_CLOSE = -1;
    if (path) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return error_errno(errno, "%s: cannot open", path);
    }
    struct toc_text input = {0}, output = {0};
    struct crateld_error *error = read_all(path ? fd : STDIN_FILENO, path ? path : "standard input", &input);
    if (!error)
        error = toc_pass((struct asm_slice){input.at, input.size}, &output);
    if (!error)
        error = make_standard_input(&output);
    free(input.at);
    free(output.at);
    return error;
}

static struct crateld_error *assemble(int argc, char **argv)
{
    int kept = 1;
    bool is_own_output = false;
    const char *input = NULL;
    for (int i = 1; i < argc; i++) {
        if (is_own_output && !input && argv[i][0] != '-') {
            input = argv[i];
        } else if (!strcmp(argv[i], OWN_OUTPUT)) {
            is_own_output = true;
        } else if (!is_own_output || strcmp(argv[i], "-") != 0) {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    char *assembler AUTO_FREE = NULL;
    TRY(tool_find_other("as", &assembler));
    if (is_own_output)
        TRY(run_pass(input));
    argv[0] = assembler;
    return tool_execute(assembler, argv);
}

int cmd_as(int argc, char **argv)
{
    return command_failed(assemble(argc, argv));
}
