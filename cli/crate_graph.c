#define _GNU_SOURCE
#include "cli/crate_graph.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crate/members.h"

void crate_graph_deinit(struct crate_graph *graph)
{
    for (size_t i = 0; i < graph->crates.count; i++) {
        inspected_crate_close(graph->crates.at[i]);
        free(graph->crates.at[i]);
    }
    for (size_t i = 0; i < graph->processes.count; i++)
        process_crates_destroy(graph->processes.at[i]);
    free(graph->nodes.at);
    free(graph->edges.at);
    free(graph->crates.at);
    free(graph->processes.at);
    *graph = (struct crate_graph){0};
}

/* Nodes. */

/* Whether all that the crate has are exports that stand for a library's. */
static bool is_stub(const struct crate_view *view)
{
    uint32_t count = crate_view_count(view, CRATE_TABLE_EXPORTS);
    for (uint32_t i = 0; i < count; i++)
        if (!(view->exports[i].flags & CRATE_EXPORT_FLAG_FORWARD))
            return false;
    return count;
}

static struct crateld_error *add_node(struct crate_graph *graph, struct graph_node node)
{
    return VEC_PUSH(&graph->nodes, node) ? NULL : error_memory();
}

/* Adds what is in a file or at a place of a process: a crate, or the members of a bundle. */
static struct crateld_error *add_crate(struct crate_graph *graph, const struct inspected_crate *crate, bool is_named)
{
    const struct crate_view *view = &crate->view;
    struct graph_node node = {.name = crate_view_name(view), .path = crate->path, .is_named = is_named, .crate = crate};
    if (!crate_is_bundle(&view->header)) {
        node.kind = is_stub(view) ? GRAPH_STUB : GRAPH_CRATE;
        return add_node(graph, node);
    }
    node.kind = GRAPH_MEMBER;
    node.bundle = ++graph->bundle_count;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MEMBERS); i++) {
        struct crate_member member;
        TRY(crate_view_member(view, i, &member));
        node.name = crate_member_string(view, member.name);
        node.member = i;
        TRY(add_node(graph, node));
    }
    return NULL;
}

static struct crateld_error *add_file(struct crate_graph *graph, const char *path, bool is_named)
{
    if (!VEC_RESERVE(&graph->crates, 1) || !graph->crates.at)
        return error_memory();
    struct inspected_crate *crate AUTO_FREE = calloc(1, sizeof *crate);
    if (!crate)
        return error_memory();
    TRY(inspected_crate_open(path, crate));
    graph->crates.at[graph->crates.count++] = crate;
    return add_crate(graph, STEAL_PTR(crate), is_named);
}

static struct crateld_error *add_process(struct crate_graph *graph, pid_t pid)
{
    struct process_crates *process = NULL;
    const struct inspected_crate *crate;
    if (!VEC_RESERVE(&graph->processes, 1) || !graph->processes.at)
        return error_memory();
    TRY(process_crates_create(pid, &process));
    graph->processes.at[graph->processes.count++] = process;
    for (size_t i = 0; (crate = process_crates_at(process, i)); i++)
        TRY(add_crate(graph, crate, true));
    return NULL;
}

/* The node that who needs `name` gets; the count of nodes if there is none. */
static uint32_t find_node(const struct crate_graph *graph, const char *name, bool is_library)
{
    uint32_t i = 0;
    while (i < graph->nodes.count &&
           ((graph->nodes.at[i].kind == GRAPH_LIBRARY) != is_library || strcmp(graph->nodes.at[i].name, name) != 0))
        i++;
    return i;
}

/* Files: docs/man/crateld.1, RUN, says where the loader looks. */

static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path + 1) : 0;
}

