/* Graphs as SVG. Nodes stand in rows: below all that need them, as far as needs go in no circle. The order within a row
 * is that of the middle of those above, and then below, who are joined to each (Sugiyama, Tagawa, Toda 1981). Rows that
 * are too wide are broken.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/graph_draw.h"
#include "cli/report.h"

enum {
    CHARACTER_WIDTH = 7, /* of the font, at most, in most cases */
    PADDING = 12,
    NODE_HEIGHT = 38,
    GAP = 24,     /* between nodes of a row */
    ROW_GAP = 72, /* between rows, where the edges are */
    MARGIN = 20,
    ROW_WIDTH = 2400, /* a wider row is broken */
    SWEEPS = 8,
};

struct place {
    uint32_t node;
    uint32_t row;
    double key; /* orders the row */
    double x;   /* of its middle */
    double width;
    bool is_open, is_done; /* for the search */
};

struct picture {
    const struct crate_graph *graph;
    struct place *places; /* owned; of each node */
    uint32_t *order;      /* owned; nodes, by rows and within them from left to right */
    uint32_t row_count;
    double width;
};

/* Rows. */

struct step {
    uint32_t node, next; /* the edge to look at next */
};

/* Gives each node a row below those above it, by a depth-first search from `start` without recursion, as graphs may be
 * deep: what is behind a node has been numbered before it, from the bottom up. */
static void number_from(struct picture *picture, struct step *stack, uint32_t start)
{
    struct place *places = picture->places;
    size_t depth = 0;
    if (places[start].is_done)
        return;
    stack[depth++] = (struct step){start, 0};
    places[start].is_open = true;
    while (depth) {
        struct step *top = &stack[depth - 1];
        const struct graph_node *node = &picture->graph->nodes.at[top->node];
        if (top->next == node->edge_count) {
            places[top->node].is_open = false;
            places[top->node].is_done = true;
            depth--;
            if (depth && places[stack[depth - 1].node].row <= places[top->node].row)
                places[stack[depth - 1].node].row = places[top->node].row + 1;
            continue;
        }
        uint32_t to = picture->graph->edges.at[node->first_edge + top->next++].to;
        if (places[to].is_done) {
            if (places[top->node].row <= places[to].row)
                places[top->node].row = places[to].row + 1;
        } else if (!places[to].is_open) { /* else it closes a circle */
            places[to].is_open = true;
            stack[depth++] = (struct step){to, 0};
        }
    }
}

static struct crateld_error *number_rows(struct picture *picture)
{
    size_t count = picture->graph->nodes.count;
    struct step *stack AUTO_FREE = calloc(count + 1, sizeof *stack);
    if (!stack)
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        number_from(picture, stack, i);
    uint32_t last = 0;
    for (size_t i = 0; i < count; i++)
        last = picture->places[i].row > last ? picture->places[i].row : last;
    for (size_t i = 0; i < count; i++) /* from the top down */
        picture->places[i].row = last - picture->places[i].row;
    picture->row_count = count ? last + 1 : 0;
    return NULL;
}

/* Order within rows. */

