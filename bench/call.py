"""Group call: what calls cost, and code as a whole."""

import random
import statistics

from build import SOURCES, compile_all, crate, executable, folder, run, shared
from measure import alternate, floor_of_loops, printed, row
from lua import lua_source

GCC = ("gcc", "-O2", "-fPIC")
TOC = ("crateld", "cc", "-O2")
SCRIPT = SOURCES / "bench_lua.lua"
LUA_RUNS = 8
HERE = "-Wl,-rpath,$ORIGIN"


def loops_against(ours, peer):
    """Runs two programs of loops.h in turns; each is a folder and a command."""
    return tuple(floor_of_loops(runs) for runs in alternate(lambda: printed(*ours), lambda: printed(*peer)))


def floors_against(ours, peer):
    """Runs two programs in turns that print one figure."""
    return tuple(min(runs) for runs in alternate(lambda: printed(*ours)[0], lambda: printed(*peer)[0]))


def call_peer(at):
    """Caller and callees as an executable and a shared library."""
    callees, caller = compile_all(GCC, [SOURCES / "bench_call_callees.c", SOURCES / "bench_call.c"], at)
    shared([callees], "libcallees.so", cwd=at)
    executable([caller], "caller", "-L.", "-lcallees", HERE, cwd=at)
    return ["./caller"], at


def call_crates(at, compiler):
    callees, caller = compile_all(compiler, [SOURCES / "bench_call_callees.c", SOURCES / "bench_call.c"], at)
    crate([callees], "callees.crate", cwd=at)
    crate([caller], "caller.crate", "callees.crate", cwd=at)
    return ["crateld", "run", "caller.crate"], at


@row("call", "import-plain", "ns/call", "PLT call between ELF files", 1.03)
def import_plain():
    return loops_against(call_crates(folder("import-plain"), GCC), call_peer(folder("import-plain-peer")))


@row("call", "import-toc", "ns/call", "PLT call between ELF files", 1.03)
def import_toc():
    return loops_against(call_crates(folder("import-toc"), TOC), call_peer(folder("import-toc-peer")))


@row("call", "pointer-toc", "ns/call", "pointer call in an ELF program (gcc -O2 -fPIC)", 1.05)
def pointer_toc():
    at = folder("pointer-toc")
    executable(compile_all(GCC, [SOURCES / "bench_pointer.c"], at), "pointer", cwd=at)
    crate(compile_all(TOC, [SOURCES / "bench_pointer.c"], at), "pointer.crate", cwd=at)
    return loops_against((["crateld", "run", "pointer.crate"], at), (["./pointer"], at))


LIBRARIES, FUNCTIONS = 20, 200


def library_source(i):
    """A library of functions, one that calls as many in the five libraries behind it, and one by which it is started."""
    callees = [f"library{(i + 1 + k % 5) % LIBRARIES}_function{k}" for k in range(FUNCTIONS)]
    return "".join(
        [f"int library{i}_function{k}(int x) {{ return x + {k}; }}\n" for k in range(FUNCTIONS)]
        + [f"int {callee}(int x);\n" for callee in callees]
        + [f"int library{i}_start(int x) {{ return x; }}\nint library{i}_calls(int x)\n{{\n"]
        + [f"    x = {callee}(x);\n" for callee in callees]
        + ["    return x;\n}\n"]
    )


def first_call_main():
    """Starts all libraries, then prints ns a call of the first round of calls."""
    each = range(LIBRARIES)
    return (
        '#include "loops.h"\n'
        + "".join(f"int library{i}_start(int x);\nint library{i}_calls(int x);\n" for i in each)
        + "int main(void)\n{\n    int x = 0;\n"
        + "".join(f"    x = library{i}_start(x);\n" for i in each)
        + "    double start = clock_ns();\n"
        + "".join(f"    x = library{i}_calls(x);\n" for i in each)
        + f'    printf("%.4f\\n", (clock_ns() - start) / {LIBRARIES * FUNCTIONS});\n    return x == 0;\n}}\n'
    )


