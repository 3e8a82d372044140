/* What is named where modules are: an object, or a patch or crate that has been made already. */
#ifndef CLI_OPERAND_H
#define CLI_OPERAND_H

#include "base/error.h"

enum operand_kind {
    OPERAND_MODULE, /* anything else: what it is is found out later */
    OPERAND_PATCH,
    OPERAND_CRATE,
};

/* By the file's first bytes, if there is one. */
enum operand_kind operand_kind_of(const char *path);

#endif
