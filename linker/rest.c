#include "linker/rest.h"

enum { AT_A_TIME = 16 }; /* each time other threads are interrupted */

void link_rest_after(const struct link *link, size_t i)
{
    struct span mappings[AT_A_TIME];
    size_t count = 0;
    bool is_time = (i + 1) % AT_A_TIME == 0 || i + 1 == link->objects.count;
    for (size_t k = i - i % AT_A_TIME; is_time && k <= i; k++)
        if (link->objects.at[k]->is_mapped)
            mappings[count++] = link->objects.at[k]->image;
    file_rest(mappings, count);
}
