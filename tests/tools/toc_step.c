/* toc_step: runs a program instruction by instruction and checks the TOC register.
 *
 *   toc_step [-s] PROGRAM [ARGUMENT]...
 *
 * -s: from the program's first SIGUSR2 on, which it does not get.
 *
 * TOC code is recognised by its split-stack prologues, from the symbol tables of the mapped files.
 * - In a crate, %r15 must be the address of the crate's TOC at every instruction of its TOC code but
 * restores.
 * - In an ordinary ELF file restores do nothing, so a register is made up: calls of functions set it, every
 * `ret` into TOC code, and everything else that gets into the middle of a TOC function from outside that
 * function, spoils it, restores set it again. It must be set wherever the real one would have to be.
 * - A call made by ELF code, or in a crate without TOC code, must return with %r15 unchanged.
 * Prints a summary; exit status 0 if nothing was wrong and TOC code was seen, 1 otherwise, 2 for usage.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/vec.h"
#include "crateld/format.h"

enum { INSTRUCTION_MAX = 15, MAX_REPORTS = 20, RT_SIGRETURN = 15 };

struct function {
    uint64_t begin, end; /* addresses */
    bool is_part;        /* cold: never entered by a call */
    char name[80];
};

/* A file with an executable mapping. */
struct module {
    uint64_t begin, end; /* of that mapping */
    uint64_t toc;        /* of a crate; 0: an ordinary file */
    char path[512];
    VEC(struct function) functions; /* TOC code, sorted */
};

/* A call that has not returned yet, made by code that keeps a value in %r15. */
struct open_call {
    uint64_t return_address, rsp, r15;
};

/* What an interrupted thread goes back to. */
struct interrupted {
    uint64_t rip;
    bool is_set;
};

enum kind { KIND_OTHER, KIND_CALL, KIND_RET, KIND_JUMP_INDIRECT, KIND_SYSCALL };

struct thread {
    pid_t tid;
    bool is_set;    /* the made-up TOC register */
    enum kind kind; /* of the instruction executed last */
    uint64_t rip;   /* where it stood */
    uint64_t r15;   /* before it */
    bool was_sigreturn;
    bool wants_register;             /* it stood in code that keeps a value in %r15 across calls */
    const struct function *function; /* TOC function it stood in */
    VEC(struct open_call) calls;
    VEC(struct interrupted) interrupted;
};

static VEC(struct module *) modules;
static VEC(struct thread) threads;
static unsigned long instruction_count, toc_count, restore_count, wrong_count;

static void *require(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "toc_step: out of memory\n");
        exit(1);
    }
    return pointer;
}

#define PUSH(vec, ...)                                                                                                 \
    do {                                                                                                               \
        if (!VEC_PUSH(vec, __VA_ARGS__))                                                                               \
            require(NULL);                                                                                             \
    } while (0)

