#define _GNU_SOURCE
#include "cli/bus_error.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit_status.h"

/* All here is async-signal-safe: no memory, no stdio. The lines of /proc/self/maps are read byte by byte, which is slow
 * and happens once. */

/* Reads a line into `line`, cut at `size` bytes with the terminator; false at the end. */
static bool read_line(int fd, char *line, size_t size)
{
    size_t length = 0;
    char byte;
    while (read(fd, &byte, 1) == 1 && byte != '\n')
        if (length + 1 < size)
            line[length++] = byte;
    line[length] = 0;
    return length > 0;
}

/* The hexadecimal number at *text, which moves behind it. */
static uintptr_t take_hex(const char **text)
{
    static const char digits[] = "0123456789abcdef";
    uintptr_t value = 0;
    for (const char *digit; **text && (digit = strchr(digits, **text)); ++*text)
        value = value << 4 | (uintptr_t)(digit - digits);
    return value;
}

/* The file that is mapped at `address`, within `line`; NULL if none is. */
static const char *file_at(uintptr_t address, char *line, size_t size)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    const char *found = NULL;
    while (!found && read_line(fd, line, size)) {
        const char *at = line;
        uintptr_t begin = take_hex(&at);
        at += *at == '-';
        uintptr_t end = take_hex(&at);
        if (address >= begin && address < end)
            found = strchr(at, '/');
    }
    close(fd);
    return found;
}

static void print(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* there is nobody left to tell */
}

static void handle(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    char line[PATH_MAX + 128];
    const char *path = file_at((uintptr_t)info->si_addr, line, sizeof line);
    print("crateld: ");
    print(path ? path : "a mapped file");
    print(": cannot be read or written any more: was it truncated while it was in use?\n");
    _exit(EXIT_STATUS_FAILED);
}

void bus_error_install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
