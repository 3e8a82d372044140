#define _GNU_SOURCE
#include "base/runtime_folder.h"

#include <stdio.h>
#include <sys/statvfs.h>

/* A folder for temporary files: in memory, if programs may be run from there. */
static const char *temporary_folder(void)
{
    static const char memory[] = "/dev/shm";
    struct statvfs status;
    bool is_good = statvfs(memory, &status) == 0 && !(status.f_flag & (ST_NOEXEC | ST_RDONLY));
    return is_good ? memory : "/tmp";
}

bool control_path(const char *runtime_folder, unsigned user, int id, char path[CONTROL_PATH_SIZE],
                  size_t *folder_length)
{
    char folder[CONTROL_PATH_SIZE];
    bool has_folder = runtime_folder && *runtime_folder == '/';
    int length = has_folder ? snprintf(folder, sizeof folder, "%s/crateld", runtime_folder)
                            : snprintf(folder, sizeof folder, "%s/crateld-%u", temporary_folder(), user);
    if (length < 0 || length >= CONTROL_PATH_SIZE)
        return false;
    *folder_length = (size_t)length;
    length = snprintf(path, CONTROL_PATH_SIZE, "%s/%d", folder, id);
    return length > 0 && length < CONTROL_PATH_SIZE;
}
