"""Group load: how long starting takes."""

import os
from concurrent.futures import ThreadPoolExecutor

from build import compile_all, crate, executable, folder, kept, run, shared
from measure import alternate, row, wall_ms

HELLO_RUNS = 300
LIBRARIES, FUNCTIONS = 500, 200
TABLE, POINTERS = 20, 100

HELLO = '#include <stdio.h>\nint main(void)\n{\n    puts("hello");\n    return 0;\n}\n'


@row("load", "hello", "ms", "the same program as ELF", 1.25)
def hello():
    at = folder("hello")
    (at / "hello.c").write_text(HELLO)
    objects = compile_all(("gcc", "-O2"), ["hello.c"], at)
    executable(objects, "hello", cwd=at)
    crate(objects, "hello.crate", cwd=at)
    ours, peer = alternate(
        lambda: wall_ms(["crateld", "run", "hello.crate"], at), lambda: wall_ms(["./hello"], at), HELLO_RUNS
    )
    return min(ours), min(peer)


def callees(i):
    """What the library's functions call, each one: (library, function), in the five libraries behind it."""
    return [((i + 1 + k % 5) % LIBRARIES, k) for k in range(FUNCTIONS)]


def library_source(i):
    """A library of functions, each of which calls one of another library; a table of functions elsewhere, and one of
    addresses within."""
    called = [f"library{other}_function{k}" for other, k in callees(i)]
    table, pointers = ", ".join(called[:TABLE]), ", ".join(f"cells{i} + {k}" for k in range(POINTERS))
    return "".join(
        [f"int {callee}(int);\n" for callee in called]
        + [
            f"int library{i}_function{k}(int depth)\n{{\n    return depth <= 0 ? {k} : {callee}(depth - 1) + {i};\n}}\n"
            for k, callee in enumerate(called)
        ]
        + [f"int (*table{i}[])(int) = {{{table}}};\nstatic int cells{i}[{POINTERS}];\nint *pointers{i}[] = {{{pointers}}};\n"]
    )


def main_source():
    """A program that needs all libraries: without an argument it uses six of them, with one it calls into each."""
    each = range(LIBRARIES)
    return (
        "".join(f"int library{i}_function0(int);\n" for i in each)
        + "int main(int argc, char **argv)\n{\n    (void)argv;\n    int sum = 0;\n    if (argc == 1)\n"
        + "        return library0_function0(5) == -1;\n"
        + "".join(f"    sum += library{i}_function0(1);\n" for i in each)
        + "    return sum == -1;\n}\n"
    )


def in_parallel(make):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(LIBRARIES)))


def make_application(at):
    """The objects, and the peer: the same libraries as shared objects."""
    names = [f"library{i}.c" for i in range(LIBRARIES)] + ["main.c"]
    for i in range(LIBRARIES):
        (at / names[i]).write_text(library_source(i))
    (at / "main.c").write_text(main_source())
    compile_all(("gcc", "-O1", "-fPIC"), names, at)
    lazy = "-Wl,-z,lazy"
    in_parallel(lambda i: shared([f"library{i}.o"], f"liblibrary{i}.so", lazy, cwd=at))
    executable(["main.o"], "main", *[f"liblibrary{i}.so" for i in range(LIBRARIES)], lazy, "-Wl,-rpath,$ORIGIN",
               "-Wl,--allow-shlib-undefined", cwd=at)


def make_crates(at):
    """The libraries need each other in a circle, so what the others will define is declared."""

    def make(i):
        declared = [word for other, k in callees(i)
                    for word in ("--declare", f"library{other}.crate:library{other}_function{k}")]
        crate([f"library{i}.o"], f"library{i}.crate", *declared, cwd=at)

    in_parallel(make)
    libraries = [f"library{i}.crate" for i in range(LIBRARIES)]
    crate(["main.o"], "main.crate", *libraries, cwd=at)
    run("crateld", "bundle", "-o", "bundle.crate", "main.crate", *libraries, cwd=at)


made = set()


def application():
    """The folder of the application; the crates are made anew in each run of the benchmarks, by the crateld at hand."""
    at = kept("application", library_source(1) + main_source(), make_application)
    if at not in made:
        make_crates(at)
        made.add(at)
    return at


def against_lazy(at, command, *arguments):
    """The command against the shared objects' program, which binds lazily."""
    ours, peer = alternate(lambda: wall_ms([*command, *arguments], at), lambda: wall_ms(["./main", *arguments], at))
    return min(ours), min(peer)


@row("load", "bundle-few", "ms", "500 .so files, lazy; 6 are used", 0.05)
def bundle_few():
    return against_lazy(application(), ["crateld", "run", "bundle.crate"])


@row("load", "files-few", "ms", "500 .so files, lazy; 6 are used", 0.10)
def files_few():
    return against_lazy(application(), ["crateld", "run", "main.crate"])


@row("load", "bundle-all", "ms", "500 .so files, lazy; each is called", 0.12)
def bundle_all():
    return against_lazy(application(), ["crateld", "run", "bundle.crate"], "all")


@row("load", "files-all", "ms", "500 .so files, lazy; each is called", 0.50)
def files_all():
    return against_lazy(application(), ["crateld", "run", "main.crate"], "all")


@row("load", "bind-now", "ms", "500 .so files with LD_BIND_NOW", 0.15)
def bind_now():
    at = application()
    environment = {**os.environ, "LD_BIND_NOW": "1"}
    ours, peer = alternate(lambda: wall_ms(["crateld", "run", "--bind-now", "main.crate"], at),
                           lambda: wall_ms(["./main"], at, environment))
    return min(ours), min(peer)
