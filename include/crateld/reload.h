/* crateld: what a program may say about being reloaded. docs/reload.md.
 *
 *     #include <crateld/reload.h>
 *     static struct state state;
 *     CRATELD_ON_CHANGE(state, migrate);
 *
 * It costs nothing: the records are not part of the crate.
 */
#ifndef CRATELD_RELOAD_H
#define CRATELD_RELOAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRATELD_ON_CHANGE_SECTION ".crateld.on_change"

/* What becomes of the value of a variable whose type is another after a reload. */
enum crateld_on_change {
    CRATELD_ON_CHANGE_refuse = 1, /* the reload is refused; also where nothing is said */
    CRATELD_ON_CHANGE_init,       /* the variable has its new initial value */
    CRATELD_ON_CHANGE_migrate,    /* crate_migrate() makes the new value of the old one */
};

struct crateld_on_change_record {
    const volatile void *variable; /* relocated */
    uint32_t policy;               /* enum crateld_on_change */
    uint32_t reserved;
};

/* Says what becomes of the variable's value: refuse, init or migrate. Stands where the variable is known. */
#define CRATELD_ON_CHANGE(variable, policy)                                                                            \
    __attribute__((section(CRATELD_ON_CHANGE_SECTION),                                                                 \
                   used)) static const struct crateld_on_change_record crateld_on_change_of_##variable = {             \
        &(variable), CRATELD_ON_CHANGE_##policy, 0}

/* Functions that a crate may export. Nobody but crateld calls them, while the program's threads run.
 *
 * crate_migrate(): makes the new value of a variable, in `new_value`, which holds the new initial value, of a copy of
 * the old one, and returns 0; anything else refuses the reload. It is that of the new version. It may be called more
 * than once, and what it did may be given up: it must not change what the old value leads to.
 *
 * crate_reloaded(): modules of the crate have been replaced. */
#define CRATELD_MIGRATE_HOOK  "crate_migrate"
#define CRATELD_RELOADED_HOOK "crate_reloaded"
typedef int crateld_migrate_function(const char *variable, const void *old_value, size_t old_size, void *new_value,
                                     size_t new_size);
typedef void crateld_reloaded_function(void);

#ifdef __cplusplus
}
#endif

#endif
