#include "cli/operand.h"

#include "base/file.h"
#include "crate/reader.h"

enum operand_kind operand_kind_of(const char *path)
{
    struct file file = {0};
    struct crate_header header = {0};
    struct crateld_error *error = file_open(path, &file);
    if (!error)
        error = crate_header_read(path, file.data, file.data.size, &header);
    enum operand_kind kind = error ? OPERAND_MODULE : header.flags & CRATE_FLAG_PATCH ? OPERAND_PATCH : OPERAND_CRATE;
    file_close(&file);
    crateld_error_destroy(error);
    return kind;
}
