#define _GNU_SOURCE
#include "loader/low.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/log.h"

#ifndef CRATELD_LOW

/* Whether the crate lies in the low 2 GiB and refers from there to an ELF library's symbol. */
static struct crateld_error *needs_twin(const struct loaded_crate *crate, bool *ret)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_FIXUPS);
    *ret = false;
    if (!(crate->view.header.flags & CRATE_FLAG_LOW))
        return NULL;
    for (uint32_t i = 0; i < count && !*ret; i++) {
        struct crate_fixup fixup;
        struct crate_import import;
        TRY(crate_view_fixup(&crate->view, i, &fixup));
        if (fixup.import == CRATE_NONE || fixup.kind == CRATE_FIXUP_TPOFF32)
            continue;
        TRY(crate_view_import(&crate->view, fixup.import, &import));
        *ret = import.needed != CRATE_NONE && crate->needed[import.needed].library;
    }
    return NULL;
}

/* Executes the twin with the arguments that this program got. */
static struct crateld_error *hand_over(const struct loaded_crate *crate, const struct start_args *args)
{
    const char *twin = secure_getenv("CRATELD_LOW");
    if (!twin)
        twin = CRATELD_LOW_PATH;
    LOG(LOG_LOAD, "%s: addresses variables of ELF libraries with 32 bits: handing over to %s", crate->path, twin);
    execve(twin, args->own_argv, args->envp);
    return error_errno(errno, "%s: addresses variables of ELF libraries with 32 bits (-fno-pie), which needs %s",
                       crate->path, twin);
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