def first_call_crates(at, objects):
    """The libraries need each other in a circle, so what a later one will define is declared."""
    for i in range(LIBRARIES):
        declared = []
        for k in range(FUNCTIONS):
            other = (i + 1 + k % 5) % LIBRARIES
            declared += ["--declare", f"library{other}.crate:library{other}_function{k}"]
        crate([objects[i]], f"library{i}.crate", *declared, cwd=at)
    crate([objects[-1]], "main.crate", *[f"library{i}.crate" for i in range(LIBRARIES)], cwd=at)


@row("call", "first-call", "ns/call", "first call through ld.so (-z lazy)", 0.30)
def first_call():
    at = folder("first-call")
    names = [f"library{i}.c" for i in range(LIBRARIES)] + ["main.c"]
    for i in range(LIBRARIES):
        (at / names[i]).write_text(library_source(i))
    (at / "main.c").write_text(first_call_main())
    objects = compile_all((*GCC, f"-I{SOURCES}"), names, at)
    lazy = "-Wl,-z,lazy"
    for i in range(LIBRARIES):
        shared([objects[i]], f"liblibrary{i}.so", lazy, cwd=at)
    executable([objects[-1]], "main", *[f"liblibrary{i}.so" for i in range(LIBRARIES)], lazy, HERE, cwd=at)
    first_call_crates(at, objects)
    return floors_against((["crateld", "run", "main.crate"], at), (["./main"], at))


LAYOUTS = 5


def layouts(objects):
    """The objects in several orders: where code lies makes a program a per cent faster or slower, whoever links it."""
    orders = [list(objects) for _ in range(LAYOUTS)]
    for i, order in enumerate(orders):
        random.Random(i).shuffle(order)
    return orders


def mean_of_layouts(commands):
    """A function that runs each command once, and one that reduces what it returned, run after run, to a figure: of each
    layout and part of the work the shortest time, the parts summed up, the layouts averaged."""

    def run_all():
        return [printed(*command) for command in commands]

    def reduce(runs):
        return statistics.mean(sum(min(part) for part in zip(*layout)) for layout in zip(*runs))

    return run_all, reduce


def lua_against(at, objects, peer_at, peer_objects):
    """Links crates and ELF programs of the objects in several orders, and runs them in turns."""
    ours, peer = [], []
    for i, order in enumerate(layouts(objects)):
        crate(order, f"lua{i}.crate", "-lm", cwd=at)
        ours.append((["crateld", "run", f"lua{i}.crate", str(SCRIPT)], at))
    for i, order in enumerate(layouts(peer_objects)):
        executable(order, f"lua{i}", "-lm", cwd=peer_at)
        peer.append(([f"./lua{i}", str(SCRIPT)], peer_at))
    run_ours, reduce = mean_of_layouts(ours)
    run_peer, _ = mean_of_layouts(peer)
    return tuple(reduce(runs) for runs in alternate(run_ours, run_peer, LUA_RUNS))


@row("call", "lua-plain", "ms", "the same objects (liblua5.4.a) linked by gcc", 1.02)
def lua_plain():
    at = folder("lua-plain")
    archive = run("gcc", "-print-file-name=liblua5.4.a", cwd=at).strip()
    run("ar", "x", archive, cwd=at)
    objects = sorted(file.name for file in at.glob("*.o"))
    objects += compile_all((*GCC, "-I/usr/include/lua5.4"), [SOURCES / "bench_lua.c"], at)
    return lua_against(at, objects, at, objects)


def lua_objects(name, compiler):
    source = lua_source()
    at = folder(name)
    programs = {"lua.c", "luac.c"}
    files = sorted(file for file in source.glob("*.c") if file.name not in programs)
    options = ("-DLUA_COMPAT_5_3", "-DLUA_USE_POSIX", f"-I{source}")
    return at, compile_all((*compiler, *options), [*files, SOURCES / "bench_lua.c"], at)


@row("call", "lua-toc", "ms", "the same source (Lua 5.4) by gcc -O2 -fPIC", 1.02)
def lua_toc():
    return lua_against(*lua_objects("lua-toc", TOC), *lua_objects("lua-toc-peer", GCC))
