/* A crate that a program opens: examples/host/host.c. */
#include <stdio.h>

void say(const char *text); /* the program's */
int greet(const char *whom);

int greet(const char *whom)
{
    char text[100];
    int length = snprintf(text, sizeof text, "hello, %s", whom);
    say(text);
    return length;
}
