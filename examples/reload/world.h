/* A world of cells that live and die. */
#ifndef WORLD_H
#define WORLD_H

enum { WIDTH = 48, HEIGHT = 12 };

extern unsigned char world[HEIGHT][WIDTH];

/* Makes the next generation of the world; returns how many there have been. The rules are in a module of their own, to
 * be changed while the world goes on. */
int next_generation(void);

/* The character that stands for a cell. */
char look(int cell);

#endif
