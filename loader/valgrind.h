/* Whether this program runs under Valgrind, which reads the symbols of files only when their text is mapped executable,
 * not when it is made so later. */
#ifndef LOADER_VALGRIND_H
#define LOADER_VALGRIND_H

#include <stdbool.h>

/* A few instructions. */
bool valgrind_is_running(void);

#endif
