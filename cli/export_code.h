/* The assembly of a library that `crateld export` makes, as far as it depends on the CPU. */
#ifndef CLI_EXPORT_CODE_H
#define CLI_EXPORT_CODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes a function, at the label .Lstub<i> as well: it jumps through slot `i` of .Lslots. Before that is bound it
 * leads to the label .Llazy<i>, which this writes too, and from there to .Lhead. */
void export_write_function(FILE *out, const char *name, uint32_t i);

/* Writes .Lhead, which hands the slot and .Llibrary (a struct crateld_export) to the resolver, as a crate's lazy head
 * does (toc/stubs.h). */
void export_write_head(FILE *out);

/* Writes the initialiser that opens the crate. */
void export_write_start(FILE *out);

/* Writes .Lthread_locals, a function that says where .Lblock is, the thread-locals (struct crateld_export);
 * `is_static`: at which distance from the thread pointer, which is then the same in all threads. */
void export_write_thread_locals(FILE *out, bool is_static);

#endif
