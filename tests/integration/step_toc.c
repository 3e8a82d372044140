/* Runs a command one instruction at a time, from its first int3 to its second one, and checks after each of them, in
 * every thread, that %r15 holds the TOC of the crate whose TOC code is about to run. The one exception that the ABI
 * knows is the instruction that restores it, behind a call.
 *
 * Usage: step_toc COMMAND [ARGUMENT]... Prints how many instructions of TOC code were looked at; exit status 1 for a
 * violation, else the command's. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crateld/format.h"

enum { MAX_CRATES = 64, RESTORE_SIZE = 7 };

struct stepped_crate {
    uint64_t base, text_start, text_end, toc;
    char name[64];
};

static struct stepped_crate crates[MAX_CRATES];
static size_t crate_count;
static uint64_t checked, violations;

/* Reads the crate header at the start of the file. */
static int read_header(const char *path, struct crate_header *ret)
{
    char start[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, start, sizeof start);
    close(fd);
    if (size < (ssize_t)sizeof(Elf64_Ehdr))
        return 0;
    Elf64_Ehdr *ehdr = (Elf64_Ehdr *)start;
    Elf64_Phdr *phdrs = (Elf64_Phdr *)(start + ehdr->e_phoff);
    for (int i = 0; i < ehdr->e_phnum; i++) {
        if (phdrs[i].p_type == CRATE_PT_CRATE) {
            memcpy(ret, start + phdrs[i].p_offset, sizeof *ret);
            return 1;
        }
    }
    return 0;
}

/* Finds the crates that are mapped; crates are mapped before the first int3. */
static void read_maps(pid_t pid)
{
    char name[64], line[1024], path[512];
    snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(name, "r");
    uint64_t start, end, off;
    while (maps && fgets(line, sizeof line, maps)) {
        struct crate_header header;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %511s", &start, &end, &off, path) != 4 ||
            off || !strstr(path, ".crate") || crate_count == MAX_CRATES || !read_header(path, &header) ||
            !header.toc_text_rva)
            continue;
        struct crate_segment text = header.segments[CRATE_SEGMENT_TEXT];
        struct stepped_crate *crate = &crates[crate_count++];
        crate->base = start;
        crate->text_start = start + header.toc_text_rva;
        crate->text_end = start + text.rva + text.file_size;
        crate->toc = start + header.toc_rva;
        snprintf(crate->name, sizeof crate->name, "%s", strrchr(path, '/') + 1);
    }
    if (maps)
        fclose(maps);
}

/* Whether the instruction at `pc` is lea TOC(%rip),%r15. */
static int is_restore(pid_t pid, uint64_t pc, uint64_t toc)
{
    errno = 0;
    uint64_t word = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, (void *)pc, 0);
    int32_t distance = (int32_t)(word >> 24);
    return !errno && (word & 0xffffff) == 0x3d8d4c && pc + RESTORE_SIZE + (uint64_t)(int64_t)distance == toc;
}

static void check(pid_t pid, const struct user_regs_struct *regs)
{
    for (size_t i = 0; i < crate_count; i++) {
        if (regs->rip < crates[i].text_start || regs->rip >= crates[i].text_end)
            continue;
        checked++;
        if (regs->r15 == crates[i].toc || is_restore(pid, regs->rip, crates[i].toc))
            return;
        if (violations++ < 10)
            fprintf(stderr, "%s+0x%" PRIx64 ": %%r15 is 0x%" PRIx64 ", wanted 0x%" PRIx64 "\n", crates[i].name,
                    (uint64_t)regs->rip - crates[i].base, (uint64_t)regs->r15, crates[i].toc);
        return;
    }
}

int main(int argc, char **argv)
{
    pid_t child = fork();
    if (argc < 2 || child < 0)
        return 2;
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int status, is_stepping = 0, result = 1, marks = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int sig = WSTOPSIG(status), event = status >> 16;
        struct user_regs_struct regs;
        siginfo_t info = {0};
        ptrace(PTRACE_GETREGS, pid, 0, &regs);
        ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
        int is_mark = sig == SIGTRAP && !event && info.si_code == SI_KERNEL;
        if (is_mark && !marks++) {
            ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
            read_maps(pid);
            is_stepping = 1;
        } else if (is_mark) {
            is_stepping = 0;
        }
        if (is_stepping)
            check(pid, &regs);
        int deliver = sig == SIGTRAP || (sig == SIGSTOP && pid != child) || event ? 0 : sig;
        ptrace(is_stepping ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, (void *)(intptr_t)deliver);
    }
    printf("%" PRIu64 " instructions of TOC code in %zu crates, %" PRIu64 " violations\n", checked, crate_count,
           violations);
    return violations || marks != 2 ? 1 : result;
}
