/* Binary trees and GCBench, collected by crateld, by bdwgc (-DUSE_BDW), or freed by hand (-DUSE_MALLOC).
 * Prints the CPU milliseconds; then, of a collector, the pauses' median, 99th percentile and maximum in microseconds,
 * and their number. bench_gc_trees trees DEPTH | gcbench */
#include "bench_gc.h"

static struct node *make(int depth)
{
    if (depth <= 0)
        return new_node();
    struct node *left = make(depth - 1), *right = make(depth - 1), *node = new_node();
    node->left = left;
    node->right = right;
    return node;
}

static void populate(int depth, struct node *node)
{
    if (depth <= 0)
        return;
    node->left = new_node();
    node->right = new_node();
    populate(depth - 1, node->left);
    populate(depth - 1, node->right);
}

static long count(const struct node *node)
{
    return node->left ? 1 + count(node->left) + count(node->right) : 1;
}

static long tree_size(int depth)
{
    return (2L << depth) - 1;
}

static void require(long found, long wanted)
{
    if (found == wanted)
        return;
    fprintf(stderr, "%ld nodes, wanted %ld\n", found, wanted);
    exit(1);
}

static void trees(int depth)
{
    struct node *stretch = make(depth + 1);
    require(count(stretch), tree_size(depth + 1));
    free_tree(stretch);
    stretch = NULL;
    struct node *long_lived = make(depth);
    for (int d = 4; d <= depth; d += 2) {
        long rounds = 1L << (depth - d + 4), sum = 0;
        for (long i = 0; i < rounds; i++) {
            struct node *tree = make(d);
            sum += count(tree);
            free_tree(tree);
        }
        require(sum, rounds * tree_size(d));
    }
    require(count(long_lived), tree_size(depth));
}

static void gcbench(void)
{
    enum { STRETCH = 18, LONG_LIVED = 16, ARRAY = 500000 };
    struct node *tree = make(STRETCH);
    free_tree(tree);
    struct node *long_lived = new_node();
    populate(LONG_LIVED, long_lived);
    double *array = new_leaf(sizeof *array * ARRAY);
    for (int i = 0; i < ARRAY / 2; i++)
        array[i] = 1.0 / (i + 1);
    for (int depth = 4; depth <= LONG_LIVED; depth += 2) {
        long rounds = 2 * tree_size(STRETCH) / tree_size(depth);
        for (long i = 0; i < rounds; i++) {
            tree = new_node();
            populate(depth, tree);
            free_tree(tree);
        }
        for (long i = 0; i < rounds; i++) {
            tree = make(depth);
            free_tree(tree);
        }
    }
    require(count(long_lived), tree_size(LONG_LIVED));
    require(array[1000] == 1.0 / 1001, 1);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    start_heap();
    double start = cpu_ms();
    if (argc == 3 && !strcmp(argv[1], "trees"))
        trees(atoi(argv[2]));
    else
        gcbench();
    printf("%.4f", cpu_ms() - start);
    report_pauses();
    return 0;
}