/* Looks for `file` in `folders`, separated by colons; *ret, malloc'ed, is set if it is there. */
static struct crateld_error *search(const char *user, const char *folders, const char *file, char **ret)
{
    for (size_t length; *folders && !*ret; folders += length + (folders[length] == ':')) {
        static const char origin[] = "$ORIGIN";
        char *path AUTO_FREE = NULL;
        length = strcspn(folders, ":");
        if (!length)
            continue;
        size_t skipped =
            length >= sizeof origin - 1 && !strncmp(folders, origin, sizeof origin - 1) ? sizeof origin - 1 : 0;
        if (asprintf(&path, "%.*s%s%.*s/%s", skipped ? folder_length(user) : 0, user, skipped ? "." : "",
                     (int)(length - skipped), folders + skipped, file) < 0) {
            path = NULL;
            return error_memory();
        }
        if (access(path, F_OK) == 0)
            *ret = STEAL_PTR(path);
    }
    return NULL;
}

/* Adds the crate that `user` needs, or notes that it is not there. */
static struct crateld_error *add_needed_crate(struct crate_graph *graph, const struct inspected_crate *user,
                                              const struct crate_needed *needed, const char *name)
{
    const char *path = crate_view_string(&user->view, needed->path), *env = secure_getenv("CRATELD_PATH");
    const char *runpath = crate_view_string(&user->view, needed->runpath);
    char *file AUTO_FREE = NULL, *found AUTO_FREE = NULL;
    if (asprintf(&file, "%s%s", path && *path ? path : name, path && *path ? "" : ".crate") < 0) {
        file = NULL;
        return error_memory();
    }
    if (!strchr(file, '/')) {
        TRY(search(user->path, "$ORIGIN", file, &found));
        TRY(search(user->path, env ? env : "", file, &found));
        TRY(search(user->path, runpath ? runpath : "", file, &found));
    }
    if (!found)
        return add_node(graph, (struct graph_node){.kind = GRAPH_ABSENT, .name = name});
    size_t node = graph->nodes.count;
    TRY(add_file(graph, found, false));
    if (strcmp(graph->nodes.at[node].name, name) != 0)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is the crate '%s', but %s needs '%s'", found,
                            graph->nodes.at[node].name, user->path, name);
    return NULL;
}

/* Edges. */

/* Sets *ret to the node of entry `i` of the needed table; adds it first if it is new. */
static struct crateld_error *needed_node(struct crate_graph *graph, const struct inspected_crate *user, uint32_t i,
                                         uint32_t *ret)
{
    struct crate_needed needed;
    TRY(crate_view_needed(&user->view, i, &needed));
    const char *name = crate_view_string(&user->view, needed.name);
    bool is_library = needed.kind == CRATE_NEEDED_ELF, is_live = user->meta;
    uint32_t node = find_node(graph, name, is_library);
    if (node == graph->nodes.count) {
        const char *path = crate_view_string(&user->view, needed.path);
        if (is_library)
            TRY(add_node(graph, (struct graph_node){.kind = GRAPH_LIBRARY, .name = name, .path = path}));
        else if (is_live)
            TRY(add_node(graph, (struct graph_node){.kind = GRAPH_ABSENT, .name = name}));
        else
            TRY(add_needed_crate(graph, user, &needed, name));
    }
    *ret = node;
    return NULL;
}

/* Sets *ret to the node of need `k` of a member. */
static struct crateld_error *member_need_node(struct crate_graph *graph, const struct graph_node *user,
                                              const struct crate_member *member, uint32_t k, uint32_t *ret)
{
    uint32_t need;
    TRY(crate_member_need(&user->crate->view, member, k, &need));
    if (!(need & CRATE_NEED_MEMBER))
        return needed_node(graph, user->crate, need & CRATE_NEED_INDEX, ret);
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i].bundle == user->bundle && graph->nodes.at[i].member == (need & CRATE_NEED_INDEX)) {
            *ret = i;
            return NULL;
        }
    return error_create(CRATELD_ERROR_FORMAT, "%s: members' needs: there is no member %u", user->path,
                        need & CRATE_NEED_INDEX);
}

