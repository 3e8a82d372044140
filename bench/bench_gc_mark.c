/* Marks 2 M objects of two references and a word: those of a tree, allocated in its order, or shuffled. Prints the CPU
 * nanoseconds an object of the fastest of some collections. bench_gc_mark ordered | shuffled */
#include "bench_gc.h"

enum { DEPTH = 20, COUNT = (1 << (DEPTH + 1)) - 1, COLLECTIONS = 7 };

/* As large as what precedes it in crateld's heap, a header of a word, leaves of 32 bytes: 24. For bdwgc that is 32 too.
 */
struct object {
    struct object *left, *right;
    uint64_t word;
};

static struct object **objects;
static int next_object;

/* The objects' places in memory, in the order in which the tree takes them. */
static void allocate(int is_shuffled)
{
    uint64_t x = UINT64_C(88172645463325252);
    objects = new_words(sizeof *objects * COUNT);
    for (int i = 0; i < COUNT; i++)
        objects[i] = new_object();
    for (int i = COUNT - 1; is_shuffled && i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        int k = (int)(x % (unsigned)(i + 1));
        struct object *other = objects[i];
        objects[i] = objects[k];
        objects[k] = other;
    }
}

static struct object *make(int depth)
{
    if (depth <= 0)
        return objects[next_object++];
    struct object *left = make(depth - 1), *right = make(depth - 1), *object = objects[next_object++];
    object->left = left;
    object->right = right;
    return object;
}

int main(int argc, char **argv)
{
    double best = 0;
    if (argc != 2)
        return 2;
    start_heap();
    allocate(!strcmp(argv[1], "shuffled"));
    struct object *root = make(DEPTH);
    memset(objects, 0, sizeof *objects * COUNT);
    objects = NULL; /* the tree alone is marked */
    for (int i = 0; i < COLLECTIONS; i++) {
        double start = cpu_ms();
        collect();
        double took = cpu_ms() - start;
        if (!i || took < best)
            best = took;
    }
    printf("%.4f\n", best * 1e6 / COUNT);
    return root->left == NULL;
}
