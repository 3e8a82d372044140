#define _GNU_SOURCE
#include "cli/replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/operand.h"

enum {
    ROOM_MIN = 64 << 10, /* bytes that a patch may have before its file is to be made larger */
    ROOM_MAX = 1 << 20,
};

/* Closes a file that was adopted. */
static void release_file(struct output_file *file)
{
    int fd = file->fd;
    output_file_discard(file);
    if (fd >= 0)
        close(fd);
}

struct crateld_error *replace_open(pid_t id, struct replace_target *ret)
{
    *ret = (struct replace_target){.client.fd = -1, .spare = {.fd = -1}, .spare_room = ROOM_MIN};
    TRY(client_open(id, &ret->client));
    TRY(client_list(&ret->client, &ret->crates));
    ret->bases = calloc(ret->crates.list.count + 1, sizeof *ret->bases);
    if (!ret->bases)
        return error_memory();
    for (size_t i = 0; i < ret->crates.list.count; i++) {
        const struct client_crate *crate = &ret->crates.list.at[i];
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", crate->fd);
        if (crate->fd >= 0)
            TRY(link_base_open(path, crate->path, &ret->bases[i]));
    }
    return NULL;
}

void replace_close(struct replace_target *target)
{
    for (size_t i = 0; target->bases && i < target->crates.list.count; i++)
        link_base_close(&target->bases[i]);
    free(target->bases);
    client_crates_deinit(&target->crates);
    client_close(&target->client);
    if (target->spare.path)
        (void)unlink(target->spare.path);
    release_file(&target->spare);
    on_change_deinit(&target->changes);
}

struct crateld_error *replace_prepare(struct replace_target *target)
{
    static unsigned number; /* of patches made by this process */
    char *path AUTO_FREE = NULL;
    int fd, folder AUTO_CLOSE = -1;
    if (target->spare.path)
        return NULL;
    folder = client_open_folder(&target->client);
    if (folder < 0)
        return error_errno(errno, "%.*s: cannot open", (int)target->client.folder_length, target->client.socket);
    /* The process keeps the files of its patches, also those of an earlier client with this one's number. */
    do {
        free(path);
        if (asprintf(&path, "%s-%d-%u.patch", target->client.socket, (int)getpid(), ++number) < 0) {
            path = NULL;
            return error_memory();
        }
        fd = openat(folder, path + target->client.folder_length + 1, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0)
        return error_errno(errno, "%s: cannot create", path);
    target->other_user = client_other_user(&target->client);
    struct crateld_error *error = client_admit(&target->client, target->other_user, fd);
    if (!error)
        error = output_file_adopt(fd, path, target->spare_room, &target->spare);
    if (error) {
        (void)unlink(path);
        close(fd);
    }
    return error;
}

void replace_announce(struct replace_target *target)
{
    struct control_report report;
    const char *path = target->spare.path;
    if (!path || target->is_never_told)
        return;
    struct crateld_error *error = client_request(&target->client, CONTROL_EXPECT, path, strlen(path) + 1, &report);
    target->is_never_told = error;
    crateld_error_destroy(error);
}

#define NEW_MODULE (SIZE_MAX - 1) /* in place of a crate's number */

/* Patches being made. */
struct replacement {
    struct replace_target *target;
    VEC(struct output_file) patches;
};

/* The crate that has the module; SIZE_MAX: none has. */
static struct crateld_error *find_crate(const struct replace_target *target, const char *module, size_t *ret)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < target->crates.list.count; i++) {
        uint32_t count = 0;
        if (target->crates.list.at[i].fd >= 0)
            TRY(link_patch_count_modules(&target->bases[i], module, &count));
        if (count && found != SIZE_MAX)
            return error_create(CRATELD_ERROR_NOT_FOUND, "%s: both %s and %s have such a module: say which as OLD=%s",
                                module, target->crates.list.at[found].path, target->crates.list.at[i].path, module);
        if (count)
            found = i;
    }
    *ret = found;
    return NULL;
}

