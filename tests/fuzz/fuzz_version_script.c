/* Version scripts and dynamic lists: the same bytes as both, then questions. */
#include <stdlib.h>

#include "linker/version_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(struct crateld_error *error, struct version_script *script)
{
    static const char *const names[] = {"f", "gg", "_ZN2ns1fEi", "", "k1", "_ZN"};
    if (!error)
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            version_script_scope(script, names[i]);
    crateld_error_destroy(error);
    version_script_destroy(script);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = {data, size};
    struct version_script *script, *list;
    if (version_script_create(&script) || version_script_create(&list))
        abort();
    ask(version_script_add(script, text, "x.map"), script);
    ask(version_script_add_dynamic_list(list, text, "x.list"), list);
    return 0;
}
