#include "cli/graph_draw.h"

#include "cli/report.h"

void graph_edge_text(const struct graph_edge *edge, char *ret, size_t size)
{
    const struct {
        uint32_t count;
        const char *one, *many;
    } parts[] = {
        {edge->functions, "function", "functions"},
        {edge->data, "variable", "variables"},
        {edge->addresses, "address", "addresses"},
    };
    size_t length = 0;
    *ret = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && length < size; i++)
        if (parts[i].count)
            length += (size_t)snprintf(ret + length, size - length, "%s%u %s", length ? ", " : "", parts[i].count,
                                       parts[i].count == 1 ? parts[i].one : parts[i].many);
    if (edge->is_counted && !length)
        snprintf(ret, size, "nothing");
}

const char *graph_kind_text(enum graph_kind kind)
{
    static const char *const texts[] = {
        [GRAPH_CRATE] = "",           [GRAPH_STUB] = "stands for a library",
        [GRAPH_MEMBER] = "",          [GRAPH_LIBRARY] = "ELF library",
        [GRAPH_ABSENT] = "not found",
    };
    return texts[kind];
}

/* Text within a quoted string of DOT: a backslash begins an escape there, a quote ends it. */
static void put_text(FILE *stream, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        unsigned length = report_printable(at);
        if (!length) {
            fprintf(stream, "\\\\x%02x", *at++);
            continue;
        }
        if (*at == '"' || *at == '\\')
            fputc('\\', stream);
        fwrite(at, 1, length, stream);
        at += length;
    }
}

static void put_node(FILE *stream, const struct crate_graph *graph, uint32_t i)
{
    static const char *const styles[] = {
        [GRAPH_CRATE] = "shape=box, fillcolor=\"#dbe9f6\"",
        [GRAPH_STUB] = "shape=component, style=\"filled,dashed\", fillcolor=\"#fdebd0\"",
        [GRAPH_MEMBER] = "shape=box, fillcolor=\"#dbe9f6\"",
        [GRAPH_LIBRARY] = "shape=ellipse, fillcolor=\"#fdebd0\"",
        [GRAPH_ABSENT] = "shape=box, style=\"filled,dotted\", fillcolor=\"#f6d5d5\"",
    };
    const struct graph_node *node = &graph->nodes.at[i];
    fprintf(stream, "    n%u [label=\"", i);
    put_text(stream, node->name);
    if (*graph_kind_text(node->kind))
        fprintf(stream, "\\n%s", graph_kind_text(node->kind));
    fprintf(stream, "\", tooltip=\"");
    put_text(stream, node->path ? node->path : node->name);
    fprintf(stream, "\", %s%s];\n", styles[node->kind], node->is_named ? ", penwidth=2" : "");
}

void graph_write_dot(const struct crate_graph *graph, FILE *stream)
{
    fputs("digraph crates {\n"
          "    node [style=filled, fontname=\"sans-serif\", fontsize=11];\n"
          "    edge [fontname=\"sans-serif\", fontsize=9];\n",
          stream);
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        if (!graph->nodes.at[i].bundle)
            put_node(stream, graph, i);
    for (uint32_t bundle = 1; bundle <= graph->bundle_count; bundle++) {
        bool is_first = true;
        for (uint32_t i = 0; i < graph->nodes.count; i++) {
            if (graph->nodes.at[i].bundle != bundle)
                continue;
            if (is_first) {
                fprintf(stream, "    subgraph cluster_%u {\n    label=\"", bundle);
                put_text(stream, graph->nodes.at[i].path);
                fputs("\";\n", stream);
            }
            is_first = false;
            put_node(stream, graph, i);
        }
        fputs(is_first ? "" : "    }\n", stream);
    }
    for (size_t i = 0; i < graph->edges.count; i++) {
        char text[96];
        graph_edge_text(&graph->edges.at[i], text, sizeof text);
        fprintf(stream, "    n%u -> n%u", graph->edges.at[i].from, graph->edges.at[i].to);
        fprintf(stream, *text ? " [label=\"%s\"];\n" : ";\n", text);
    }
    fputs("}\n", stream);
}
