#define _GNU_SOURCE
#include "loader/control_request.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/vec.h"
#include "crateld/reload.h"
#include "loader/control_format.h"
#include "loader/debugger.h"
#include "loader/expected.h"
#include "loader/guard.h"
#include "loader/hooks.h"
#include "loader/log.h"
#include "loader/pages.h"
#include "loader/patch.h"
#include "loader/retire.h"
#include "loader/starters.h"
#include "loader/trial.h"
#include "loader/versions.h"

/* Answers. */

static void send_packet(int client, enum control_kind kind, const void *payload, size_t size, int descriptor)
{
    struct control_header header = {CONTROL_MAGIC, CONTROL_VERSION, (uint16_t)kind};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)payload, size}};
    _Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof descriptor)] = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (descriptor >= 0) {
        message.msg_control = space;
        message.msg_controllen = sizeof space;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    /* Who does not wait for the answer does not get it. */
    (void)!sendmsg(client, &message, MSG_NOSIGNAL);
}

static void send_error(int client, struct crateld_error *error)
{
    const char *text = crateld_error_message(error);
    size_t size = strlen(text), max = CONTROL_MAX_SIZE / 2;
    bool is_incomplete = crateld_error_code(error) == CRATELD_ERROR_UNDEFINED;
    send_packet(client, is_incomplete ? CONTROL_INCOMPLETE : CONTROL_ERROR, text, size < max ? size : max, -1);
    crateld_error_destroy(error);
}

/* Requests. */

/* Patches of the crate that were loaded. */
static uint32_t count_patches(const struct loaded_crate *crate)
{
    const struct process *process = crate->process;
    uint32_t count = 0;
    for (size_t i = 0; i < process->crates.count; i++)
        count += process->crates.at[i]->view.header.flags & CRATE_FLAG_PATCH &&
                 process->crates.at[i]->needed[0].crate == crate;
    return count;
}

static struct crateld_error *send_crate(int client, const struct loaded_crate *crate)
{
    struct control_crate record = {.patch_count = count_patches(crate)};
    size_t name = strlen(crate->name) + 1, path = strlen(crate->path) + 1;
    memcpy(record.build_id, crate->view.header.build_id, sizeof record.build_id);
    char *payload AUTO_FREE = malloc(sizeof record + name + path);
    if (!payload)
        return error_memory();
    memcpy(payload, &record, sizeof record);
    memcpy(payload + sizeof record, crate->name, name);
    memcpy(payload + sizeof record + name, crate->path, path);
    bool has_relink = crate->view.header.flags & CRATE_FLAG_HAS_RELINK;
    send_packet(client, CONTROL_CRATE, payload, sizeof record + name + path, has_relink ? crate->fd : -1);
    return NULL;
}

