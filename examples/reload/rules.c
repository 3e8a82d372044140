/* Conway's rules: a cell with three neighbours is alive, and one with two if it was. */
#include <string.h>

#include "world.h"

static int neighbours(int y, int x)
{
    int count = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            count += (dy || dx) && world[(y + dy + HEIGHT) % HEIGHT][(x + dx + WIDTH) % WIDTH];
    return count;
}

int next_generation(void)
{
    static int generation;
    unsigned char next[HEIGHT][WIDTH];
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            int count = neighbours(y, x);
            next[y][x] = count == 3 || (count == 2 && world[y][x]);
        }
    memcpy(world, next, sizeof world);
    return ++generation;
}

char look(int cell)
{
    return cell ? '#' : '.';
}