static int compare_places(const void *a, const void *b, void *context)
{
    const struct place *places = context, *x = &places[*(const uint32_t *)a], *y = &places[*(const uint32_t *)b];
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    if (x->key < y->key || x->key > y->key)
        return x->key < y->key ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

/* Sorts, and gives each node its number in its row as its key. */
static void sort_rows(struct picture *picture)
{
    uint32_t row = UINT32_MAX, number = 0;
    qsort_r(picture->order, picture->graph->nodes.count, sizeof *picture->order, compare_places, picture->places);
    for (size_t i = 0; i < picture->graph->nodes.count; i++) {
        struct place *place = &picture->places[picture->order[i]];
        number = place->row == row ? number + 1 : 0;
        row = place->row;
        place->x = number;
    }
}

/* Makes the key of each node the middle of those that it is joined to in rows above, or below. */
static void aim(struct picture *picture, double *sums, uint32_t *counts, bool is_upward)
{
    const struct crate_graph *graph = picture->graph;
    memset(sums, 0, graph->nodes.count * sizeof *sums);
    memset(counts, 0, graph->nodes.count * sizeof *counts);
    for (size_t i = 0; i < graph->edges.count; i++) {
        uint32_t from = graph->edges.at[i].from, to = graph->edges.at[i].to;
        if (picture->places[from].row == picture->places[to].row)
            continue;
        bool is_from_above = picture->places[from].row < picture->places[to].row;
        uint32_t moved = is_from_above == is_upward ? from : to, fixed = moved == from ? to : from;
        sums[moved] += picture->places[fixed].x;
        counts[moved]++;
    }
    for (size_t i = 0; i < graph->nodes.count; i++)
        picture->places[i].key = counts[i] ? sums[i] / counts[i] : picture->places[i].x;
}

static struct crateld_error *order_rows(struct picture *picture)
{
    size_t count = picture->graph->nodes.count;
    double *sums AUTO_FREE = calloc(count + 1, sizeof *sums);
    uint32_t *counts AUTO_FREE = calloc(count + 1, sizeof *counts);
    if (!sums || !counts)
        return error_memory();
    sort_rows(picture);
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        aim(picture, sums, counts, sweep % 2);
        sort_rows(picture);
    }
    return NULL;
}

/* Breaks rows that are too wide, and gives each node its place. */
static void place_nodes(struct picture *picture)
{
    uint32_t old_row = UINT32_MAX, row = UINT32_MAX;
    double x = 0;
    for (size_t i = 0; i < picture->graph->nodes.count; i++) {
        struct place *place = &picture->places[picture->order[i]];
        if (place->row != old_row || x + place->width > ROW_WIDTH) {
            x = 0;
            row++;
        }
        old_row = place->row;
        place->row = row;
        place->x = x + place->width / 2;
        x += place->width + GAP;
        picture->width = x - GAP > picture->width ? x - GAP : picture->width;
    }
    picture->row_count = row + 1;
    for (size_t i = 0, end; i < picture->graph->nodes.count; i = end) { /* each row in the middle */
        const struct place *first = &picture->places[picture->order[i]], *last = first;
        for (end = i; end < picture->graph->nodes.count && picture->places[picture->order[end]].row == first->row;
             end++)
            last = &picture->places[picture->order[end]];
        double shift = (picture->width - (last->x + last->width / 2)) / 2 + MARGIN;
        for (size_t k = i; k < end; k++)
            picture->places[picture->order[k]].x += shift;
    }
}

static double top_of(uint32_t row)
{
    return MARGIN + (double)row * (NODE_HEIGHT + ROW_GAP);
}

/* Drawing. */

/* Text of XML; what is not printable is written as \x and its number. Returns the number of characters. With `stream`
 * NULL they are only counted. */
static size_t put_text(FILE *stream, const char *text)
{
    size_t count = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at; count++) {
        unsigned length = report_printable(at);
        bool is_no_character = length == 3 && at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe; /* U+FFFE, U+FFFF */
        const char *entity = *at == '<'   ? "&lt;"
                             : *at == '>' ? "&gt;"
                             : *at == '&' ? "&amp;"
                             : *at == '"' ? "&quot;"
                                          : NULL;
        if (!length || is_no_character) {
            count += 3;
            if (stream)
                fprintf(stream, "\\x%02x", *at);
            at++;
            continue;
        }
        if (stream && entity)
            fputs(entity, stream);
        else if (stream)
            fwrite(at, 1, length, stream);
        at += length;
    }
    return count;
}

static void put_node(const struct picture *picture, FILE *stream, uint32_t i)
{
    static const char *const classes[] = {"crate", "stub", "crate", "library", "absent"};
    const struct graph_node *node = &picture->graph->nodes.at[i];
    const struct place *place = &picture->places[i];
    const char *note = graph_kind_text(node->kind);
    double top = top_of(place->row), left = place->x - place->width / 2;
    fprintf(stream, "<g class=\"%s%s\"><title>", classes[node->kind], node->is_named ? " named" : "");
    put_text(stream, node->path ? node->path : node->name);
    fprintf(stream, "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"%d\"/>", left, top,
            place->width, NODE_HEIGHT, node->kind == GRAPH_LIBRARY ? NODE_HEIGHT / 2 : 4);
    fprintf(stream, "<text x=\"%.1f\" y=\"%.1f\">", place->x, top + (*note || node->bundle ? 16 : 23));
    put_text(stream, node->name);
    fputs("</text>", stream);
    if (node->bundle)
        fprintf(stream, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\">member of bundle %u</text>", place->x, top + 30,
                node->bundle);
    else if (*note)
        fprintf(stream, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\">%s</text>", place->x, top + 30, note);
    fputs("</g>\n", stream);
}

