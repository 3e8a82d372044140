/* crateld-exec: the program that PT_INTERP of an executable crate names. The kernel starts it in place of ld.so when
 * the crate is executed; it executes `crateld run` of that crate, with the same arguments, environment and argv[0].
 *
 * crateld is looked for beside this program, as it stands in the build folder, and where an installation has it. It
 * links no library: the process is about to become another, and what it costs is part of each start. */
#include "cli/interpreter_x86_64.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_NOT_FOUND = 127,
    ERROR_NOT_FOUND = -2, /* -ENOENT */
    ENTRY_ARGS = 8,       /* what `crateld run` gets besides the program's own arguments */
};

/* What the kernel says of the crate. */
struct started {
    char **argv;
    char **envp;
    size_t argc;
    const char *path;        /* AT_EXECFN: as it was executed, or the script that names the crate behind #! */
    const char *interpreter; /* path of this program, from the crate's PT_INTERP; NULL: not known */
};

struct text {
    char at[2 * PATH_MAX];
    size_t length;
};

static size_t length_of(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

/* Appends up to what there is room for, with a NUL behind it. */
static void append(struct text *text, const char *more, size_t length)
{
    for (size_t i = 0; i < length && text->length + 1 < sizeof text->at; i++)
        text->at[text->length++] = more[i];
    text->at[text->length] = 0;
}

_Noreturn static void fail(const char *crate, const char *reason, const char *detail)
{
    struct text message;
    message.length = 0; /* not more: there is no memset() */
    const char *parts[] = {"crateld: ", crate, ": ", reason, detail, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        append(&message, parts[i], length_of(parts[i]));
    interpreter_syscall(__NR_write, 2, (long)message.at, (long)message.length);
    for (;;)
        interpreter_syscall(__NR_exit_group, STATUS_NOT_FOUND, 0, 0);
}

/* The string of PT_INTERP, where the kernel has mapped the crate. Its program headers follow its ELF header, in the
 * segment that starts the file (docs/format.md, section 1). */
static const char *find_interpreter(const Elf64_Phdr *phdrs, size_t count)
{
    const Elf64_Phdr *first = NULL, *interpreter = NULL;
    for (size_t i = 0; i < count; i++) {
        if (phdrs[i].p_type == PT_LOAD && !first)
            first = &phdrs[i];
        if (phdrs[i].p_type == PT_INTERP)
            interpreter = &phdrs[i];
    }
    if (!first || !interpreter)
        return NULL;
    return (const char *)phdrs - sizeof(Elf64_Ehdr) + (interpreter->p_vaddr - first->p_vaddr);
}

/* The stack as the kernel hands it over: x86-64 psABI 1.0, figure 3.9. */
static void read_stack(long *stack, struct started *ret)
{
    const Elf64_Phdr *phdrs = NULL;
    size_t phdr_count = 0;
    ret->argc = (size_t)stack[0];
    ret->argv = (char **)(stack + 1);
    ret->envp = ret->argv + ret->argc + 1;
    char **end = ret->envp;
    while (*end)
        end++;
    for (const Elf64_auxv_t *entry = (const Elf64_auxv_t *)(end + 1); entry->a_type != AT_NULL; entry++) {
        if (entry->a_type == AT_PHDR)
            phdrs = (const Elf64_Phdr *)entry->a_un.a_val;
        if (entry->a_type == AT_PHNUM)
            phdr_count = entry->a_un.a_val;
        if (entry->a_type == AT_EXECFN)
            ret->path = (const char *)entry->a_un.a_val;
    }
    ret->interpreter = phdrs ? find_interpreter(phdrs, phdr_count) : NULL;
}

/* Finds a path by which `crateld run` can open the crate: the kernel's name for it; if it has none any more (the file
 * was removed, or is in memory), a descriptor of it; without /proc, the name that was executed. */
static void find_crate(const struct started *started, struct text *ret)
{
    static const char self[] = "/proc/self/exe", folder[] = "/proc/self/fd/";
    long length = interpreter_syscall(__NR_readlink, (long)self, (long)ret->at, sizeof ret->at - 1);
    ret->length = length > 0 ? (size_t)length : 0;
    ret->at[ret->length] = 0;
    if (ret->length && !interpreter_syscall(__NR_access, (long)ret->at, 0, 0))
        return;
    ret->length = 0;
    long fd = interpreter_syscall(__NR_open, (long)self, O_RDONLY, 0);
    if (fd < 0) {
        append(ret, started->path, length_of(started->path));
        return;
    }
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + fd % 10);
    } while ((fd /= 10));
    append(ret, folder, sizeof folder - 1);
    append(ret, digits + first, sizeof digits - first);
}

/* Executes `crateld` in `folder`, which is relative to that of this program; returns the error number, negative. */
static long execute(const struct started *started, const char *folder, char **args)
{
    struct text path;
    path.length = 0;
    size_t length = length_of(started->interpreter);
    while (length && started->interpreter[length - 1] != '/')
        length--;
    append(&path, started->interpreter, length);
    append(&path, folder, length_of(folder));
    append(&path, "crateld", 7);
    return interpreter_syscall(__NR_execve, (long)path.at, (long)args, (long)started->envp);
}

__attribute__((used)) _Noreturn void interpreter_start(long *stack)
{
    struct started started = {.path = "?"};
    struct text crate;
    read_stack(stack, &started);
    find_crate(&started, &crate);
    if (!started.interpreter)
        fail(crate.at, "crateld-exec is the interpreter of executable crates, which this is not", "");
    char *args[started.argc + ENTRY_ARGS];
    size_t n = 0;
    args[n++] = (char *)"crateld";
    args[n++] = (char *)"run";
    if (started.argc) {
        args[n++] = (char *)"--argv0";
        args[n++] = started.argv[0];
    }
    args[n++] = (char *)"--";
    args[n++] = crate.at;
    for (size_t i = 1; i < started.argc; i++)
        args[n++] = started.argv[i];
    args[n] = NULL;
    long reason = execute(&started, "", args);
    if (reason == ERROR_NOT_FOUND)
        reason = execute(&started, INTERPRETER_BIN "/", args);
    fail(crate.at,
         reason == ERROR_NOT_FOUND ? "there is no crateld that belongs to " : "cannot execute the crateld of ",
         started.interpreter);
}