static struct crateld_error *list_crates(struct process *process, int client)
{
    for (size_t i = 0; i < process->crates.count; i++)
        if (!(process->crates.at[i]->view.header.flags & CRATE_FLAG_PATCH))
            TRY(send_crate(client, process->crates.at[i]));
    struct control_report nothing = {0};
    send_packet(client, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return NULL;
}

struct patch_list {
    VEC(struct loaded_crate *) patches;
};

/* Loads the patches whose paths are in `text`. */
static struct crateld_error *load_patches(struct process *process, const char *text, size_t size,
                                          struct patch_list *list)
{
    if (!size || text[size - 1])
        return error_create(CRATELD_ERROR_FORMAT, "a request without the paths of patches");
    for (const char *path = text; path < text + size; path += strlen(path) + 1) {
        struct loaded_crate *patch = NULL;
        if (*path != '/')
            return error_create(CRATELD_ERROR_FORMAT, "%s: the path of a patch is to be absolute", path);
        TRY(patch_load(process, path, &patch));
        patch->is_file_ours |= !strcmp(patch->path, path);
        if (strcmp(patch->path, path) != 0)
            (void)unlink(path); /* an earlier one has the same contents */
        if (!VEC_PUSH(&list->patches, patch))
            return error_memory();
    }
    return NULL;
}

static void run_starters(void *patch)
{
    starters_run(patch);
}

static void run_hook(void *address)
{
    ((crateld_reloaded_function *)(uintptr_t) * (const uint64_t *)address)();
}

/* Calls code of the program's; if it faults, it is given up, and the program is told. */
static void call(const struct loaded_crate *base, const char *what, void (*function)(void *), void *argument)
{
    int signal_number;
    if (!guard_call(function, argument, &signal_number))
        log_print("%s: %s: %s", base->path, what, strsignal(signal_number));
}

/* What is to be run of the program's own when modules were replaced: first initialisers, then what the crates want to
 * be called then, by name. */
static void run_code(struct process *process, struct loaded_crate *const *patches, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (crate_view_count(&patches[i]->view, CRATE_TABLE_STARTERS))
            call(patches[i]->needed[0].crate, "initialisers", run_starters, patches[i]);
    for (size_t i = 0; i < count; i++) {
        process_lock(process);
        uint64_t hook = hooks_find(patches[i]->needed[0].crate, CRATELD_RELOADED_HOOK);
        process_unlock(process);
        if (hook)
            call(patches[i]->needed[0].crate, CRATELD_RELOADED_HOOK "()", run_hook, &hook);
    }
}

static void send_report(int client, const struct patch_report *report, uint64_t total_ns)
{
    struct control_report reply = {
        report->modules,        report->functions,       report->variables_set,
        report->variables_kept, report->variables_grown, report->relocations,
        report->users,          report->pages,           total_ns - report->pause_ns,
        report->pause_ns,
    };
    send_packet(client, CONTROL_DONE, &reply, sizeof reply, -1);
}

/* Under the lock; *list is what was loaded, *report what was done. */
static struct crateld_error *reload(struct process *process, const char *text, size_t size, bool is_trial,
                                    struct patch_list *list, struct patch_report *report)
{
    struct crateld_error *error = load_patches(process, text, size, list);
    if (!error && !is_trial)
        trial_begin(list->patches.at, list->patches.count);
    if (!error)
        error = patch_commit(list->patches.at, list->patches.count, is_trial, report);
    for (size_t i = list->patches.count; error && i > 0; i--)
        patch_drop(list->patches.at[i - 1]);
    if (!error && !is_trial) {
        debugger_show(process);
        debugger_notify();
    }
    return error;
}

static struct crateld_error *serve_reload(struct process *process, int client, const char *text, size_t size,
                                          bool is_trial)
{
    struct patch_list list = {0};
    struct patch_report report = {0};
    uint64_t start = clock_nanoseconds();
    process_lock(process);
    struct crateld_error *error = reload(process, text, size, is_trial, &list, &report);
    process_unlock(process);
    if (!error)
        send_report(client, &report, clock_nanoseconds() - start);
    process_lock(process);
    expected_trim(&process->region);
    process_unlock(process);
    if (!error && !is_trial)
        run_code(process, list.patches.at, list.patches.count);
    free(list.patches.at);
    return error;
}

static struct crateld_error *serve_rollback(struct process *process, int client)
{
    struct patch_report report = {0};
    uint64_t start = clock_nanoseconds();
    process_lock(process);
    struct crateld_error *error = patch_rollback(process, &report);
    process_unlock(process);
    if (!error)
        send_report(client, &report, clock_nanoseconds() - start);
    return error;
}

static struct crateld_error *serve_list(struct process *process, int client)
{
    process_lock(process);
    struct crateld_error *error = list_crates(process, client);
    process_unlock(process);
    return error;
}

static void send_line(void *context, const char *line)
{
    send_packet(*(const int *)context, CONTROL_TEXT, line, strlen(line), -1);
}

/* Makes what the next reload will need, while nobody waits for it. */
static struct crateld_error *serve_expect(struct process *process, int client, const char *path, size_t size)
{
    struct control_report nothing = {0};
    if (!size || *path != '/' || strnlen(path, size) != size - 1)
        return error_create(CRATELD_ERROR_FORMAT, "a request without the absolute path of a patch");
    process_lock(process);
    expected_open(process, path);
    pages_make_room();
    process_unlock(process);
    send_packet(client, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return NULL;
}

static struct crateld_error *serve_retained(struct process *process, int client)
{
    struct control_report nothing = {0};
    process_lock(process);
    retire_tell(process, send_line, &client);
    process_unlock(process);
    send_packet(client, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return NULL;
}

static struct crateld_error *serve_trace(struct process *process, int client, struct trace **trace)
{
    struct control_report nothing = {0};
    process_lock(process);
    struct crateld_error *error =
        *trace ? trace_step(*trace, process, send_line, &client) : trace_create(process, trace);
    process_unlock(process);
    if (!error)
        send_packet(client, CONTROL_DONE, &nothing, sizeof nothing, -1);
    return error;
}

static struct crateld_error *serve_request(struct process *process, int client, struct trace **trace,
                                           const char *packet, size_t size)
{
    struct control_header header;
    if (size < sizeof header || size > CONTROL_MAX_SIZE)
        return error_create(CRATELD_ERROR_FORMAT, "a request of %zu bytes; wanted %zu to %d", size, sizeof header,
                            CONTROL_MAX_SIZE);
    memcpy(&header, packet, sizeof header);
    if (header.magic != CONTROL_MAGIC)
        return error_create(CRATELD_ERROR_FORMAT, "what came is no request");
    if (header.version != CONTROL_VERSION)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "the process speaks version %d of the control protocol, and was asked in version %u: use "
                            "the crateld that runs it",
                            CONTROL_VERSION, header.version);
    packet += sizeof header;
    size -= sizeof header;
    switch (header.kind) {
    case CONTROL_LIST:
        return serve_list(process, client);
    case CONTROL_RELOAD:
    case CONTROL_CHECK:
        return serve_reload(process, client, packet, size, header.kind == CONTROL_CHECK);
    case CONTROL_ROLLBACK:
        return serve_rollback(process, client);
    case CONTROL_TRACE:
        return serve_trace(process, client, trace);
    case CONTROL_RETAINED:
        return serve_retained(process, client);
    case CONTROL_EXPECT:
        return serve_expect(process, client, packet, size);
    default:
        return error_create(CRATELD_ERROR_UNSUPPORTED, "a request of unknown kind %u", header.kind);
    }
}

void control_answer(struct process *process, int client, struct trace **trace, const char *packet, size_t size)
{
    struct crateld_error *error = serve_request(process, client, trace, packet, size);
    if (error)
        send_error(client, error);
}