static bool read_memory(pid_t tid, uint64_t address, void *ret, size_t size)
{
    struct iovec local = {ret, size}, remote = {(void *)(uintptr_t)address, size};
    return process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* As many of the bytes at `address` as are there; the rest is 0. */
static void read_code(pid_t tid, uint64_t address, uint8_t ret[INSTRUCTION_MAX])
{
    memset(ret, 0, INSTRUCTION_MAX);
    size_t size = INSTRUCTION_MAX;
    size_t in_page = 4096 - address % 4096;
    if (!read_memory(tid, address, ret, size) && in_page < size && !read_memory(tid, address, ret, in_page))
        memset(ret, 0, INSTRUCTION_MAX);
}

/* Whether a split-stack prologue begins at `code`: [endbr64] [lea -n(%rsp),%r11] cmp %fs:0x70, then %rsp or
 * %r11. */
static bool is_toc_prologue(struct span code)
{
    static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    static const uint8_t lea[] = {0x4c, 0x8d, 0x9c, 0x24};
    static const uint8_t cmp_rsp[] = {0x64, 0x48, 0x3b, 0x24, 0x25, 0x70, 0, 0, 0};
    static const uint8_t cmp_r11[] = {0x64, 0x4c, 0x3b, 0x1c, 0x25, 0x70, 0, 0, 0};
    if (code.size >= sizeof endbr64 && !memcmp(code.data, endbr64, sizeof endbr64))
        code = span_from(code, sizeof endbr64);
    if (code.size >= sizeof cmp_rsp && !memcmp(code.data, cmp_rsp, sizeof cmp_rsp))
        return true;
    if (code.size < sizeof lea + 4 || memcmp(code.data, lea, sizeof lea) != 0)
        return false;
    code = span_from(code, sizeof lea + 4);
    return code.size >= sizeof cmp_r11 && !memcmp(code.data, cmp_r11, sizeof cmp_r11);
}

/* The file's bytes of the function at `vaddr`. */
static struct span function_code(struct span file, const Elf64_Ehdr *header, uint64_t vaddr)
{
    for (unsigned i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        if (span_read(file, header->e_phoff + i * sizeof segment, &segment, sizeof segment) &&
            segment.p_type == PT_LOAD && vaddr - segment.p_vaddr < segment.p_filesz)
            return span_from(file, segment.p_offset + (vaddr - segment.p_vaddr));
    }
    return (struct span){0};
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && !strcmp(text + length - end_length, end);
}

static const struct function *find_by_name(const struct module *module, const char *name, size_t length)
{
    for (size_t i = 0; i < module->functions.count; i++)
        if (strlen(module->functions.at[i].name) == length && !memcmp(module->functions.at[i].name, name, length))
            return &module->functions.at[i];
    return NULL;
}

/* Enters the symbols of one table that are TOC functions, or cold parts of such if `want_parts`. */
static void add_functions(struct module *module, struct span file, const Elf64_Ehdr *header, const Elf64_Shdr *table,
                          uint64_t bias, bool want_parts)
{
    Elf64_Shdr strings;
    if (!span_read(file, header->e_shoff + table->sh_link * sizeof strings, &strings, sizeof strings))
        return;
    for (uint64_t off = 0; off + sizeof(Elf64_Sym) <= table->sh_size; off += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        if (!span_read(file, table->sh_offset + off, &symbol, sizeof symbol))
            return;
        const char *name = span_string(file, strings.sh_offset + symbol.st_name);
        if (!name || ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || !symbol.st_size || symbol.st_shndx == SHN_UNDEF)
            continue;
        bool is_part = ends_with(name, ".cold");
        if (is_part != want_parts)
            continue;
        if (is_part ? !find_by_name(module, name, strlen(name) - strlen(".cold"))
                    : !is_toc_prologue(function_code(file, header, symbol.st_value)))
            continue;
        struct function function = {symbol.st_value + bias, symbol.st_value + bias + symbol.st_size, is_part, ""};
        snprintf(function.name, sizeof function.name, "%s", name);
        PUSH(&module->functions, function);
    }
}

static int compare_functions(const void *a, const void *b)
{
    const struct function *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* A patch runs with the TOC of its base, in whose reserve it lies: that is the crate before it in memory. */
static uint64_t find_base_toc(const struct module *patch)
{
    const struct module *base = NULL;
    for (size_t i = 0; i < modules.count; i++)
        if (modules.at[i]->toc && modules.at[i]->begin < patch->begin && (!base || modules.at[i]->begin > base->begin))
            base = modules.at[i];
    return base ? base->toc : 0;
}

/* Learns the TOC functions of the module, whose executable mapping begins at file offset `off`, and its TOC.
 */
static void read_module(struct module *module, uint64_t off)
{
    struct file file;
    struct crateld_error *error = file_open(module->path, &file);
    Elf64_Ehdr header;
    if (error || !span_read(file.data, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
        crateld_error_destroy(error);
        return;
    }
    uint64_t bias = 0, crate_off = 0;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (!span_read(file.data, header.e_phoff + i * sizeof segment, &segment, sizeof segment))
            break;
        if (segment.p_type == PT_LOAD && off - (segment.p_offset & ~UINT64_C(4095)) < segment.p_filesz + 4096 &&
            segment.p_flags & PF_X)
            bias = module->begin - off + segment.p_offset - segment.p_vaddr;
        if (segment.p_type == CRATE_PT_CRATE)
            crate_off = segment.p_offset;
    }
    struct crate_header crate;
    if (crate_off && span_read(file.data, crate_off, &crate, sizeof crate))
        module->toc =
            crate.flags & CRATE_FLAG_PATCH ? find_base_toc(module) : bias + crate.preferred_base + crate.toc_rva;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < header.e_shnum; i++) {
            Elf64_Shdr table;
            if (span_read(file.data, header.e_shoff + i * sizeof table, &table, sizeof table) &&
                table.sh_type == SHT_SYMTAB)
                add_functions(module, file.data, &header, &table, bias, pass == 1);
        }
    if (module->functions.count)
        qsort(module->functions.at, module->functions.count, sizeof *module->functions.at, compare_functions);
    file_close(&file);
}

/* The module whose executable mapping holds `address`; NULL: none. */
static const struct module *find_module(pid_t tid, uint64_t address)
{
    for (size_t i = 0; i < modules.count; i++)
        if (address - modules.at[i]->begin < modules.at[i]->end - modules.at[i]->begin)
            return modules.at[i];
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/maps", tid);
    FILE *maps = fopen(path, "re");
    struct module *found = NULL;
    unsigned long last_begin = 0, last_end = 0, last_off = 0;
    char last_name[512] = "";
    while (maps && !found && fgets(line, sizeof line, maps)) {
        unsigned long begin, end, off;
        char flags[8], name[512] = "";
        if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %511[^\n]", &begin, &end, flags, &off, name) < 4)
            continue;
        /* A page within a file's mapping that took another's place for a patch is a copy of it. */
        if (!name[0] && begin == last_end) {
            snprintf(name, sizeof name, "%s", last_name);
            off = last_off + (begin - last_begin);
        }
        snprintf(last_name, sizeof last_name, "%s", name);
        last_begin = begin, last_end = end, last_off = off;
        if (address - begin >= end - begin)
            continue;
        found = require(calloc(1, sizeof *found));
        found->begin = begin;
        found->end = end;
        snprintf(found->path, sizeof found->path, "%s", name);
        if (name[0] == '/')
            read_module(found, off);
        PUSH(&modules, found);
    }
    if (maps)
        fclose(maps);
    return found;
}

static const struct function *find_function(const struct module *module, uint64_t address)
{
    size_t low = 0, high = module ? module->functions.count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct function *function = &module->functions.at[middle];
        if (address < function->begin)
            high = middle;
        else if (address >= function->end)
            low = middle + 1;
        else
            return function;
    }
    return NULL;
}

