/* Graphs of crates as text for Graphviz's dot, and as pictures. */
#ifndef CLI_GRAPH_DRAW_H
#define CLI_GRAPH_DRAW_H

#include <stdio.h>

#include "cli/crate_graph.h"

/* Writes the graph in the DOT language. What the stream can not take, it tells when it is closed. */
void graph_write_dot(const struct crate_graph *graph, FILE *stream);

/* Writes the graph as SVG, laid out in rows: who needs a crate stands above it, but for circles. Error: MEMORY. */
MUST_CHECK struct crateld_error *graph_write_svg(const struct crate_graph *graph, FILE *stream);

/* Writes the text of an edge, "3 functions, 1 variable", by printf; "" where that is not known. */
void graph_edge_text(const struct graph_edge *edge, char *ret, size_t size);

/* The text that stands for the kind of a node; "" for crates. */
const char *graph_kind_text(enum graph_kind kind);

#endif
