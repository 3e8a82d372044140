/* crateld: the command. `run` works in this process; the tools, which need libelf and more, are another
 * program. */
#include <stdio.h>

int main(void)
{
    puts("crateld 0.1.0");
    return 0;
}
