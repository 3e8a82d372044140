/* Who holds a pointer into a stretch of memory: a conservative search through all that the process can write, while its
 * threads are held. Allocates nothing. */
#ifndef LOADER_HOLDERS_H
#define LOADER_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stretches of memory, and words that do not count though they point there. */
struct holders_query {
    /* The stretches, as crate image and offset, lest the query itself is found. */
    const struct holders_stretch {
        const uint8_t *base;
        uint32_t rva, size;
    } * stretches;
    size_t count;
    const uint64_t *known; /* addresses of words, sorted */
    size_t known_count;
    uint64_t own_stack, own_stack_end; /* of the thread that searches: park_own_stack() */
};

/* The first pointer that was found. */
struct holder {
    bool is_fleeting; /* in a register or a stack: it may be gone soon */
    size_t stretch;   /* into which it points */
    char text[160];   /* where it is: "a register of thread 7" */
};

/* Whether anything points into the stretches. True as well if the process's memory can not be looked at. */
bool holders_find(const struct holders_query *query, struct holder *ret);

#endif
