#!/bin/bash
# ELF libraries that import from the program: Lua's C modules, and a library named at link time.
. "$(dirname "$0")/lib.sh"
lua=$(find /usr/lib -name liblua5.4.a | head -1)
[ -n "$lua" ] || skip "no liblua5.4.a"
source_file m.c <<'C'
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_dofile(L, argv[argc - 1])) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_close(L);
    return 0;
}
C
source_file mod.c <<'C'
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
static int add(lua_State *L) { lua_pushinteger(L, luaL_checkinteger(L, 1) + luaL_checkinteger(L, 2)); return 1; }
static int fault(lua_State *L) { return luaL_error(L, "from the module"); }
static int call(lua_State *L) { lua_pushvalue(L, 1); lua_call(L, 0, 1); return 1; }
static const luaL_Reg functions[] = {{"add", add}, {"fault", fault}, {"call", call}, {0, 0}};
int luaopen_mod(lua_State *L) { luaL_newlib(L, functions); return 1; }
C
source_file t.lua <<'L'
package.cpath = "./?.so"
local mod = require "mod"
print(mod.add(40, 2), pcall(mod.fault), mod.call(function() return "back" end))
print(mod.call(coroutine.wrap(function() coroutine.yield(7) end)))
print(pcall(require, "nosuch") == false)
L
$CC -O2 -c m.c
$CC -O2 -shared -fPIC mod.c -o mod.so
$CC m.o -Wl,-E -Wl,--whole-archive "$lua" -Wl,--no-whole-archive -lm -ldl -o native 2>/dev/null || skip "no native program"
./native t.lua >want
crateld link -o m.crate m.o --whole-archive "$lua" --no-whole-archive -lm -ldl
for mode in "" --aslr --bind-now; do
    status 0 crateld run $mode m.crate t.lua
    cmp out want || fail "the module behaves differently $mode"
done
# Split: the interpreter as a crate of its own.
crateld link -o lua.crate --whole-archive "$lua" --no-whole-archive -lm -ldl
crateld link -o m.crate m.o lua.crate
status 0 crateld run m.crate t.lua
cmp out want || fail "the module behaves differently with two crates"

# A library named at link time that has undefined symbols of the program.
source_file lib.c <<'C'
int from_program(int);
extern int program_data;
int lib(int x) { return from_program(x) + program_data; }
C
source_file p.c <<'C'
#include <stdio.h>
int program_data = 7;
int from_program(int x) { return x * 3; }
int lib(int);
int main(void) { printf("%d\n", lib(5)); program_data = 1; printf("%d\n", lib(5)); return 0; }
C
$CC -shared -fPIC -o liblib.so lib.c
$CC -O2 -fPIC -c p.c
crateld link -o p.crate p.o -L. -llib
LD_LIBRARY_PATH=. status 0 crateld run p.crate
[ "$(cat out)" = "$(printf '22\n16')" ] || fail "$(cat out)"
