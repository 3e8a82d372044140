/* What a process that runs crates and those who ask something of it say to each other: packets over a Unix socket, a
 * header each. Both are of one machine and of one user, and maybe of different versions. */
#ifndef LOADER_CONTROL_FORMAT_H
#define LOADER_CONTROL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/statvfs.h>

#define CONTROL_MAGIC UINT32_C(0x6c727463) /* "ctrl" */

enum {
    CONTROL_VERSION = 1,
    CONTROL_MAX_SIZE = 64 << 10, /* bytes of a packet */
};

enum control_kind {
    /* Requests. */
    CONTROL_LIST,     /* of the crates that can be reloaded; answered by CRATE for each, then DONE */
    CONTROL_RELOAD,   /* payload: absolute paths of patches, each with its NUL, that come into effect together; if it is
                         done they are the process's own, to be removed */
    CONTROL_CHECK,    /* the same, without coming into effect */
    CONTROL_ROLLBACK, /* takes the last reload back */
    /* Answers: any number of CRATE and TEXT, then DONE or ERROR. */
    CONTROL_CRATE, /* payload: struct control_crate, name, path; with the descriptor of its file */
    CONTROL_DONE,  /* payload: struct control_report */
    CONTROL_ERROR, /* payload: the message */
};

struct control_header {
    uint32_t magic;
    uint16_t version;
    uint16_t kind; /* enum control_kind */
};

struct control_crate {
    uint8_t build_id[16];
};

/* What was done: see struct patch_report. */
struct control_report {
    uint32_t modules, functions, variables_set, variables_kept, variables_grown, relocations, users, pages;
    uint64_t plan_ns, pause_ns;
};

enum { CONTROL_PATH_SIZE = 108 }; /* of struct sockaddr_un */

/* A folder for what lives as long as a process, patches among it: in memory, where programs may be run from it. */
static inline const char *control_temporary_folder(void)
{
    static const char memory[] = "/dev/shm";
    struct statvfs status;
    bool is_good = statvfs(memory, &status) == 0 && !(status.f_flag & (ST_NOEXEC | ST_RDONLY));
    return is_good ? memory : "/tmp";
}

/* Writes the path of the socket of process `id`, run by user `user` with `runtime_folder` as $XDG_RUNTIME_DIR (NULL:
 * unset), into `path`, and the length of its folder's path into *folder_length; false if it is too long. */
static inline bool control_path(const char *runtime_folder, unsigned user, int id, char path[CONTROL_PATH_SIZE],
                                size_t *folder_length)
{
    char folder[CONTROL_PATH_SIZE];
    bool has_folder = runtime_folder && *runtime_folder == '/';
    int length = has_folder ? snprintf(folder, sizeof folder, "%s/crateld", runtime_folder)
                            : snprintf(folder, sizeof folder, "%s/crateld-%u", control_temporary_folder(), user);
    if (length < 0 || length >= CONTROL_PATH_SIZE)
        return false;
    *folder_length = (size_t)length;
    length = snprintf(path, CONTROL_PATH_SIZE, "%s/%d", folder, id);
    return length > 0 && length < CONTROL_PATH_SIZE;
}

#endif
