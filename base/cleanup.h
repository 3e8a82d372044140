/* Cleanup attributes: what a scope owns is released when the scope ends, unless it was stolen. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* A malloc'ed pointer that dies with its scope. */
#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
/* A file descriptor that is closed with its scope; -1 is none. */
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))

/* Takes the pointer out of the variable at `place`, leaving NULL. */
#define STEAL_PTR(place)                                                                                               \
    ({                                                                                                                 \
        __typeof__(place) stolen_ = (place);                                                                           \
        (place) = NULL;                                                                                                \
        stolen_;                                                                                                       \
    })

#endif
