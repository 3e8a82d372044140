/* Runs a Lua script and prints the milliseconds of processor time that it took, without the start of the
 * interpreter. */
#include <stdio.h>
#include <time.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static double processor_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    lua_State *lua = luaL_newstate();
    if (argc != 2 || !lua)
        return 2;
    luaL_openlibs(lua);
    double start = processor_ms();
    if (luaL_dofile(lua, argv[1]) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        return 1;
    }
    printf("%.4f\n", processor_ms() - start);
    lua_close(lua);
    return 0;
}
