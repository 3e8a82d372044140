/* What the server and its handler share. */
#ifndef EXAMPLES_HANDLER_H
#define EXAMPLES_HANDLER_H

#include <stddef.h>

/* Writes the answer to one line into `answer`, of `room` bytes; its length. */
size_t answer_line(const char *line, char *answer, size_t room);

#endif
