/* Compresses bytes, to see how far they can be. */
#pragma once

#include <stddef.h>
size_t pack_size(const void *bytes, size_t size);