static struct crateld_error *no_crate(const struct replace_target *target, const char *module)
{
    bool is_any_stripped = false;
    for (size_t i = 0; i < target->crates.list.count; i++)
        is_any_stripped |= target->crates.list.at[i].fd < 0;
    return error_create(CRATELD_ERROR_NOT_FOUND,
                        "%s: no crate of process %d was linked from it%s: say of which module it is a new version: "
                        "OLD=%s; or, if it is a new one, name those that use it as well",
                        module, (int)target->client.id,
                        is_any_stripped
                            ? " (and of some crates that can not be told: they have no relink section, for they were "
                              "stripped, or are not in use)"
                            : "",
                        module);
}

/* Notes how large patches may become. */
static void note_size(struct replace_target *target, size_t size)
{
    size_t wanted = size + size / 4;
    if (wanted > target->spare_room)
        target->spare_room = wanted < ROOM_MAX ? wanted : ROOM_MAX;
}

/* Takes the file for the next patch, which is of crate number `index`, and sets *ret to what is to be done; its file is
 * valid until the next one is taken. */
static struct crateld_error *begin_patch(struct replacement *replacement, size_t index, struct link_options *ret)
{
    struct replace_target *target = replacement->target;
    TRY(replace_prepare(target));
    if (!VEC_PUSH(&replacement->patches, target->spare))
        return error_memory();
    target->spare = (struct output_file){.fd = -1}; /* the list has it */
    struct output_file *file = &replacement->patches.at[replacement->patches.count - 1];
    *ret = (struct link_options){
        .collect_garbage = true,
        .opened_base = &target->bases[index],
        .output = file->path,
        .adopted = file,
        .name = target->crates.list.at[index].name,
    };
    on_change_apply(&target->changes, ret);
    return NULL;
}

/* Makes the patch of the crate from those of the modules that are its own. `has_others`: some are other crates'. */
static struct crateld_error *make_patch(struct replacement *replacement, size_t index,
                                        const struct diff_module *modules, size_t count, bool has_others)
{
    struct link_options link = {0};
    TRY(begin_patch(replacement, index, &link));
    for (size_t i = 0; i < replacement->target->crates.list.count; i++)
        has_others |= i != index && replacement->target->crates.list.at[i].is_patched;
    if (has_others)
        link.undefined_advice = "what comes to another crate with a reload can not be imported: define it in a module "
                                "of this one, or link both anew and start the program anew";
    TRY(diff_modules(&link, modules, count));
    note_size(replacement->target, link.adopted->size);
    return NULL;
}

/* The crate of the name. */
static struct crateld_error *find_crate_called(const struct replace_target *target, const char *path, const char *name,
                                               size_t *ret)
{
    for (*ret = 0; *ret < target->crates.list.count; ++*ret)
        if (!strcmp(target->crates.list.at[*ret].name, name))
            return NULL;
    return error_create(CRATELD_ERROR_NOT_FOUND, "%s: process %d has no crate '%s'", path, (int)target->client.id,
                        name);
}

/* Makes the patch to the later build of a crate that is at `path`. */
static struct crateld_error *make_whole_patch(struct replacement *replacement, const char *path)
{
    struct link_base next = {0};
    struct link_options link = {0};
    size_t index = 0;
    struct crateld_error *error = link_base_open(path, path, &next);
    if (!error)
        error = find_crate_called(replacement->target, path, crate_view_name(&next.view), &index);
    if (!error && replacement->target->crates.list.at[index].fd < 0)
        error = error_create(CRATELD_ERROR_UNSUPPORTED,
                             "%s: process %d has it without a relink section, or does not use it yet: no patch can be "
                             "made for it",
                             path, (int)replacement->target->client.id);
    if (!error)
        error = begin_patch(replacement, index, &link);
    if (!error) {
        bool is_any = false;
        error = diff_opened(&link, &next, replacement->target->crates.list.at[index].is_patched, &is_any);
        if (!error && !is_any)
            error = error_create(CRATELD_ERROR_NOT_FOUND, "%s: was linked from the same modules as %s", path,
                                 link.opened_base->path);
    }
    link_base_close(&next);
    return error;
}

