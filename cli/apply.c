/* crateld apply: has a crate's file carry patches. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "crate/build_id.h"
#include "crate/carried.h"
#include "crate/check.h"
#include "crate/reader.h"

static const char usage[] =
    "usage: crateld apply [-o OUT.crate] FIX.patch... APP.crate\n"
    "Brings the crate's file up to date: it carries the patches from now on, and they are in effect whenever it is "
    "loaded. "
    "Its build id\n"
    "stays, so further patches can be made for it, and applied. The file is replaced by a new one, with all patches or "
    "none.\n"
    "  -o, --output OUT  write OUT and leave the file as it is\n"
    "  -h, --help        show this\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};

/* A patch that the crate is to carry. */
struct carried {
    const char *path; /* borrowed; the crate's own for those that it carries already */
    struct span data; /* borrowed */
    struct crate_view view;
    bool is_new;
};

struct apply {
    struct file crate; /* owned */
    struct crate_view view;
    VEC(struct file) files; /* owned; of new patches */
    VEC(struct carried) patches;
};

/* Opens the crate or patch in `data`, and checks all of it that is loaded. */
static struct crateld_error *open_whole(const char *path, struct span data, struct crate_view *ret)
{
    uint8_t id[CRATE_BUILD_ID_SIZE];
    uint64_t header_off = 0;
    TRY(crate_view_open(path, data, ret));
    TRY(crate_check_meta(path, data, &ret->header));
    TRY(crate_view_check_all(ret));
    TRY(crate_header_find(path, data, &header_off));
    crate_build_id(data, header_off, &ret->header, id);
    if (memcmp(id, ret->header.build_id, sizeof id) != 0)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: damaged: its contents do not have the build id of its header",
                            path);
    return NULL;
}

/* That the patch is one, and for the crate. */
static struct crateld_error *check_patch(const struct apply *apply, const struct carried *patch)
{
    struct crate_needed base;
    if (!(patch->view.header.flags & CRATE_FLAG_PATCH))
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is no patch", patch->path);
    TRY(crate_view_needed(&patch->view, 0, &base));
    if (memcmp(base.build_id, apply->view.header.build_id, sizeof base.build_id) != 0 ||
        strcmp(crate_view_string(&patch->view, base.name), crate_view_name(&apply->view)) != 0)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is a patch for another build of %s", patch->path,
                            apply->crate.path);
    return NULL;
}

static struct crateld_error *open_crate(const char *path, struct apply *apply)
{
    TRY(file_open(path, &apply->crate));
    TRY(open_whole(path, apply->crate.data, &apply->view));
    if (apply->view.header.flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is a patch: name the crate that it is for", path);
    for (uint32_t i = 0; i < apply->view.header.carried_count; i++) {
        struct carried patch = {.path = path};
        TRY(crate_carried_at(path, apply->crate.data, &apply->view.header, i, &patch.data));
        TRY(open_whole(path, patch.data, &patch.view));
        TRY(check_patch(apply, &patch));
        if (!VEC_PUSH(&apply->patches, patch))
            return error_memory();
    }
    return NULL;
}

static bool is_same_module(const struct crate_view *a, const struct crate_module *x, const struct crate_view *b,
                           const struct crate_module *y)
{
    return !strcmp(crate_view_string(a, x->path), crate_view_string(b, y->path)) &&
           !strcmp(crate_view_string(a, x->member), crate_view_string(b, y->member));
}

/* Whether `view` has a version of the module `x` of `a`. */
static bool has_module(const struct crate_view *view, const struct crate_view *a, const struct crate_module *x)
{
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MODULES); i++)
        if (is_same_module(a, x, view, &view->modules[i]))
            return true;
    return false;
}

/* How many modules of patch `i` a later one has a version of: that is in effect then. */
static uint32_t superseded_count(const struct apply *apply, size_t i)
{
    const struct crate_view *view = &apply->patches.at[i].view;
    uint32_t count = 0;
    for (uint32_t k = 0; k < crate_view_count(view, CRATE_TABLE_MODULES); k++) {
        bool is_superseded = false;
        for (size_t n = i + 1; n < apply->patches.count; n++)
            is_superseded |= has_module(&apply->patches.at[n].view, view, &view->modules[k]);
        count += is_superseded;
    }
    return count;
}

