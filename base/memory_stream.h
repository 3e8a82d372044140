/* Text that is put together by stdio: open_memstream() and its end. */
#ifndef BASE_MEMORY_STREAM_H
#define BASE_MEMORY_STREAM_H

#include <stdbool.h>
#include <stdio.h>

/* Closes a stream of open_memstream(), whose buffer is *text from then on; false if memory ran out on the way. glibc's
 * fclose() alone does not tell: it forgets earlier errors, and leaves NULL as *text when the last growth failed. */
static inline bool memory_stream_close(FILE *stream, char *const *text)
{
    bool is_complete = !ferror(stream);
    return !fclose(stream) && is_complete && *text;
}

#endif