/* Adds the edges that start at node `i`, and the nodes that they lead to. */
static struct crateld_error *add_edges(struct crate_graph *graph, uint32_t i)
{
    struct graph_node node = graph->nodes.at[i];
    struct crate_member member = {0};
    if (!node.crate)
        return NULL;
    if (node.kind == GRAPH_MEMBER)
        TRY(crate_view_member(&node.crate->view, node.member, &member));
    uint32_t count =
        node.kind == GRAPH_MEMBER ? member.needs.count : crate_view_count(&node.crate->view, CRATE_TABLE_NEEDED);
    graph->nodes.at[i].first_edge = (uint32_t)graph->edges.count;
    graph->nodes.at[i].edge_count = count;
    for (uint32_t k = 0; k < count; k++) {
        struct graph_edge edge = {.from = i, .is_counted = node.kind != GRAPH_MEMBER};
        TRY(node.kind == GRAPH_MEMBER ? member_need_node(graph, &node, &member, k, &edge.to)
                                      : needed_node(graph, node.crate, k, &edge.to));
        if (!VEC_PUSH(&graph->edges, edge))
            return error_memory();
    }
    return NULL;
}

/* What node exports by that name: enum crate_export_kind; -1: that is not known. */
static struct crateld_error *export_kind(const struct graph_node *node, const struct crate_import *import,
                                         const char *name, int *ret)
{
    *ret = -1;
    if (!node->crate)
        return NULL;
    struct crate_view view = node->crate->view;
    if (node->kind == GRAPH_MEMBER && node->member)
        TRY(crate_view_of_member(&node->crate->view, node->member, &view));
    uint32_t found = crate_view_find_export(&view, import->hash, name);
    if (found != CRATE_NONE)
        *ret = view.exports[found].kind;
    return NULL;
}

/* Counts the imports of a crate along its edges. A function that is called and of which the address is taken, which are
 * two imports, counts as two. */
static struct crateld_error *count_imports(struct crate_graph *graph, const struct graph_node *node)
{
    const struct crate_view *view = &node->crate->view;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_IMPORTS); i++) {
        struct crate_import import;
        TRY(crate_view_import(view, i, &import));
        if (import.needed >= node->edge_count)
            continue;
        struct graph_edge *edge = &graph->edges.at[node->first_edge + import.needed];
        int kind;
        /* What is forwarded is of the kind of the crate's own export. */
        const struct graph_node *exporter = import.kind == CRATE_IMPORT_FORWARD ? node : &graph->nodes.at[edge->to];
        TRY(export_kind(exporter, &import, crate_view_string(view, import.name), &kind));
        bool is_call = import.kind == CRATE_IMPORT_CALL_PLAIN || import.kind == CRATE_IMPORT_CALL_TOC;
        if (is_call || kind == CRATE_EXPORT_FUNCTION_PLAIN || kind == CRATE_EXPORT_FUNCTION_TOC)
            edge->functions++;
        else if (kind >= 0 || import.kind == CRATE_IMPORT_TLS_OFFSET || import.kind == CRATE_IMPORT_TLS_INDEX)
            edge->data++;
        else
            edge->addresses++;
    }
    return NULL;
}

static struct crateld_error *make(char *const *files, const pid_t *pids, size_t count, struct crate_graph *graph)
{
    for (size_t i = 0; i < count; i++)
        TRY(pids[i] ? add_process(graph, pids[i]) : add_file(graph, files[i], true));
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        TRY(add_edges(graph, i));
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (graph->nodes.at[i].crate && graph->nodes.at[i].kind != GRAPH_MEMBER)
            TRY(count_imports(graph, &graph->nodes.at[i]));
    return NULL;
}

struct crateld_error *crate_graph_make(char *const *files, const pid_t *pids, size_t count, struct crate_graph *ret)
{
    struct crate_graph graph = {0};
    struct crateld_error *error = make(files, pids, count, &graph);
    if (error)
        crate_graph_deinit(&graph);
    else
        *ret = graph;
    return error;
}