static enum kind classify(const uint8_t code[INSTRUCTION_MAX])
{
    size_t at = 0;
    while (at < 6 && (code[at] == 0x66 || code[at] == 0x67 || code[at] == 0xf2 || code[at] == 0xf3 ||
                      code[at] == 0x2e || code[at] == 0x3e || (code[at] & 0xf0) == 0x40))
        at++;
    unsigned reg = code[at + 1] >> 3 & 7;
    if (code[at] == 0xe8 || (code[at] == 0xff && reg == 2))
        return KIND_CALL;
    if (code[at] == 0xc3 || code[at] == 0xc2)
        return KIND_RET;
    if (code[at] == 0xff && reg == 4)
        return KIND_JUMP_INDIRECT;
    if (code[at] == 0x0f && code[at + 1] == 0x05)
        return KIND_SYSCALL;
    return KIND_OTHER;
}

static void report(const struct thread *thread, const struct user_regs_struct *regs, const struct module *module,
                   const struct function *function, const char *what)
{
    if (++wrong_count > MAX_REPORTS)
        return;
    fprintf(stderr, "toc_step: at %#llx (%s+%#llx, %s), from %#llx: %s; %%r15 is %#llx\n", regs->rip,
            function ? function->name : "?", function ? regs->rip - function->begin : 0, module ? module->path : "?",
            (unsigned long long)thread->rip, what, regs->r15);
}

