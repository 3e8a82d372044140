/* Runs the functions that a Lua script returns, and prints the milliseconds of processor time that each
 * takes: the shortest of several times. */
#include <stdio.h>
#include <time.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

enum { REPEATS = 8 };

static double processor_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Calls the function on top of the stack, and leaves it there. Returns the milliseconds, or -1 on an error.
 */
static double run_once(lua_State *lua)
{
    lua_gc(lua, LUA_GCCOLLECT);
    double start = processor_ms();
    lua_pushvalue(lua, -1);
    return lua_pcall(lua, 0, 0, 0) == LUA_OK ? processor_ms() - start : -1;
}

static int fail(lua_State *lua)
{
    fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    return 1;
}

int main(int argc, char **argv)
{
    lua_State *lua = luaL_newstate();
    if (argc != 2 || !lua)
        return 2;
    luaL_openlibs(lua);
    if (luaL_dofile(lua, argv[1]) != LUA_OK)
        return fail(lua);
    for (int i = 1; lua_rawgeti(lua, -1, i) == LUA_TFUNCTION; i++) {
        double best = 0;
        for (int k = 0; k < REPEATS; k++) {
            double took = run_once(lua);
            if (took < 0)
                return fail(lua);
            if (!k || took < best)
                best = took;
        }
        printf("%.4f ", best);
        lua_pop(lua, 1);
    }
    printf("\n");
    lua_close(lua);
    return 0;
}
