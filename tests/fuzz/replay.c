/* Stands in for libFuzzer: feeds a fuzzer with whole files, with each of them cut off at every byte of its
 * first and its last 4 KiB, and with each byte of its first 4 KiB changed to what is most likely to hurt.
 * Every input lies in memory of exactly its size, so that AddressSanitizer sees the first byte read beyond
 * it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EDGE_SIZE = 4096 };

static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void feed_truncated(const uint8_t *data, size_t size)
{
    for (size_t length = 0; length <= size; length++)
        if (length <= EDGE_SIZE || size - length <= EDGE_SIZE)
            feed(data, length);
}

static void feed_changed(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && i < EDGE_SIZE; i++) {
        uint8_t original = data[i];
        const uint8_t values[] = {0, 0xff, original ^ 0x80, (uint8_t)(original + 1)};
        for (size_t v = 0; v < sizeof values; v++) {
            data[i] = values[v];
            feed(data, size);
        }
        data[i] = original;
    }
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
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *data = read_file(argv[i], &size);
        if (!data) {
            fprintf(stderr, "%s: cannot read\n", argv[i]);
            return 1;
        }
        feed_truncated(data, size);
        feed_changed(data, size);
        free(data);
    }
    return 0;
}
