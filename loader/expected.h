/* The patch that will come next. Who makes patches for this process says what the file of the next one will be, while
 * there is nothing in it yet. So it can be mapped, near the crate that the last one was for, before anybody waits for
 * it; what is written to the file then is there, for no page of the mapping has been touched. If the patch is another
 * one after all, larger, or of another crate, it is mapped as any other. */
#ifndef LOADER_EXPECTED_H
#define LOADER_EXPECTED_H

#include "loader/process.h"

/* Maps the file at `path`, for a patch that is to come, in place of the one before. It is allowed to fail: then nothing
 * is expected. Called under the process's lock. */
void expected_open(struct process *process, const char *path);

/* Gives the mapping back, before memory is searched. None is allowed. Takes no memory. */
void expected_close(struct image_region *region);

/* Gives back what the expected patch did not need, if it has come: before its file is made shorter. Likewise. */
void expected_trim(struct image_region *region);

/* Whether the file at `path` is the expected one, and has a patch that the mapping is right for. Sets *ret, its start.
 */
bool expected_read(const struct image_region *region, const char *path, struct image_start *ret);

/* Gives the patch, whose start was read by expected_read(), its image in the mapping. */
void expected_take(struct image_region *region, const struct crate_header *header, struct loaded_crate *patch);

#endif
