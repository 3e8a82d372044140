#include "loader/current.h"

static struct process *the_process;    /* borrowed */
static struct loaded_crate *the_entry; /* borrowed */

struct process *current_process(void)
{
    return the_process;
}

struct loaded_crate *current_entry(void)
{
    return the_entry;
}

void current_set(struct process *process, struct loaded_crate *entry)
{
    the_process = process;
    the_entry = entry;
}
