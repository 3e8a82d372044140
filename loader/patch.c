#include "loader/patch.h"

#include <inttypes.h>
#include <string.h>

#include "crate/machine.h"
#include "loader/activate.h"
#include "loader/image.h"
#include "loader/log.h"

/* The base of a patch is a crate, and of the build that the patch was made for: see process_load(). */
static struct crateld_error *check_base(const struct loaded_crate *patch)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    if (!base || base == patch || base->view.header.flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_FORMAT, "%s: '%s', which it is a patch for, is no crate", patch->path,
                            patch->needed[0].name);
    return NULL;
}

struct crateld_error *patch_load(struct process *process, const char *path, struct loaded_crate **ret)
{
    struct loaded_crate *patch = NULL;
    size_t before = process->crates.count;
    TRY(process_load(process, path, &patch));
    if (!(patch->view.header.flags & CRATE_FLAG_PATCH))
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is no patch", path);
    TRY(check_base(patch));
    for (size_t i = before; i < process->crates.count; i++)
        if (process->crates.at[i] == patch->needed[0].crate)
            return error_create(CRATELD_ERROR_MISMATCH, "%s: is a patch for '%s', which the program does not use", path,
                                patch->needed[0].crate->name);
    TRY(image_move_near(patch, patch->needed[0].crate));
    *ret = patch;
    return NULL;
}

/* Gives a variable of the base its new initial value. */
static struct crateld_error *apply_init(const struct loaded_crate *patch, uint32_t i)
{
    struct crate_init init;
    const struct loaded_crate *base = patch->needed[0].crate;
    TRY(crate_view_init_value(&patch->view, i, &init));
    if (!crate_segment_has(&base->view.header, CRATE_SEGMENT_DATA, init.base_rva, init.size, false))
        return error_create(CRATELD_ERROR_FORMAT, "%s: '%s', %u bytes at 0x%x, is not within the data of %s",
                            patch->path, crate_view_string(&patch->view, init.name), init.size, init.base_rva,
                            base->path);
    memcpy(base->base + init.base_rva, patch->base + init.image_rva, init.size);
    return NULL;
}

/* Leads a function of the base, whose text is writable, to its new version: by its entry stub for those who have its
 * address, by a jump at its start for those who call it. */
static struct crateld_error *apply_move(const struct loaded_crate *patch, uint32_t i)
{
    struct crate_move move;
    struct loaded_crate *base = patch->needed[0].crate;
    const struct crate_header *header = &base->view.header;
    const struct toc_stub_ops *stubs = crate_machine_stubs(header->machine);
    TRY(crate_view_move(&patch->view, i, &move));
    if (!crate_segment_has(header, CRATE_SEGMENT_TEXT, move.old_rva, CRATE_MOVE_SIZE, true) ||
        (move.stub_rva &&
         !crate_segment_has(header, CRATE_SEGMENT_TEXT, move.stub_rva, stubs->entry_plain_size, true)) ||
        (move.func_ref != CRATE_NONE && move.func_ref >= header->func_refs))
        return error_create(CRATELD_ERROR_FORMAT, "%s: function '%s' at 0x%x is not within the text of %s", patch->path,
                            crate_view_string(&patch->view, move.name), move.old_rva, base->path);
    uint64_t target = loaded_address(patch, move.new_rva);
    stubs->write_jump(base->base + move.old_rva, loaded_address(base, move.old_rva), target);
    if (move.stub_rva)
        stubs->write_entry_plain(base->base + move.stub_rva, loaded_address(base, move.stub_rva), target);
    if (move.func_ref != CRATE_NONE)
        loaded_func_refs(base)[move.func_ref].entry = target;
    LOG(LOG_LOAD, "%s: '%s' of %s moved to 0x%" PRIx64, patch->path, crate_view_string(&patch->view, move.name),
        base->path, target);
    return NULL;
}

static struct crateld_error *apply_moves(const struct loaded_crate *patch)
{
    struct loaded_crate *base = patch->needed[0].crate;
    uint32_t count = crate_view_count(&patch->view, CRATE_TABLE_MOVES);
    if (!count)
        return NULL;
    TRY(image_open_text(base, true));
    struct crateld_error *error = NULL;
    for (uint32_t i = 0; i < count && !error; i++)
        error = apply_move(patch, i);
    return error_join(error, image_open_text(base, false));
}

struct crateld_error *patch_apply(struct loaded_crate *patch)
{
    TRY(activate_crate(patch->needed[0].crate));
    TRY(activate_crate(patch));
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_INITS); i++)
        TRY(apply_init(patch, i));
    return apply_moves(patch);
}
