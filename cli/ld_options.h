/* The options of ld, as GNU ld, gold and lld have them, and what becomes of each: one table. */
#ifndef CLI_LD_OPTIONS_H
#define CLI_LD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* What an option means here. */
enum ld_action {
    LD_PASS,      /* `crateld link` has it, by the name in `more` */
    LD_IGNORE,    /* changes nothing that a crate has; `more` says why */
    LD_REFUSE,    /* would change the result; `more` says what to do instead */
    LD_SHARED,    /* a library */
    LD_DELEGATE,  /* the system's ld does it */
    LD_KEYWORD,   /* -z */
    LD_EMULATION, /* -m */
    LD_FORMAT,    /* --oformat */
    LD_SYSROOT,
    LD_DYNAMIC_LINKER,
    LD_UNRESOLVED, /* --unresolved-symbols */
    LD_ENTRY,
    LD_DEFAULT, /* an option whose value must be `more`, which is how crates are anyway */
    LD_DEFINED, /* nothing may be undefined */
    LD_COLLECT, /* --gc-sections */
    LD_PRINT_MAP,
    LD_VERSION, /* prints it, and goes on if there are inputs */
    LD_ONLY_VERSION,
    LD_HELP,
    LD_REFUSED, /* prints what is refused */
    LD_FOLDER,  /* crateld's own: prints the folder for gcc's -B */
};

enum ld_value {
    LD_NO_VALUE,
    LD_VALUE,     /* --name VALUE, --name=VALUE; of a letter: -xVALUE, -x VALUE */
    LD_MAY_VALUE, /* --name, --name=VALUE */
};

struct ld_option {
    const char *name; /* without dashes; one letter: -x */
    enum ld_value value;
    enum ld_action action;
    const char *more;
};

extern const struct ld_option ld_options[];
extern const size_t ld_option_count;

/* The row for `argument` ("-soname=x", "--as-needed", "-lz"), NULL if there is none; *value is then what follows within
 * the argument, NULL for nothing. Long names may have one dash or two, as in GNU ld. */
const struct ld_option *ld_option_find(const char *argument, const char **value);

/* What `-z keyword` means: PASS, IGNORE, UNRESOLVED (which may be), DEFINED or REFUSE (then *advice says what to do); a
 * keyword that is not known is REFUSE with NULL. */
enum ld_action ld_keyword_find(const char *keyword, const char **advice);

/* Prints the options that are accepted, by what becomes of them. The others are not among them: configure scripts look
 * into an ld's help for what it has. */
void ld_options_print(void);

/* Prints the options that are refused, and what to do instead. */
void ld_options_print_refused(void);

#endif
