#include "loader/maps.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    int fd;
    size_t size, at;
    char text[16 << 10];
} maps;

void maps_begin(int fd)
{
    maps.fd = fd;
    maps.size = maps.at = 0;
}

char *maps_next_line(void)
{
    for (;;) {
        char *line = maps.text + maps.at, *end = memchr(line, '\n', maps.size - maps.at);
        if (end) {
            *end = 0;
            maps.at = (size_t)(end + 1 - maps.text);
            return line;
        }
        memmove(maps.text, line, maps.size - maps.at);
        maps.size -= maps.at;
        maps.at = 0;
        ssize_t got = read(maps.fd, maps.text + maps.size, sizeof maps.text - maps.size);
        if (got <= 0)
            return NULL;
        maps.size += (size_t)got;
    }
}

bool maps_next(struct mapping *ret)
{
    char *line = maps_next_line(), *rest;
    if (!line)
        return false;
    ret->start = strtoull(line, &rest, 16);
    ret->end = strtoull(rest + (*rest == '-'), &rest, 16);
    ret->is_writable = strlen(rest) > 4 && rest[1] == 'r' && rest[2] == 'w';
    ret->is_private = ret->is_writable && rest[4] == 'p';
    ret->is_guard = !strncmp(rest, " ---", 4);
    ret->name = strpbrk(rest, "/[");
    return true;
}