/* The crate that the patch is for. */
static struct crateld_error *find_base(const struct replace_target *target, const char *path, struct span patch,
                                       size_t *ret)
{
    struct crate_view view;
    struct crate_needed base;
    TRY(crate_view_open(path, patch, &view));
    TRY(crate_view_needed(&view, 0, &base));
    TRY(find_crate_called(target, path, crate_view_string(&view, base.name), ret));
    const struct client_crate *crate = &target->crates.list.at[*ret];
    return !memcmp(crate->build_id, base.build_id, sizeof base.build_id)
               ? NULL
               : error_create(CRATELD_ERROR_MISMATCH, "%s: is a patch for another build of %s", path, crate->path);
}

/* Fills the empty file. */
static struct crateld_error *write_adopted(struct output_file *file, struct span bytes)
{
    TRY(output_file_grow(file, bytes.size));
    memcpy(file->data, bytes.data, bytes.size);
    return output_file_commit(file, 0600);
}

/* Takes a copy of the patch at `path`, which has been made already: it becomes the process's own. */
static struct crateld_error *copy_patch(struct replacement *replacement, const char *path)
{
    struct file file = {0};
    struct link_options link = {0};
    size_t index = 0;
    TRY(file_open(path, &file));
    struct crateld_error *error = find_base(replacement->target, path, file.data, &index);
    if (!error)
        error = begin_patch(replacement, index, &link);
    if (!error)
        error = write_adopted(link.adopted, file.data);
    file_close(&file);
    return error;
}

/* Modules that no crate has are new ones of the crate that has the others. */
static struct crateld_error *place_new(const struct replace_target *target, const struct diff_module *modules,
                                       size_t count, size_t *crate_of)
{
    size_t only = SIZE_MAX, new_one = SIZE_MAX;
    bool is_one = true;
    for (size_t i = 0; i < count; i++) {
        if (crate_of[i] == NEW_MODULE) {
            new_one = i;
            continue;
        }
        is_one &= crate_of[i] == SIZE_MAX || only == SIZE_MAX || crate_of[i] == only;
        only = crate_of[i] == SIZE_MAX ? only : crate_of[i];
    }
    if (new_one == SIZE_MAX)
        return NULL;
    if (only == SIZE_MAX || strchr(modules[new_one].name, '='))
        return no_crate(target, modules[new_one].name);
    if (!is_one)
        return error_create(CRATELD_ERROR_NOT_FOUND,
                            "%s: no crate of process %d was linked from it, and the other modules are of several: "
                            "name those of one crate at a time",
                            modules[new_one].name, (int)target->client.id);
    for (size_t i = 0; i < count; i++)
        crate_of[i] = crate_of[i] == NEW_MODULE ? only : crate_of[i];
    return NULL;
}

/* Sorts the modules by their crates, and makes a patch for each. */
static struct crateld_error *make_patches(struct replacement *replacement, const struct diff_module *modules,
                                          size_t count)
{
    size_t crates = replacement->target->crates.list.count;
    size_t *crate_of AUTO_FREE = calloc(count + 1, sizeof *crate_of);
    struct diff_module *own AUTO_FREE = calloc(count + 1, sizeof *own);
    if (!crate_of || !own)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        enum operand_kind kind = modules[i].contents.size ? OPERAND_MODULE : operand_kind_of(modules[i].name);
        crate_of[i] = SIZE_MAX;
        if (kind == OPERAND_PATCH) {
            TRY(copy_patch(replacement, modules[i].name));
        } else if (kind == OPERAND_CRATE) {
            TRY(make_whole_patch(replacement, modules[i].name));
        } else {
            TRY(find_crate(replacement->target, modules[i].name, &crate_of[i]));
            crate_of[i] = crate_of[i] == SIZE_MAX ? NEW_MODULE : crate_of[i];
        }
    }
    TRY(place_new(replacement->target, modules, count, crate_of));
    size_t taken = replacement->patches.count;
    for (size_t k = 0; k < crates; k++) {
        size_t own_count = 0;
        for (size_t i = 0; i < count; i++)
            if (crate_of[i] == k)
                own[own_count++] = modules[i];
        if (own_count)
            TRY(make_patch(replacement, k, own, own_count, own_count + taken < count));
    }
    return NULL;
}

