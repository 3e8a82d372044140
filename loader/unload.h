/* Unloading crates: what dlopen() has loaded goes again when dlclose() was called as often, and nothing needs it.
 *
 * A crate stays while it is held, while a crate that stays needs it, and for good if others than crates may refer to
 * it: ELF libraries to its exports, threads to its thread-locals, the process to its copy of a vague definition,
 * patches to its insides. Patches go when nobody can come back to them (loader/retire.h). Who keeps a pointer into a
 * crate by other means has to see to it himself, as with any library. */
#ifndef LOADER_UNLOAD_H
#define LOADER_UNLOAD_H

#include "loader/loaded.h"

/* Holds the crate. Called under the process's lock. */
void unload_hold(struct loaded_crate *crate);

/* Lets go of it once, and unloads what nothing keeps any more: finalisers run, those of crates that need others first;
 * then the images are unmapped. Takes the locks. The caller's code must not be part of it. */
void unload_release(struct loaded_crate *crate);

/* Unmaps a superseded patch that nothing refers to, but for its read-only data if `keeps_constants`, and forgets it;
 * its base's record does not have it any more. Called under the process's lock. */
void unload_patch(struct loaded_crate *patch, bool keeps_constants);

#endif