/* How the thread got to `function`, whose instruction at regs->rip is next: sets or spoils the made-up
 * register. */
static void follow(struct thread *thread, const struct user_regs_struct *regs, const struct function *function)
{
    if (thread->was_sigreturn) {
        for (size_t i = thread->interrupted.count; i-- > 0;) {
            if (thread->interrupted.at[i].rip != regs->rip)
                continue;
            thread->is_set = thread->interrupted.at[i].is_set;
            thread->interrupted.count = i;
            return;
        }
    }
    bool is_entry = regs->rip == function->begin && !function->is_part;
    if (thread->kind == KIND_RET)
        thread->is_set = false;
    else if (is_entry)
        thread->is_set = true;
    else if (thread->function != function &&
             (thread->kind == KIND_JUMP_INDIRECT || thread->kind == KIND_SYSCALL || !thread->function))
        thread->is_set = false;
}

static void check_toc_code(struct thread *thread, const struct user_regs_struct *regs, const struct module *module,
                           const struct function *function, const uint8_t *code)
{
    static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    static const uint8_t lea[] = {0x4c, 0x8d, 0x3d}, nopl[] = {0x0f, 0x1f, 0x05};
    toc_count++;
    follow(thread, regs, function);
    if (!memcmp(code, module->toc ? lea : nopl, sizeof lea)) {
        restore_count++;
        thread->is_set = true;
        return;
    }
    if (!memcmp(code, endbr64, sizeof endbr64))
        return;
    if (module->toc ? regs->r15 == module->toc : thread->is_set)
        return;
    report(thread, regs, module, function, module->toc ? "the TOC register is wrong" : "a restore is missing");
    thread->is_set = true;
}

/* Calls that want their %r15 back: it is the same when they return. */
static void check_other_code(struct thread *thread, const struct user_regs_struct *regs, const struct module *module)
{
    while (thread->calls.count && thread->calls.at[thread->calls.count - 1].rsp <= regs->rsp) {
        const struct open_call *call = &thread->calls.at[--thread->calls.count];
        if (call->rsp == regs->rsp && call->return_address == regs->rip && thread->kind == KIND_RET &&
            call->r15 != regs->r15)
            report(thread, regs, module, NULL, "a call returned with another %r15");
    }
}

static void note_call(struct thread *thread, const struct user_regs_struct *regs)
{
    uint64_t return_address;
    if (!read_memory(thread->tid, regs->rsp, &return_address, sizeof return_address))
        return;
    struct open_call call = {return_address, regs->rsp + 8, thread->r15};
    PUSH(&thread->calls, call);
}

/* Looks at the instruction that the thread is about to execute. */
static void look(struct thread *thread, const struct user_regs_struct *regs)
{
    uint8_t code[INSTRUCTION_MAX];
    const struct module *module = find_module(thread->tid, regs->rip);
    const struct function *function = find_function(module, regs->rip);
    instruction_count++;
    if (thread->kind == KIND_CALL && thread->wants_register)
        note_call(thread, regs);
    read_code(thread->tid, regs->rip, code);
    if (function)
        check_toc_code(thread, regs, module, function, code);
    else
        check_other_code(thread, regs, module);
    thread->kind = classify(code);
    thread->was_sigreturn = thread->kind == KIND_SYSCALL && regs->rax == RT_SIGRETURN;
    thread->rip = regs->rip;
    thread->function = function;
    /* A crate's entry stubs save %r15 before they call. */
    thread->wants_register = !function && (!module || !module->toc || !module->functions.count);
    thread->r15 = regs->r15;
}

static struct thread *find_thread(pid_t tid)
{
    for (size_t i = 0; i < threads.count; i++)
        if (threads.at[i].tid == tid)
            return &threads.at[i];
    PUSH(&threads, (struct thread){.tid = tid});
    return &threads.at[threads.count - 1];
}

