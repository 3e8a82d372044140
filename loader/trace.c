#define _GNU_SOURCE
#include "loader/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SIZE = 1024 };

/* What was seen of a crate. */
struct seen {
    const struct loaded_crate *crate; /* borrowed while it is in the process */
    char *path;                       /* owned */
    uint64_t device, inode;           /* a record may become another crate's */
    uint8_t *base;
    bool is_active, is_there;
    bool *is_bound;          /* owned; for each import */
    bool *is_active_version; /* owned; of a patch, for each module */
    uint32_t import_count, module_count;
};

struct trace {
    VEC(struct seen) crates;
};

/* Where to say what happens. */
struct listener {
    void (*tell)(void *context, const char *line); /* NULL: nothing is said */
    void *context;
};

static void say(const struct listener *listener, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const struct listener *listener, const char *what, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;
    int length = snprintf(line, sizeof line, "%-11s ", what);
    if (!listener->tell)
        return;
    va_start(arguments, format);
    vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
    va_end(arguments);
    listener->tell(listener->context, line);
}

static void release(struct seen *seen)
{
    free(seen->path);
    free(seen->is_bound);
    free(seen->is_active_version);
}

void trace_destroy(struct trace *trace)
{
    if (!trace)
        return;
    for (size_t i = 0; i < trace->crates.count; i++)
        release(&trace->crates.at[i]);
    free(trace->crates.at);
    free(trace);
}

static bool is_patch(const struct loaded_crate *crate)
{
    return crate->view.header.flags & CRATE_FLAG_PATCH;
}

static bool is_seen(const struct seen *seen, const struct loaded_crate *crate)
{
    return seen->crate == crate && seen->device == crate->device && seen->inode == crate->inode &&
           seen->base == crate->base;
}

static struct crateld_error *add(struct trace *trace, const struct loaded_crate *crate, struct seen **ret)
{
    struct seen seen = {
        .crate = crate,
        .path = strdup(crate->path),
        .device = crate->device,
        .inode = crate->inode,
        .base = crate->base,
        .import_count = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS),
        .module_count = is_patch(crate) ? crate_view_count(&crate->view, CRATE_TABLE_MODULES) : 0,
    };
    seen.is_bound = calloc(seen.import_count + UINT64_C(1), sizeof *seen.is_bound);
    seen.is_active_version = calloc(seen.module_count + UINT64_C(1), sizeof *seen.is_active_version);
    if (!seen.path || !seen.is_bound || !seen.is_active_version || !VEC_PUSH(&trace->crates, seen)) {
        release(&seen);
        return error_memory();
    }
    *ret = &trace->crates.at[trace->crates.count - 1];
    return NULL;
}

/* Crates. */

static struct crateld_error *find(struct trace *trace, const struct loaded_crate *crate,
                                  const struct listener *listener, struct seen **ret)
{
    for (size_t i = 0; i < trace->crates.count; i++)
        if (is_seen(&trace->crates.at[i], crate)) {
            *ret = &trace->crates.at[i];
            return NULL;
        }
    TRY(add(trace, crate, ret));
    if (!is_patch(crate))
        say(listener, "loaded", "%s", crate->path);
    return NULL;
}

static void forget_gone(struct trace *trace, const struct listener *listener)
{
    size_t kept = 0;
    for (size_t i = 0; i < trace->crates.count; i++) {
        struct seen *seen = &trace->crates.at[i];
        if (seen->is_there) {
            trace->crates.at[kept++] = *seen;
            continue;
        }
        if (!seen->module_count)
            say(listener, "unloaded", "%s", seen->path);
        release(seen);
    }
    trace->crates.count = kept;
}

/* Bindings. */

/* Whether the slot leads to something else than a stub of its own crate that is to bind it. */
static bool is_bound(const struct loaded_crate *crate, uint32_t slot)
{
    uint64_t entry = __atomic_load_n(&loaded_function_slots(crate)[slot].entry, __ATOMIC_RELAXED);
    return entry - loaded_address(crate, 0) >= crate->view.header.image_size;
}

static struct crateld_error *look_at_imports(struct seen *seen, const struct loaded_crate *crate,
                                             const struct listener *listener)
{
    for (uint32_t i = 0; i < seen->import_count; i++) {
        struct crate_import import;
        TRY(crate_view_import(&crate->view, i, &import));
        if (import.kind > CRATE_IMPORT_CALL_TOC)
            break; /* those that are called come first */
        if (seen->is_bound[i] || !is_bound(crate, i))
            continue;
        seen->is_bound[i] = true;
        say(listener, "bound", "%s: %s of %s", crate->path, crate_view_string(&crate->view, import.name),
            import.needed == CRATE_NONE ? "whoever has it" : crate->needed[import.needed].name);
    }
    return NULL;
}

/* Versions. */

static void look_at_versions(struct seen *seen, const struct loaded_crate *patch, const struct listener *listener)
{
    for (uint32_t i = 0; i < seen->module_count && patch->is_active_module; i++) {
        const struct crate_module *module = &patch->view.modules[i];
        const char *member = crate_view_string(&patch->view, module->member);
        if (seen->is_active_version[i] == patch->is_active_module[i])
            continue;
        seen->is_active_version[i] = patch->is_active_module[i];
        say(listener, seen->is_active_version[i] ? "in effect" : "superseded", "%s: %s%s%s%s (%s)",
            patch->needed[0].crate->path, crate_view_string(&patch->view, module->path), *member ? "(" : "", member,
            *member ? ")" : "", patch->name);
    }
}

static struct crateld_error *look(struct trace *trace, struct process *process, const struct listener *listener)
{
    for (size_t i = 0; i < trace->crates.count; i++)
        trace->crates.at[i].is_there = false;
    for (size_t i = 0; i < process->crates.count; i++) {
        const struct loaded_crate *crate = process->crates.at[i];
        struct seen *seen = NULL;
        TRY(find(trace, crate, listener, &seen));
        seen->is_there = true;
        if (is_patch(crate))
            look_at_versions(seen, crate, listener);
        if (!loaded_is_active(crate))
            continue;
        if (!seen->is_active && !is_patch(crate))
            say(listener, "active", "%s", crate->path);
        seen->is_active = true;
        TRY(look_at_imports(seen, crate, listener));
    }
    forget_gone(trace, listener);
    return NULL;
}

struct crateld_error *trace_create(struct process *process, struct trace **ret)
{
    struct trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return error_memory();
    struct crateld_error *error = look(trace, process, &(struct listener){0});
    if (error)
        trace_destroy(trace);
    else
        *ret = trace;
    return error;
}

struct crateld_error *trace_step(struct trace *trace, struct process *process,
                                 void (*tell)(void *context, const char *line), void *context)
{
    return look(trace, process, &(struct listener){tell, context});
}
