/* Compresses and expands data of several kinds with zlib, at all levels; prints sizes and checksums. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { size = 300000 };

static void fill(unsigned char *data, int kind)
{
    unsigned x = 12345;
    for (int i = 0; i < size; i++) {
        x = x * 1103515245u + 12345u;
        data[i] = kind == 0   ? 0
                  : kind == 1 ? (unsigned char)(x >> 16)
                  : kind == 2 ? "etaoin shrdlu\n"[(x >> 16) % 14]
                              : (unsigned char)(i / 100);
    }
}

static int stream(const unsigned char *data, int level, int bits, int strategy)
{
    static unsigned char packed[2 * size], back[size];
    z_stream z = {0};
    if (deflateInit2(&z, level, Z_DEFLATED, bits, 8, strategy))
        return 1;
    z.next_in = (unsigned char *)data;
    z.next_out = packed;
    for (int i = 0; i < 10; i++) {
        z.avail_in = size / 10;
        z.avail_out = sizeof packed - z.total_out;
        if (deflate(&z, i == 9 ? Z_FINISH : i % 3 ? Z_NO_FLUSH : Z_SYNC_FLUSH) < 0)
            return 2;
    }
    unsigned long n = z.total_out;
    deflateEnd(&z);
    z_stream u = {.next_in = packed, .avail_in = (unsigned)n, .next_out = back, .avail_out = size};
    if (inflateInit2(&u, bits) || inflate(&u, Z_FINISH) != Z_STREAM_END || memcmp(data, back, size))
        return 3;
    inflateEnd(&u);
    printf(" %lu/%08lx", n, crc32(0, packed, (unsigned)n));
    return 0;
}

int main(void)
{
    unsigned char *data = malloc(size);
    printf("%s %lx\n", zlibVersion(), zlibCompileFlags());
    for (int kind = 0; kind < 4; kind++) {
        fill(data, kind);
        printf("%d: %08lx %08lx\n", kind, crc32(0, data, size), adler32(1, data, size));
        for (int level = 0; level <= 9; level++) {
            int rc = stream(data, level, level % 3 == 0 ? -15 : level % 3 == 1 ? 15 : 31, level % 5);
            if (rc)
                return rc;
        }
        putchar('\n');
    }
    gzFile file = gzopen("data.gz", "wb9");
    gzprintf(file, "%s %d %g\n", "hello", 42, 0.25);
    gzwrite(file, data, size);
    gzclose(file);
    char line[64];
    file = gzopen("data.gz", "rb");
    printf("%s", gzgets(file, line, sizeof line));
    gzseek(file, 1000, SEEK_CUR);
    printf("%d %ld\n", gzgetc(file), (long)gztell(file));
    gzclose(file);
    remove("data.gz");
    unsigned long n = sizeof line;
    printf("%d %s\n", uncompress((unsigned char *)line, &n, (const unsigned char *)"rubbish", 7), zError(Z_DATA_ERROR));
    free(data);
    return 0;
}
