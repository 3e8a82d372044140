#define _GNU_SOURCE
#include "loader/low.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/image.h"
#include "loader/log.h"
#include "loader/resolve.h"

#ifndef CRATELD_LOW

#define LOW_LIMIT (UINT64_C(1) << 31)

/* Whether the crate lies in the low 2 GiB, by itself or with a crate that has to, and refers from there to an ELF
 * library's symbol. */
static struct crateld_error *needs_twin(struct loaded_crate *crate, bool *ret)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_FIXUPS);
    *ret = false;
    if (!count || (uint64_t)(uintptr_t)crate->base >= LOW_LIMIT)
        return NULL;
    TRY(image_look(crate));
    for (uint32_t i = 0; i < count && !*ret; i++) {
        struct crate_fixup fixup;
        struct crate_import import;
        TRY(crate_view_fixup(&crate->view, i, &fixup));
        if (fixup.import == CRATE_NONE || fixup.kind == CRATE_FIXUP_TPOFF32)
            continue;
        TRY(crate_view_import(&crate->view, fixup.import, &import));
        *ret = resolve_library(crate, &import) != NULL;
    }
    return NULL;
}

/* Executes the twin in `folder`, which is relative to this program's; returns only if that is not possible. */
static void execute_twin(const char *folder, const struct start_args *args)
{
    char self[PATH_MAX], path[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return;
    self[length] = 0;
    char *slash = strrchr(self, '/');
    snprintf(path, sizeof path, "%.*s/%scrateld-low", slash ? (int)(slash - self) : 0, self, folder);
    execve(path, args->own_argv, args->envp);
}

/* Executes the twin with the arguments that this program got. In the build folder it stands beside this program. */
static struct crateld_error *hand_over(const struct loaded_crate *crate, const struct start_args *args)
{
    LOG(LOG_LOAD, "%s: addresses variables of ELF libraries with 32 bits: handing over to crateld-low", crate->path);
    execute_twin("", args);
    if (errno == ENOENT)
        execute_twin(CRATELD_TOOL_FOLDER "/", args);
    return error_errno(errno,
                       "%s: addresses variables of ELF libraries with 32 bits (-fno-pie), which needs crateld-low",
                       crate->path);
}

struct crateld_error *low_check(struct process *process, const struct start_args *args)
{
    for (size_t i = 0; i < process->crates.count; i++) {
        bool needs = false;
        TRY(needs_twin(process->crates.at[i], &needs));
        if (needs)
            return hand_over(process->crates.at[i], args);
    }
    return NULL;
}

#else

struct crateld_error *low_check(struct process *process, const struct start_args *args)
{
    (void)process;
    (void)args;
    return NULL;
}

#endif