static void remove_patch(struct apply *apply, size_t i)
{
    memmove(&apply->patches.at[i], &apply->patches.at[i + 1], (--apply->patches.count - i) * sizeof *apply->patches.at);
}

/* Adds the patch behind the others, unless it is there, and nothing of it superseded. */
static struct crateld_error *add_patch(struct apply *apply, const char *path)
{
    struct file file;
    struct carried patch = {.path = path, .is_new = true};
    TRY(file_open(path, &file));
    if (!VEC_PUSH(&apply->files, file)) {
        file_close(&file);
        return error_memory();
    }
    patch.data = file.data;
    TRY(open_whole(path, patch.data, &patch.view));
    TRY(check_patch(apply, &patch));
    for (size_t i = 0; i < apply->patches.count; i++) {
        if (memcmp(apply->patches.at[i].view.header.build_id, patch.view.header.build_id, CRATE_BUILD_ID_SIZE) != 0)
            continue;
        if (!superseded_count(apply, i)) {
            printf("%s: has %s already\n", apply->crate.path, path);
            return NULL;
        }
        remove_patch(apply, i--);
    }
    return VEC_PUSH(&apply->patches, patch) ? NULL : error_memory();
}

/* What nothing is in effect of needs not be carried. */
static void drop_superseded(struct apply *apply)
{
    for (size_t i = 0; i < apply->patches.count;) {
        if (superseded_count(apply, i) == crate_view_count(&apply->patches.at[i].view, CRATE_TABLE_MODULES))
            remove_patch(apply, i);
        else
            i++;
    }
}

static void report_applied(const struct apply *apply, const char *output)
{
    for (size_t i = 0; i < apply->patches.count; i++) {
        const struct carried *patch = &apply->patches.at[i];
        if (patch->is_new)
            printf("%s: carries %s: %u modules, %u functions\n", output, patch->path,
                   crate_view_count(&patch->view, CRATE_TABLE_MODULES), crate_view_moved_functions(&patch->view));
    }
}

static struct crateld_error *write_crate(const struct apply *apply, const char *output)
{
    struct stat status;
    struct crate_carrier carrier = {0};
    struct span *spans AUTO_FREE = calloc(apply->patches.count + 1, sizeof *spans);
    if (!spans)
        return error_memory();
    for (size_t i = 0; i < apply->patches.count; i++)
        spans[i] = apply->patches.at[i].data;
    if (stat(apply->crate.path, &status) < 0)
        return error_errno(errno, "%s: cannot stat", apply->crate.path);
    TRY(crate_carry(apply->crate.path, apply->crate.data, spans, (uint32_t)apply->patches.count, &carrier));
    struct crateld_error *error = file_write(output, carrier.bytes, carrier.size, status.st_mode & 0777);
    free(carrier.bytes);
    if (!error)
        report_applied(apply, output);
    return error;
}

static bool has_new(const struct apply *apply)
{
    for (size_t i = 0; i < apply->patches.count; i++)
        if (apply->patches.at[i].is_new)
            return true;
    return false;
}

static struct crateld_error *apply_patches(struct apply *apply, char *const *paths, size_t count, const char *output)
{
    TRY(open_crate(paths[count - 1], apply));
    for (size_t i = 0; i + 1 < count; i++)
        TRY(add_patch(apply, paths[i]));
    drop_superseded(apply);
    return has_new(apply) || output ? write_crate(apply, output ? output : apply->crate.path) : NULL;
}

int cmd_apply(int argc, char **argv)
{
    const char *output = NULL;
    struct apply apply = {0};
    for (int option; (option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0;) {
        if (option == 'o') {
            output = optarg;
        } else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
        }
    }
    if (argc - optind < 2) {
        fprintf(stderr, "crateld: apply: wanted patches and a crate\n%s", usage);
        return EXIT_STATUS_USAGE;
    }
    struct crateld_error *error = apply_patches(&apply, argv + optind, (size_t)(argc - optind), output);
    for (size_t i = 0; i < apply.files.count; i++)
        file_close(&apply.files.at[i]);
    file_close(&apply.crate);
    free(apply.files.at);
    free(apply.patches.at);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}