static void put_edge(const struct picture *picture, FILE *stream, const struct graph_edge *edge)
{
    const struct place *from = &picture->places[edge->from], *to = &picture->places[edge->to];
    char text[96];
    bool is_down = from->row < to->row;
    double start = top_of(from->row) + (is_down ? NODE_HEIGHT : 0), end = top_of(to->row) + (is_down ? 0 : NODE_HEIGHT);
    double bend = is_down ? ROW_GAP : -ROW_GAP;
    graph_edge_text(edge, text, sizeof text);
    fputs("<g class=\"edge\"><title>", stream);
    put_text(stream, picture->graph->nodes.at[edge->from].name);
    fputs(" → ", stream);
    put_text(stream, picture->graph->nodes.at[edge->to].name);
    fprintf(stream, "%s%s</title>", *text ? ": " : "", text);
    fprintf(stream, "<path d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\" marker-end=\"url(#arrow)\"/>", from->x, start,
            from->x, start + bend * 0.6, to->x, end - bend * 0.6, to->x, end);
    if (*text)
        fprintf(stream, "<text class=\"note\" x=\"%.1f\" y=\"%.1f\">%s</text>", (from->x + to->x) / 2,
                (start + end) / 2, text);
    fputs("</g>\n", stream);
}

static void put_picture(const struct picture *picture, FILE *stream)
{
    double width = picture->width + 2 * MARGIN, height = top_of(picture->row_count) - ROW_GAP + MARGIN;
    fprintf(stream,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\">\n",
            width, height, width, height);
    fputs("<style>text{font:12px monospace;text-anchor:middle;fill:#222}.note{font-size:9px;fill:#666}"
          "rect{fill:#dbe9f6;stroke:#4a6b8a}.library rect,.stub rect{fill:#fdebd0;stroke:#a87b3c}"
          ".stub rect,.absent rect{stroke-dasharray:4 2}.absent rect{fill:#f6d5d5;stroke:#a04040}"
          ".named rect{stroke-width:2}path{fill:none;stroke:#999}.edge:hover path{stroke:#000;stroke-width:2}</style>\n"
          "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
          "orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" style=\"fill:#999;stroke:none\"/></marker></defs>\n",
          stream);
    for (size_t i = 0; i < picture->graph->edges.count; i++)
        put_edge(picture, stream, &picture->graph->edges.at[i]);
    for (uint32_t i = 0; i < picture->graph->nodes.count; i++)
        put_node(picture, stream, i);
    fputs("</svg>\n", stream);
}

static struct crateld_error *draw(struct picture *picture, FILE *stream)
{
    for (uint32_t i = 0; i < picture->graph->nodes.count; i++) {
        const struct graph_node *node = &picture->graph->nodes.at[i];
        size_t length = put_text(NULL, node->name), note = node->bundle ? 19 : strlen(graph_kind_text(node->kind));
        length = length > note ? length : note;
        picture->order[i] = i;
        picture->places[i] = (struct place){.node = i, .width = (double)length * CHARACTER_WIDTH + 2 * PADDING};
    }
    TRY(number_rows(picture));
    TRY(order_rows(picture));
    place_nodes(picture);
    put_picture(picture, stream);
    return NULL;
}

struct crateld_error *graph_write_svg(const struct crate_graph *graph, FILE *stream)
{
    struct picture picture = {
        .graph = graph,
        .places = calloc(graph->nodes.count + 1, sizeof *picture.places),
        .order = calloc(graph->nodes.count + 1, sizeof *picture.order),
    };
    struct crateld_error *error = picture.places && picture.order ? draw(&picture, stream) : error_memory();
    free(picture.places);
    free(picture.order);
    return error;
}
