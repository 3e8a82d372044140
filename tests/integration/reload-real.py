#!/usr/bin/env python3
"""Programs that others wrote are reloaded while they run: Debian's Lua with a library of C functions, and its SQLite with
functions of C for SQL; in the middle of a script, and of a statement. Usage: reload-real.py lua|sqlite"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'reload_matrix'))
from program import Program, Way

ARCHIVES = '/usr/lib/x86_64-linux-gnu/'


def lua(p):
    p.way.flags.append('-I/usr/include/lua5.4')
    p.module(r'''#include <lua.h>
#include <lauxlib.h>
#include <string.h>
struct counter { long value, step; };
static long made;
static int area(lua_State *lua) { lua_pushnumber(lua, luaL_checknumber(lua, 1) * luaL_checknumber(lua, 2)); return 1; }
static int counter(lua_State *lua) { struct counter *c = lua_newuserdatauv(lua, sizeof *c, 0); c->value = 0; c->step = 1; made++; luaL_setmetatable(lua, "counter"); return 1; }
static int next(lua_State *lua) { struct counter *c = luaL_checkudata(lua, 1, "counter"); c->value += c->step; lua_pushinteger(lua, c->value); return 1; }
static int count(lua_State *lua) { lua_pushinteger(lua, made); return 1; }
static int fail(lua_State *lua) { return luaL_error(lua, "failed with %d", 1); }
static const luaL_Reg functions[] = {{"area", area}, {"counter", counter}, {"count", count}, {"fail", fail}, {0, 0}};
int luaopen_shapes(lua_State *lua)
{
    luaL_newmetatable(lua, "counter");
    lua_pushcfunction(lua, next);
    lua_setfield(lua, -2, "__call");
    luaL_newlib(lua, functions);
    return 1;
}
''', 'shapes')
    p.module(r'''#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
int luaopen_shapes(lua_State *lua);
static lua_State *lua;
static int c_nest(lua_State *state) { lua_pushinteger(state, nest()); return 1; }
long act(const char *line)
{
    if (!lua) { lua = luaL_newstate(); luaL_openlibs(lua); luaL_requiref(lua, "shapes", luaopen_shapes, 1); lua_settop(lua, 0); lua_register(lua, "nest", c_nest); }
    if (line[0] == 'o') { luaL_dostring(lua, "package.loaded.shapes = nil"); luaL_requiref(lua, "shapes", luaopen_shapes, 1); }
    lua_settop(lua, 0);
    if (luaL_dostring(lua, line[0] == 'o' ? "return 1" : line)) { fprintf(stderr, "%s\n", lua_tostring(lua, -1)); return -1; }
    return (long)lua_tonumber(lua, -1);
}
''', 'host')
    p.start(libraries=[ARCHIVES + 'liblua5.4.a'])
    p.ask('c = shapes.counter(); f = shapes.area; return f(3, 4)', 12)
    p.ask('return c() + c()', 3)
    # In the middle of a coroutine and of a loop, which go on with the functions that they hold.
    p.tell('local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(f(i, 10)) end end) local sum = co() nest() for i = 1, 2 do sum = sum + co() end return sum * 1000 + c()')
    p.reload(shapes=p.edited(('luaL_checknumber(lua, 1) * luaL_checknumber(lua, 2)', 'luaL_checknumber(lua, 1) * luaL_checknumber(lua, 2) + 0.5 * made'),
                             ('c->value += c->step', 'c->value += 10 * c->step'), name='shapes'))
    p.ask('return f(3, 4) * 10', 125)
    p.tell('back')
    p.wants(61012, 'the script returns')
    p.ask('return select(2, pcall(shapes.fail)):find("failed with 1") and 5 or 6', 5)
    p.reload(shapes=p.edited(('"failed with %d", 1', '"failed again with %d", 2'), ('{"fail", fail}', '{"fail", fail}, {"twice", twice}'),
                             ('static int fail(', 'static int twice(lua_State *lua) { lua_pushnumber(lua, 2 * luaL_checknumber(lua, 1)); return 1; }\nstatic int fail('), name='shapes'))
    p.ask('return select(2, pcall(shapes.fail)):find("failed again with 2") and 5 or 6', 5)
    p.ask('return shapes.twice == nil and 1 or 2', 1)
    p.ask('o', 1)  # the library is opened again
    p.ask('return shapes.twice(21) + c() * 100', 2242)
    p.finish()


def sqlite(p):
    p.module(r'''#include <sqlite3.h>
static long calls;
static void grade(sqlite3_context *context, int count, sqlite3_value **values) { calls++; sqlite3_result_int64(context, sqlite3_value_int64(values[0]) * 2); }
static void step(sqlite3_context *context, int count, sqlite3_value **values) { long *total = sqlite3_aggregate_context(context, sizeof *total); *total += sqlite3_value_int64(values[0]); }
static void final(sqlite3_context *context) { long *total = sqlite3_aggregate_context(context, sizeof *total); sqlite3_result_int64(context, *total); }
static int by_size(void *context, int n, const void *a, int m, const void *b) { return n - m; }
long calls_so_far(void) { return calls; }
void enter_functions(sqlite3 *db)
{
    sqlite3_create_function(db, "grade", 1, SQLITE_UTF8, 0, grade, 0, 0);
    sqlite3_create_function(db, "total_of", 1, SQLITE_UTF8, 0, 0, step, final);
    sqlite3_create_collation(db, "by_size", SQLITE_UTF8, 0, by_size);
}
''', 'functions')
    p.module(r'''#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
long calls_so_far(void); void enter_functions(sqlite3 *db);
static sqlite3 *db; static sqlite3_stmt *stepped;
static void want(int rc) { if (rc) fprintf(stderr, "%s\n", sqlite3_errmsg(db)); }
long act(const char *line)
{
    long result = 0;
    if (!db) { want(sqlite3_open(":memory:", &db)); enter_functions(db);
        want(sqlite3_exec(db, "CREATE TABLE t(x INTEGER, name TEXT); CREATE TABLE log(y); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(grade(new.x)); END;"
                              "INSERT INTO t VALUES(1, 'ccc'), (2, 'bb'), (3, 'a')", 0, 0, 0)); }
    if (!strcmp(line, "calls")) return calls_so_far();
    if (!strcmp(line, "step")) {
        if (!stepped) want(sqlite3_prepare_v2(db, "SELECT grade(x) FROM t", -1, &stepped, 0));
        if (sqlite3_step(stepped) == SQLITE_ROW) return sqlite3_column_int64(stepped, 0);
        sqlite3_finalize(stepped); stepped = 0; return -1;
    }
    sqlite3_stmt *statement;
    want(sqlite3_prepare_v2(db, line, -1, &statement, 0));
    if (sqlite3_step(statement) == SQLITE_ROW) result = sqlite3_column_int64(statement, 0);
    want(sqlite3_finalize(statement));
    return result;
}
''', 'host')
    p.start(libraries=[ARCHIVES + 'libsqlite3.a'])
    p.ask('SELECT total_of(y) FROM log', 12)
    p.ask('SELECT x FROM t ORDER BY name COLLATE by_size LIMIT 1', 3)
    p.ask('step', 2)
    p.reload(functions=p.edited(('* 2)', '* 100)'), ('*total += ', '*total += 1000 + '), ('return n - m', 'return m - n'), name='functions'))
    p.ask('step', 200)  # the statement goes on, with the new function
    p.ask('step', 300)
    p.ask('step', -1)
    p.ask("INSERT INTO t VALUES(7, 'dddd')", 0)
    p.ask('SELECT total_of(y) FROM log', 4712)
    p.ask('SELECT x FROM t ORDER BY name COLLATE by_size LIMIT 1', 7)
    p.ask('calls', 7)
    p.reload(functions=p.edited(('calls++', 'calls += 10'), name='functions'))
    p.ask('SELECT grade(5)', 500)
    p.ask('calls', 17)
    p.finish()


def main():
    name = sys.argv[1]
    archive = {'lua': 'liblua5.4.a', 'sqlite': 'libsqlite3.a'}[name]
    if not os.path.exists(ARCHIVES + archive):
        print(f'skipped: no {archive}', file=sys.stderr)
        return 77
    for way in (Way('gcc', '-O2', True, True, False, 'c'), Way('clang', '-O0', True, True, True, 'c')):
        with tempfile.TemporaryDirectory() as folder:
            program = Program(way, folder)
            try:
                globals()[name](program)
            finally:
                program.kill()
        print(f'ok   {name} [{way}]')
    return 0


if __name__ == '__main__':
    sys.exit(main())
