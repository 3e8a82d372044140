#define _GNU_SOURCE
#include "loader/debugger.h"

#include <limits.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "loader/export_object.h"
#include "loader/process.h"

/* GDB's JIT interface. It is here for one thing: a debugger that attends to this process puts a break point on the
 * function, and so can be noticed without a system call. */
enum { JIT_VERSION = 1 };
struct jit_descriptor {
    uint32_t version, action;
    void *relevant, *first;
};
__attribute__((visibility("default"))) struct jit_descriptor __jit_debug_descriptor = {.version = JIT_VERSION};
__attribute__((visibility("default"))) void __jit_debug_register_code(void);
extern const unsigned char jit_first_byte[];
__asm__(".pushsection .text\n"
        ".globl __jit_debug_register_code, jit_first_byte\n"
        ".hidden jit_first_byte\n"
        ".type __jit_debug_register_code, @function\n"
        "__jit_debug_register_code:\n"
        "jit_first_byte: nop\n"
        "ret\n"
        ".size __jit_debug_register_code, . - __jit_debug_register_code\n"
        ".popsection");
enum { NOP = 0x90 };

/* Our namespace. */
static struct r_debug_extended ours;
static struct link_map *last;

/* ld.so's struct r_debug, by the program's own DT_DEBUG entry: its symbol may be a copy in this program. */
static struct r_debug_extended *find_theirs(void)
{
    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_DEBUG)
            return (struct r_debug_extended *)(uintptr_t)entry->d_un.d_ptr;
    }
    return NULL;
}

/* Appends our namespace to the chain, as ld.so does with those that dlmopen makes. */
static void chain(void)
{
    struct r_debug_extended *theirs = find_theirs(), *end;
    if (!theirs)
        return;
    ours.base.r_version = 2;
    ours.base.r_brk = theirs->base.r_brk;
    ours.base.r_ldbase = theirs->base.r_ldbase;
    bool is_extended = theirs->base.r_version >= 2;
    for (end = theirs; is_extended && end->r_next; end = end->r_next)
        ;
    __atomic_store_n(&end->r_next, &ours, __ATOMIC_RELEASE);
    __atomic_store_n(&theirs->base.r_version, 2, __ATOMIC_RELEASE);
}

/* The crate's path as debuggers want it: absolute, since they may have another working folder than `folder`. No printf:
 * its code is not needed otherwise at start. */
static char *absolute_path(struct loaded_crate *crate, const char *folder)
{
    size_t folder_length = strlen(folder), length = strlen(crate->path);
    const char *before = crate->absolute_path;
    if (*crate->path == '/')
        return (char *)crate->path;
    if (before && strlen(before) == folder_length + 1 + length && !memcmp(before, folder, folder_length))
        return (char *)before;
    char *path = arena_alloc(&crate->process->arena, folder_length + 1 + length + 1);
    if (!path)
        return (char *)crate->path;
    memcpy(path, folder, folder_length);
    path[folder_length] = '/';
    memcpy(path + folder_length + 1, crate->path, length + 1);
    crate->absolute_path = path;
    return path;
}

/* Enters the crate's link map, which has a name, into the list. */
static void append(struct loaded_crate *crate)
{
    struct link_map *map = &crate->link_map;
    map->l_prev = last;
    crate->is_shown = true;
    if (last)
        last->l_next = map;
    else
        ours.base.r_map = map;
    if (!last)
        chain();
    last = map;
}

static void show(struct loaded_crate *crate, const char *folder)
{
    crate->link_map = (struct link_map){
        .l_addr = loaded_address(crate, 0) - crate->view.header.preferred_base,
        .l_name = absolute_path(crate, folder),
    };
    if (crate->is_mapped)
        append(crate);
}

void debugger_show(struct process *process)
{
    char folder[PATH_MAX];
    if (!getcwd(folder, sizeof folder))
        *folder = 0;
    for (size_t i = 0; i < process->crates.count; i++) {
        if (!process->crates.at[i]->link_map.l_name)
            show(process->crates.at[i], folder);
    }
}

void debugger_show_late(struct loaded_crate *crate)
{
    if (!crate->link_map.l_name)
        return;
    append(crate);
    debugger_notify();
}

bool debugger_is_watching(void)
{
    return *(const volatile unsigned char *)jit_first_byte != NOP;
}

void debugger_hide(struct loaded_crate *crate)
{
    struct link_map *map = &crate->link_map;
    map->l_name = NULL;
    if (!crate->is_shown)
        return;
    crate->is_shown = false;
    if (map->l_prev)
        map->l_prev->l_next = map->l_next;
    else
        ours.base.r_map = map->l_next;
    if (map->l_next)
        map->l_next->l_prev = map->l_prev;
    else
        last = map->l_prev;
}

void debugger_notify(void)
{
    if (!debugger_is_watching())
        return;
    /* gdb looks at ld.so's probes, and reads the lists of all namespaces anew only after something was unmapped. */
    export_object_cycle();
}

struct link_map *debugger_link_map(const struct loaded_crate *crate)
{
    return crate->link_map.l_name ? (struct link_map *)&crate->link_map : NULL;
}
