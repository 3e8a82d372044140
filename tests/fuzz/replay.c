/* Stands in for libFuzzer: feeds a fuzzer with whole files, with each of them cut off at every byte of its
 * first and its last 4 KiB, with each byte of its first 4 KiB changed to what is most likely to hurt, and, if the
 * fuzzer has a mutator, with what that makes of them. Every input lies in memory of exactly its size, so that
 * AddressSanitizer sees the first byte read beyond it.
 *
 *   replay [-e EVERY] [-m MUTATIONS] [-s SEED] FILE...
 *
 * Only every EVERYth of the cut and changed inputs is fed, which ones by SEED; MUTATIONS inputs for each file come
 * from the mutator. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only of fuzzers that know their format. */
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { EDGE_SIZE = 4096 };

/* Which inputs to feed. */
struct slice {
    unsigned long every;
    unsigned long mutations;
    unsigned long seed;
    unsigned long turn;
};

static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void feed_in_turn(struct slice *slice, const uint8_t *data, size_t size)
{
    if ((slice->turn++ + slice->seed) % slice->every == 0)
        feed(data, size);
}

static void feed_truncated(struct slice *slice, const uint8_t *data, size_t size)
{
    for (size_t length = 0; length <= size; length++)
        if (length <= EDGE_SIZE || size - length <= EDGE_SIZE)
            feed_in_turn(slice, data, length);
}

static void feed_changed(struct slice *slice, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && i < EDGE_SIZE; i++) {
        uint8_t original = data[i];
        const uint8_t values[] = {0, 0xff, original ^ 0x80, (uint8_t)(original + 1)};
        for (size_t v = 0; v < sizeof values; v++) {
            data[i] = values[v];
            feed_in_turn(slice, data, size);
        }
        data[i] = original;
    }
}

static void feed_mutated(const struct slice *slice, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        abort();
    for (unsigned long i = 0; LLVMFuzzerCustomMutator && i < slice->mutations; i++) {
        memcpy(copy, data, size);
        feed(copy, LLVMFuzzerCustomMutator(copy, size, size, (unsigned)(slice->seed * 1000003 + i)));
    }
    free(copy);
}

/* Reads the whole file; NULL: it can not be read. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return NULL;
    uint8_t *data = NULL;
    if (fseek(stream, 0, SEEK_END) == 0) {
        long end = ftell(stream);
        rewind(stream);
        *size = end > 0 ? (size_t)end : 0;
        data = malloc(*size + 1);
        if (data && fread(data, 1, *size, stream) != *size) {
            free(data);
            data = NULL;
        }
    }
    fclose(stream);
    return data;
}

int main(int argc, char **argv)
{
    struct slice slice = {.every = 1};
    for (int option; (option = getopt(argc, argv, "e:m:s:")) != -1;) {
        if (option == '?')
            return 2;
        unsigned long value = strtoul(optarg, NULL, 10);
        *(option == 'e' ? &slice.every : option == 'm' ? &slice.mutations : &slice.seed) = value;
    }
    for (int i = optind; i < argc; i++) {
        size_t size;
        uint8_t *data = read_file(argv[i], &size);
        if (!data || !slice.every) {
            fprintf(stderr, "%s: cannot read\n", argv[i]);
            return 1;
        }
        feed(data, size);
        feed_truncated(&slice, data, size);
        feed_changed(&slice, data, size);
        feed_mutated(&slice, data, size);
        free(data);
    }
    return 0;
}
