#define _GNU_SOURCE
#include "loader/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct log_state log_state;

static const struct {
    const char *name;
    uint32_t topic;
} topics[] = {{"load", LOG_LOAD}, {"bind", LOG_BIND}, {"tls", LOG_TLS}, {"init", LOG_INIT}, {"all", UINT32_MAX}};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The topics named in a list that is separated by commas; unknown names are those of other parts of crateld. */
static uint32_t parse_topics(const char *list)
{
    uint32_t found = 0;
    while (*list) {
        size_t length = strcspn(list, ",");
        for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
            if (strlen(topics[i].name) == length && memcmp(topics[i].name, list, length) == 0)
                found |= topics[i].topic;
        }
        list += length + (list[length] == ',');
    }
    return found;
}

void log_init(void)
{
    const char *list = secure_getenv("CRATELD_DEBUG"), *stats = secure_getenv("CRATELD_STATS");
    log_state.topics = list ? parse_topics(list) : 0;
    log_state.has_stats = stats && strcmp(stats, "1") == 0;
    if (log_state.has_stats)
        log_state.start_ns = now_ns();
}

void log_print(const char *format, ...)
{
    /* One write, not stdio: the program owns its streams, and threads bind at once. */
    char line[1024] = "crateld: ";
    size_t size = strlen(line);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line + size, sizeof line - size - 1, format, args);
    va_end(args);
    if (length < 0)
        return;
    size += (size_t)length < sizeof line - size - 1 ? (size_t)length : sizeof line - size - 2;
    line[size++] = '\n';
    (void)!write(STDERR_FILENO, line, size);
}

void log_print_stats(void)
{
    if (!log_state.has_stats)
        return;
    log_print("%u crates mapped, %u active, %u ELF libraries opened; imports bound: %u fast, %u slow; %.3f ms "
              "since the start",
              log_state.crates_mapped, log_state.crates_active, log_state.libraries_opened, log_state.bound_fast,
              log_state.bound_slow, (double)(now_ns() - log_state.start_ns) / 1e6);
    if (log_state.functions_replaced)
        log_print("%u functions replaced: %u in place, %u fresh", log_state.functions_replaced,
                  log_state.functions_in_place, log_state.functions_replaced - log_state.functions_in_place);
}
