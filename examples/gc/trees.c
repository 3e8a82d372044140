/* Collected trees and hash tables, in plain C: counts words, keeps them sorted in a tree, and looks them up in a table
 * that grows. All is found by the collector: pointers in locals are ordinary pointers, nothing is freed. trees
 * [TEXT-FILE]    CRATELD_GC=heap=16M,multiplier=2 and the like choose the heap */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crateld/gc.h"

struct word {
    struct word *left, *right; /* the tree: by text */
    struct word *next;         /* the table's bucket */
    const char *text;
    uint64_t hash, count;
};

struct table {
    struct word **buckets;
    size_t bucket_count, word_count;
    struct word *tree;
};

CRATELD_GC_TYPE(word_type, struct word, offsetof(struct word, left), offsetof(struct word, right),
                offsetof(struct word, next), offsetof(struct word, text));
CRATELD_GC_TYPE(table_type, struct table, offsetof(struct table, buckets), offsetof(struct table, tree));
static const struct crateld_gc_type buckets_type = {"buckets", CRATELD_GC_ARRAY, 0, NULL, 0};
static const struct crateld_gc_type text_type = {"text", CRATELD_GC_LEAF, 0, NULL, 0};

static struct crateld_gc_heap *heap;
static uint32_t word_number, table_number, buckets_number, text_number;

static void check(struct crateld_error *error)
{
    if (!error)
        return;
    fprintf(stderr, "trees: %s\n", crateld_error_message(error));
    exit(1);
}

static void *allocate(uint32_t type, size_t size)
{
    void *object = crateld_gc_alloc(crateld_gc_mutator(heap), type, size);
    if (object)
        return object;
    fprintf(stderr, "trees: %s\n", crateld_gc_why(heap));
    exit(1);
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

/* Twice as many buckets: the old ones are simply left. */
static void grow(struct table *table)
{
    size_t count = table->bucket_count ? 2 * table->bucket_count : 16;
    struct word **buckets = allocate(buckets_number, count * sizeof *buckets);
    for (size_t i = 0; i < table->bucket_count; i++)
        for (struct word *word = table->buckets[i], *next; word; word = next) {
            struct word **bucket = &buckets[word->hash % count];
            next = word->next;
            word->next = *bucket;
            *bucket = word;
        }
    table->buckets = buckets;
    table->bucket_count = count;
}

static void enter_in_tree(struct word **tree, struct word *word)
{
    while (*tree)
        tree = strcmp(word->text, (*tree)->text) < 0 ? &(*tree)->left : &(*tree)->right;
    *tree = word;
}

static struct word *find(struct table *table, const char *text)
{
    uint64_t hash = hash_of(text);
    if (table->word_count >= table->bucket_count)
        grow(table);
    struct word **bucket = &table->buckets[hash % table->bucket_count];
    for (struct word *word = *bucket; word; word = word->next)
        if (word->hash == hash && !strcmp(word->text, text))
            return word;
    size_t size = strlen(text) + 1;
    struct word *word = allocate(word_number, sizeof *word);
    word->text = memcpy(allocate(text_number, size), text, size);
    word->hash = hash;
    word->next = *bucket;
    *bucket = word;
    table->word_count++;
    enter_in_tree(&table->tree, word);
    return word;
}

static struct table *read_words(FILE *from)
{
    struct table *table = allocate(table_number, sizeof *table);
    char text[64];
    size_t length = 0;
    for (int c = 0; c != EOF;) {
        c = getc(from);
        if (c != EOF && isalpha(c) && length < sizeof text - 1) {
            text[length++] = (char)tolower(c);
        } else if (length) {
            text[length] = 0;
            find(table, text)->count++;
            length = 0;
        }
    }
    return table;
}

static void print_tree(const struct word *tree)
{
    if (!tree)
        return;
    print_tree(tree->left);
    printf("%6llu %s\n", (unsigned long long)tree->count, tree->text);
    print_tree(tree->right);
}

int main(int argc, char **argv)
{
    struct crateld_gc_opts opts = {0};
    const char *options = getenv("CRATELD_GC");
    check(crateld_gc_opts_parse(options ? options : "heap=16M", &opts));
    opts.is_stack_scanned = true;
    check(crateld_gc_heap_create(&opts, &heap));
    check(crateld_gc_type_add(heap, &word_type, &word_number));
    check(crateld_gc_type_add(heap, &table_type, &table_number));
    check(crateld_gc_type_add(heap, &buckets_type, &buckets_number));
    check(crateld_gc_type_add(heap, &text_type, &text_number));
    FILE *from = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!from) {
        perror(argv[1]);
        return 1;
    }
    struct table *table = read_words(from);
    print_tree(table->tree);
    fclose(from);
    crateld_gc_heap_destroy(heap);
    return 0;
}
