/* Runs the Lua scripts named, with the standard libraries, a function of C's and errors that unwind by longjmp. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

static int sum(lua_State *lua)
{
    lua_Number total = 0;
    for (int i = 1; i <= lua_gettop(lua); i++)
        total += luaL_checknumber(lua, i);
    lua_pushnumber(lua, total);
    return 1;
}

static int writer(lua_State *lua, const void *piece, size_t size, void *context)
{
    (void)lua;
    (void)piece;
    *(size_t *)context += size;
    return 0;
}

static const luaL_Reg functions[] = {{"sum", sum}, {NULL, NULL}};

int main(int argc, char **argv)
{
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    luaL_newlib(lua, functions);
    lua_setglobal(lua, "host");
    for (int i = 1; i < argc; i++) {
        if (luaL_loadfile(lua, argv[i])) {
            printf("load: %s\n", lua_tostring(lua, -1));
            lua_pop(lua, 1);
            continue;
        }
        size_t size = 0;
        lua_dump(lua, writer, &size, 1);
        printf("%zu bytes of code\n", size);
        if (lua_pcall(lua, 0, LUA_MULTRET, 0)) {
            printf("error: %s\n", lua_tostring(lua, -1));
            lua_pop(lua, 1);
        }
    }
    printf("%d values left, %d\n", lua_gettop(lua), lua_gc(lua, LUA_GCCOUNT, 0) > 10);
    lua_close(lua);
    fprintf(stderr, "done\n");
    return 3;
}
