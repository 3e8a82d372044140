/* Compresses and expands with zstd: levels, streams, a dictionary, several threads if it has them. */
#define ZDICT_STATIC_LINKING_ONLY
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>

enum { size = 400000 };
static unsigned char data[size], packed[size + 10000], back[size];

static unsigned long sum(const unsigned char *bytes, size_t n)
{
    unsigned long h = 14695981039346656037ul;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 1099511628211ul;
    return h;
}

static int levels(void)
{
    static const int tried[] = {-5, 1, 2, 3, 5, 7, 9, 12, 15, 17, 19};
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        size_t n = ZSTD_compress(packed, sizeof packed, data, size, tried[i]);
        if (ZSTD_isError(n) || ZSTD_decompress(back, size, packed, n) != size || memcmp(data, back, size))
            return 1;
        printf("%d: %zu %016lx\n", tried[i], n, sum(packed, n));
    }
    return 0;
}

static int stream(int workers)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_nbWorkers, workers);
    ZSTD_outBuffer out = {packed, sizeof packed, 0};
    for (size_t at = 0; at < size; at += 50000) {
        ZSTD_inBuffer in = {data + at, 50000, 0};
        size_t left;
        do {
            left = ZSTD_compressStream2(c, &out, &in, at + 50000 == size ? ZSTD_e_end : ZSTD_e_flush);
            if (ZSTD_isError(left))
                return 2;
        } while (left || in.pos < in.size);
    }
    ZSTD_freeCCtx(c);
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ZSTD_inBuffer in = {packed, out.pos, 0};
    ZSTD_outBuffer whole = {back, size, 0};
    if (ZSTD_decompressStream(d, &whole, &in) || whole.pos != size || memcmp(data, back, size))
        return 3;
    ZSTD_freeDCtx(d);
    printf("stream: %zu %016lx\n", out.pos, sum(packed, out.pos));
    return 0;
}

static int dictionary(void)
{
    static size_t sizes[size / 400];
    static unsigned char dict[8192];
    for (size_t i = 0; i < size / 400; i++)
        sizes[i] = 400;
    size_t n = ZDICT_trainFromBuffer(dict, sizeof dict, data, sizes, size / 400);
    printf("dictionary: %s\n", ZDICT_isError(n) ? ZDICT_getErrorName(n) : "trained");
    if (ZDICT_isError(n))
        return 0;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t m = ZSTD_compress_usingDict(c, packed, sizeof packed, data, 4000, dict, n, 6);
    ZSTD_freeCCtx(c);
    printf("%zu %zu %016lx %u\n", n, m, sum(packed, m), ZSTD_getDictID_fromFrame(packed, m) != 0);
    return 0;
}

int main(void)
{
    unsigned x = 1;
    for (int i = 0; i < size; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (unsigned char)(i % 97 < 60 ? "the quick brown fox "[i % 20] : "0123456789abcdef"[x >> 28]);
    }
    printf("%s %d\n", ZSTD_versionString(), ZSTD_maxCLevel());
    int rc = levels();
    rc = rc ? rc : stream(0);
    rc = rc ? rc : stream(2);
    rc = rc ? rc : dictionary();
    printf("%s\n", ZSTD_getErrorName(ZSTD_decompress(back, size, "rubbish!", 8)));
    return rc;
}
