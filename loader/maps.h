/* A walk over the process's mappings, as the kernel lists them, through a buffer of its own: allocates nothing. One at
 * a time. */
#ifndef LOADER_MAPS_H
#define LOADER_MAPS_H

#include <stdbool.h>
#include <stdint.h>

struct mapping {
    uint64_t start, end;
    bool is_writable; /* and readable */
    bool is_private;  /* and writable */
    bool is_guard;    /* of no use to anybody: neither readable nor writable nor executable */
    const char *name; /* valid until the next one; NULL: it has none */
};

/* Begins to read the list open at `fd`: /proc/self/maps, or one like it. */
void maps_begin(int fd);

/* The next line, without its end; NULL at the end. */
char *maps_next_line(void);

/* The next mapping; false at the end. */
bool maps_next(struct mapping *ret);

#endif
