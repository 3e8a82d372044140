#include "pack.h"

#include <stdlib.h>
#include <zlib.h>

size_t pack_size(const void *bytes, size_t size)
{
    uLongf packed = compressBound(size);
    Bytef *buffer = malloc(packed);
    if (!buffer || compress2(buffer, &packed, bytes, size, 9) != Z_OK)
        abort();
    free(buffer);
    return packed;
}
