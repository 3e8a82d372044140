#include "script.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

void script_apply(const char *path, struct table *table)
{
    lua_State *lua = luaL_newstate();
    luaL_openlibs(lua);
    if (luaL_dofile(lua, path)) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        exit(1);
    }
    for (size_t i = 0; i < table->count; i++) {
        lua_getglobal(lua, "score");
        lua_pushstring(lua, table->entries[i].word);
        lua_pushinteger(lua, table->entries[i].count);
        lua_call(lua, 2, 1);
        table->entries[i].count = (long)lua_tointeger(lua, -1);
        lua_pop(lua, 1);
    }
    lua_close(lua);
}
