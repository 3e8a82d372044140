/* Where the control sockets of processes are, and what else lives as long as a process. */
#ifndef BASE_RUNTIME_FOLDER_H
#define BASE_RUNTIME_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

enum { CONTROL_PATH_SIZE = 108 }; /* of struct sockaddr_un */

/* Writes the path of the socket of process `id`, run by user `user` with `runtime_folder` as $XDG_RUNTIME_DIR (NULL:
 * unset), into `path`, and the length of its folder's path into *folder_length; false if it is too long. */
bool control_path(const char *runtime_folder, unsigned user, int id, char path[CONTROL_PATH_SIZE],
                  size_t *folder_length);

#endif
