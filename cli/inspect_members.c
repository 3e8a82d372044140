#include "cli/inspect_members.h"

#include <stdlib.h>
#include <string.h>

#include "crate/members.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

struct crateld_error *inspect_members(struct report *report, const struct inspected_crate *crate)
{
    static const char *const flag_names[] = {"eager", "late"};
    const struct crate_view *view = &crate->view;
    report_begin_table(report, "members", "Members");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MEMBERS); i++) {
        struct crate_member member;
        TRY(crate_view_member(view, i, &member));
        report_row(report);
        report_string(report, "name", crate_member_string(view, member.name));
        report_string(report, "file", crate_member_string(view, member.file));
        report_number(report, "exports", i ? member.exports.count : crate_view_count(view, CRATE_TABLE_EXPORTS));
        report_number(report, "needs", member.needs.count);
        report_number(report, "modules", member.modules.count);
        report_set(report, "flags", member.flags, flag_names, COUNT_OF(flag_names));
        report_bytes(report, "build_id", member.build_id, sizeof member.build_id);
    }
    report_end_table(report);
    return NULL;
}

struct ordered_export {
    const char *member, *name;
    const struct crate_export *export;
};

static int compare_exports(const void *a, const void *b)
{
    const struct ordered_export *x = a, *y = b;
    int order = strcmp(x->member, y->member);
    return order ? order : strcmp(x->name, y->name);
}

/* Lists all exports of members; there is room. */
static struct crateld_error *list_exports(const struct crate_view *bundle, struct ordered_export *ret, size_t *count)
{
    for (uint32_t i = 1; i < crate_view_count(bundle, CRATE_TABLE_MEMBERS); i++) {
        struct crate_view view;
        TRY(crate_view_of_member(bundle, i, &view));
        for (uint32_t k = 0; k < crate_view_count(&view, CRATE_TABLE_EXPORTS); k++) {
            struct crate_export export;
            TRY(crate_view_export(&view, k, &export));
            if (*count >= crate_view_count(bundle, CRATE_TABLE_MEMBER_EXPORTS))
                return error_create(CRATELD_ERROR_FORMAT, "%s: members share exports", bundle->path);
            ret[(*count)++] = (struct ordered_export){crate_view_name(&view), crate_view_string(&view, export.name),
                                                      &view.exports[k]};
        }
    }
    return NULL;
}

struct crateld_error *inspect_member_exports(struct report *report, const struct inspected_crate *crate)
{
    static const char *const kinds[] = {"function", "function (TOC)", "data", "thread-local", "absolute"};
    size_t count = 0, room = crate_view_count(&crate->view, CRATE_TABLE_MEMBER_EXPORTS);
    struct ordered_export *exports = calloc(room + 1, sizeof *exports);
    if (!exports)
        return error_memory();
    struct crateld_error *error = list_exports(&crate->view, exports, &count);
    if (error) {
        free(exports);
        return error;
    }
    qsort(exports, count, sizeof *exports, compare_exports);
    report_begin_table(report, "member_exports", "Members' exports");
    for (size_t i = 0; i < count; i++) {
        report_row(report);
        report_string(report, "member", exports[i].member);
        report_string(report, "name", exports[i].name);
        report_string(report, "kind", kinds[exports[i].export->kind]);
        report_address(report, "rva", exports[i].export->rva);
        report_address(report, "canonical", exports[i].export->canonical_rva);
        report_number(report, "size", exports[i].export->size);
    }
    report_end_table(report);
    free(exports);
    return NULL;
}
