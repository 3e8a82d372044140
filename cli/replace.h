/* Replacing modules of a running process. */
#ifndef CLI_REPLACE_H
#define CLI_REPLACE_H

#include "base/file.h"
#include "cli/client.h"
#include "reloc/relink_reader.h"

/* A process whose crates are known, so that modules can be replaced one after the other. */
struct replace_target {
    struct client client;
    struct client_crates crates; /* owned */
};

/* Asks the process for its crates. Errors: those of client_list(). */
MUST_CHECK struct crateld_error *replace_open(pid_t id, struct replace_target *ret);
void replace_close(struct replace_target *target);

/* The relink section of a crate of the process. */
struct replace_relink {
    struct file file; /* owned */
    struct relink_view view;
    bool is_there;
};

/* Opens it; *ret is empty if the crate has none. Close it in any case. Errors: FORMAT, IO. */
MUST_CHECK struct crateld_error *replace_open_relink(const struct client_crate *crate, struct replace_relink *ret);

/* Makes patches of `modules` (as diff_modules() takes them), one for each crate that has any, and has the process put
 * them into effect together; with `is_trial` only asks whether it could. Errors: those of making patches; NOT_FOUND (no
 * crate, or several, have such a module); what the process says. */
MUST_CHECK struct crateld_error *replace_modules(const struct replace_target *target, char *const *modules,
                                                 bool is_trial, struct control_report *ret);

/* Prints the report of a reload of `modules`, a line. `what` is what was done: "reloaded". */
void replace_print(const char *what, const struct control_report *report, uint64_t total_ns);

/* Removes what processes of the same user left that have ended. */
void replace_clean(const struct client *client);

#endif