/* Has the process put the patches into effect. */
static struct crateld_error *hand_over(const struct replacement *replacement, bool is_trial, struct control_report *ret)
{
    VEC(char) payload = {0};
    for (size_t i = 0; i < replacement->patches.count; i++) {
        const char *path = replacement->patches.at[i].path;
        size_t size = strlen(path) + 1;
        if (!VEC_RESERVE(&payload, size) || !payload.at) {
            free(payload.at);
            return error_memory();
        }
        memcpy(payload.at + payload.count, path, size);
        payload.count += size;
    }
    struct crateld_error *error = client_request(
        &replacement->target->client, is_trial ? CONTROL_CHECK : CONTROL_RELOAD, payload.at, payload.count, ret);
    free(payload.at);
    return error;
}

/* Lets the process read the patches if it has become another user since their files were made; *ret is whether it has.
 */
static struct crateld_error *admit_anew(const struct replacement *replacement, bool *ret)
{
    struct replace_target *target = replacement->target;
    uid_t user = client_other_user(&target->client);
    *ret = user != target->other_user;
    target->other_user = user;
    for (size_t i = 0; *ret && i < replacement->patches.count; i++)
        TRY(client_admit(&target->client, user, replacement->patches.at[i].fd));
    return NULL;
}

/* Whoever could not read them is asked once more. */
static struct crateld_error *hand_over_as_user(const struct replacement *replacement, bool is_trial,
                                               struct control_report *ret)
{
    bool is_other = false;
    struct crateld_error *error = hand_over(replacement, is_trial, ret);
    struct crateld_error *again = error ? admit_anew(replacement, &is_other) : NULL;
    if (!again && !is_other)
        return error;
    crateld_error_destroy(error);
    return again ? again : hand_over(replacement, is_trial, ret);
}

struct crateld_error *replace_modules(struct replace_target *target, const struct diff_module *modules, size_t count,
                                      bool is_trial, struct control_report *ret)
{
    struct replacement replacement = {.target = target};
    *target->changes.note.text = 0;
    struct crateld_error *error = make_patches(&replacement, modules, count);
    if (!error)
        error = on_change_check(&target->changes);
    if (!error)
        error = hand_over_as_user(&replacement, is_trial, ret);
    for (size_t i = 0; i < replacement.patches.count; i++) {
        if (error || is_trial)
            (void)unlink(replacement.patches.at[i].path);
        release_file(&replacement.patches.at[i]);
    }
    free(replacement.patches.at);
    return error;
}

void replace_print(const char *what, const struct control_report *report, uint64_t total_ns)
{
    printf("%s: %u modules, %u functions (%u in place, %u fresh), variables: %u set, %u kept, %u grown; %u "
           "relocations, %u pages, %u users; plan "
           "%.3f ms, pause %.3f ms, all %.3f ms\n",
           what, report->modules, report->functions, report->functions_in_place,
           report->functions - report->functions_in_place, report->variables_set, report->variables_kept,
           report->variables_grown, report->relocations, report->pages, report->users, (double)report->plan_ns / 1e6,
           (double)report->pause_ns / 1e6, (double)total_ns / 1e6);
}

void replace_clean(const struct client *client)
{
    char folder[CONTROL_PATH_SIZE];
    snprintf(folder, sizeof folder, "%.*s", (int)client->folder_length, client->socket);
    DIR *entries = opendir(folder);
    const struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char *end, path[PATH_MAX];
        long id = strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || (kill((pid_t)id, 0) == 0 || errno != ESRCH))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path)
            (void)unlink(path);
    }
    if (entries)
        closedir(entries);
}