/* A stopped thread goes on by one instruction, with the signal that stopped it. */
static void step(pid_t tid, int status)
{
    struct thread *thread = find_thread(tid);
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
        return;
    int number = WSTOPSIG(status), event = status >> 16;
    bool is_own_stop = number == SIGTRAP || number == SIGSTOP || event;
    if (number == SIGTRAP && !event)
        look(thread, &regs);
    if (!is_own_stop)
        PUSH(&thread->interrupted, (struct interrupted){regs.rip, thread->is_set});
    ptrace(PTRACE_SINGLESTEP, tid, NULL, (void *)(uintptr_t)(is_own_stop ? 0 : number));
}

/* Steps all threads until the last one is gone; returns the status of `program`. */
static int run(pid_t program)
{
    int result = 0, status;
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno == EINTR)
            continue;
        if (tid < 0)
            return result;
        if (WIFSTOPPED(status))
            step(tid, status);
        else if (tid == program)
            result = status;
    }
}

/* Runs the program, stopped before its first instruction, up to its entry point: the dynamic linker's
 * start-up is long and holds no TOC code. False if it did not get there. */
static bool run_to_entry(pid_t program)
{
    char path[64];
    Elf64_auxv_t entry = {0};
    snprintf(path, sizeof path, "/proc/%d/auxv", program);
    FILE *auxv = fopen(path, "re");
    while (auxv && fread(&entry, sizeof entry, 1, auxv) == 1 && entry.a_type != AT_ENTRY && entry.a_type != AT_NULL)
        continue;
    if (auxv)
        fclose(auxv);
    if (entry.a_type != AT_ENTRY)
        return false;
    void *address = (void *)(uintptr_t)entry.a_un.a_val;
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, program, address, NULL);
    int status;
    struct user_regs_struct regs;
    if (errno || ptrace(PTRACE_POKETEXT, program, address, (void *)((word & ~0xffL) | 0xcc /* int3 */)) < 0 ||
        ptrace(PTRACE_CONT, program, NULL, NULL) < 0 || waitpid(program, &status, 0) < 0 || !WIFSTOPPED(status) ||
        ptrace(PTRACE_POKETEXT, program, address, (void *)word) < 0 || ptrace(PTRACE_GETREGS, program, NULL, &regs) < 0)
        return false;
    regs.rip = entry.a_un.a_val;
    return ptrace(PTRACE_SETREGS, program, NULL, &regs) == 0;
}

/* Runs the program up to its first SIGUSR2. False if it does not come. */
static bool run_to_signal(pid_t program)
{
    int status, number = 0;
    for (;;) {
        if (ptrace(PTRACE_CONT, program, NULL, (void *)(uintptr_t)number) < 0 || waitpid(program, &status, 0) < 0 ||
            !WIFSTOPPED(status))
            return false;
        number = WSTOPSIG(status);
        if (number == SIGUSR2)
            return true;
    }
}

int main(int argc, char **argv)
{
    bool is_late = argc > 1 && !strcmp(argv[1], "-s");
    argv += is_late;
    argc -= is_late;
    if (argc < 2) {
        fprintf(stderr, "usage: toc_step [-s] PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    pid_t program = fork();
    if (program < 0) {
        perror("toc_step: fork");
        return 1;
    }
    if (!program) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        setenv("LD_BIND_NOW", "1", 1);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    int status;
    waitpid(program, &status, 0);
    ptrace(PTRACE_SETOPTIONS, program, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE));
    if (!WIFSTOPPED(status) || !(is_late ? run_to_signal(program) : run_to_entry(program))) {
        fprintf(stderr, "toc_step: %s: does not start\n", argv[1]);
        return 1;
    }
    ptrace(PTRACE_SINGLESTEP, program, NULL, NULL);
    status = run(program);
    fprintf(stderr, "toc_step: %lu instructions, %lu of TOC code, %lu restores, %lu wrong; status %#x\n",
            instruction_count, toc_count, restore_count, wrong_count, status);
    return wrong_count || !toc_count || !restore_count || status;
}
