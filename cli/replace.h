/* Replacing modules of a running process. */
#ifndef CLI_REPLACE_H
#define CLI_REPLACE_H

#include "base/file.h"
#include "cli/client.h"
#include "cli/diff.h"
#include "cli/on_change.h"
#include "linker/patch.h"

/* A process whose crates are known, so that modules can be replaced one after the other. */
struct replace_target {
    struct client client;
    struct client_crates crates; /* owned */
    struct link_base *bases;     /* owned; the crates, opened; those without a relink section have no file */
    struct output_file spare;    /* for the next patch; without a path: there is none yet */
    size_t spare_room;           /* bytes that it is to have */
    uid_t other_user;            /* who may read it: client_other_user() */
    bool is_never_told;          /* the process does not want to know of it */
    struct on_change changes;    /* of variables, in the next patches */
};

/* Asks the process for its crates, and opens them. Close it in any case. Errors: those of client_list(), and of opening
 * crates. */
MUST_CHECK struct crateld_error *replace_open(pid_t id, struct replace_target *ret);
void replace_close(struct replace_target *target);

/* Makes what the next patch needs, ahead of time. */
MUST_CHECK struct crateld_error *replace_prepare(struct replace_target *target);

/* Tells the process what the next patch's file will be, so that it can prepare as well. One that does not understand
 * does without. */
void replace_announce(struct replace_target *target);

/* Makes patches of `count` modules, one for each crate that has any, and has the process put them into effect together;
 * with `is_trial` only asks whether it could. Errors: those of making patches; NOT_FOUND (no crate, or several, have
 * such a module); what the process says. */
MUST_CHECK struct crateld_error *replace_modules(struct replace_target *target, const struct diff_module *modules,
                                                 size_t count, bool is_trial, struct control_report *ret);

/* Prints the report of a reload of `modules`, a line. `what` is what was done: "reloaded". */
void replace_print(const char *what, const struct control_report *report, uint64_t total_ns);

/* Removes what processes of the same user left that have ended. */
void replace_clean(const struct client *client);

#endif
