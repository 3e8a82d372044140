/* Shows the world, generation after generation. Knows nothing of its modules being replaced. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "world.h"

unsigned char world[HEIGHT][WIDTH];

int main(int argc, char **argv)
{
    int generations = argc > 1 ? atoi(argv[1]) : 100;
    unsigned seed = 1;
    for (int i = 0; i < WIDTH * HEIGHT; i++, seed = seed * 1103515245 + 12345)
        world[i / WIDTH][i % WIDTH] = seed >> 16 & 1;
    for (int number = 0; number < generations; usleep(100000)) {
        number = next_generation();
        printf("generation %d\n", number);
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < WIDTH; x++)
                putchar(look(world[y][x]));
            putchar('\n');
        }
        fflush(stdout);
    }
    return 0;
}
