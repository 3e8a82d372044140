/* What the loader tells on request: CRATELD_DEBUG=load,bind,… and CRATELD_STATS=1, read once, at start. */
#ifndef LOADER_LOG_H
#define LOADER_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_topic {
    LOG_LOAD = 1 << 0, /* files: searched, mapped, activated */
    LOG_BIND = 1 << 1, /* each import that is bound */
    LOG_TLS = 1 << 2,  /* blocks of thread-locals */
    LOG_INIT = 1 << 3, /* initialisers and finalisers */
};

/* The topics that are on; and the numbers behind CRATELD_STATS, counted without care for races. */
struct log_state {
    uint32_t topics;
    bool has_stats;
    uint64_t start_ns;
    uint32_t crates_mapped, crates_active, libraries_opened;
    uint32_t bound_fast, bound_slow;
    uint32_t functions_replaced, functions_in_place; /* by patches */
};
extern struct log_state log_state;

/* Reads the environment. Not in a process whose privileges changed (secure_getenv). */
void log_init(void);

/* Prints the numbers to stderr if they were asked for. */
void log_print_stats(void);

/* Prints "crateld: <formatted>" to stderr. Use LOG. */
void log_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define LOG(topic, ...)                                                                                                \
    do {                                                                                                               \
        if (__builtin_expect(log_state.topics & (topic), 0))                                                           \
            log_print(__VA_ARGS__);                                                                                    \
    } while (0)

#endif
