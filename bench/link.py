"""Group link: how long linking takes."""

import itertools
from pathlib import Path

import report
from build import RESULTS, compile_all, folder, kept
from load import LIBRARIES, application
from measure import all_processors, alternate, peak_mb, row, wall_ms

OBJECTS, FUNCTIONS = 500, 100
GROWTH, GROWTH_FUNCTIONS, GROWTH_RUNS = (125, 250, 500, 1000), 20, 7
MEMORY_RUNS = 3
GCC = ("gcc", "-O1", "-fPIC", "-ffunction-sections")


def object_source(i, objects=OBJECTS, functions=FUNCTIONS):
    """Functions that call functions elsewhere, use variables here and elsewhere and strings, and stand in a table: nine
    relocations each."""
    text = ["#include <stdio.h>\n", f"int shared{i};\nextern int shared{(i + 1) % objects};\n"]
    for k in range(functions):
        other, number = (i * 31 + k * 7) % objects, (k * 13) % functions
        another = (i * 17 + k * 3) % objects
        text.append(
            f"int function{other}_{number}(int);\nint function{another}_{k}(int);\nstatic int variable{k} = {k};\n"
            f"int function{i}_{k}(int x)\n{{\n    variable{k} += x;\n    if (x > 999)\n        printf(\"message {i}.{k}\");\n"
            f"    return x > 0 ? function{other}_{number}(x - 1) + function{another}_{k}(x - 2) + shared{(i + 1) % objects}"
            f" : variable{k};\n}}\n"
        )
    entries = ", ".join(f"function{i}_{k}" for k in range(functions))
    text.append(f"int (*table{i}[])(int) = {{{entries}}};\n")
    return "".join(text)


def make_objects(at, count=OBJECTS, functions=FUNCTIONS):
    names = [f"object{i}.c" for i in range(count)]
    for i, name in enumerate(names):
        (at / name).write_text(object_source(i, count, functions))
    (at / "main.c").write_text("int function0_0(int);\nint main(void)\n{\n    return function0_0(5) & 1;\n}\n")
    compile_all(GCC, [*names, "main.c"], at)


def objects():
    """The folder of the objects, and their names."""
    at = kept("link-objects", object_source(1) + str(OBJECTS), make_objects)
    return at, sorted(file.name for file in at.glob("*.o"))


def link(*inputs):
    return ["crateld", "link", "--no-incremental", "-o", "all.crate", *inputs]


def mold(*inputs):
    return ["mold", "-shared", "-o", "all.so", *inputs]


@row("link", "full-450k", "ms", "mold -shared, its default threads", 1.00)
def full_450k():
    at, names = objects()
    with all_processors():
        ours, peer = alternate(lambda: wall_ms(link(*names), at), lambda: wall_ms(mold(*names), at))
    return min(ours), min(peer)


@row("link", "memory-450k", "MB", "mold --no-fork -shared", 1.00)
def memory_450k():
    at, names = objects()
    with all_processors():
        ours, peer = alternate(lambda: peak_mb(link(*names), at),
                               lambda: peak_mb([*mold(*names), "--no-fork"], at), MEMORY_RUNS)
    return max(ours), max(peer)


@row("link", "incremental", "ms", "mold -shared, all of it", 0.11)
def incremental():
    """Links again and again after one object has become another: two versions of it, in turns."""
    at, names = objects()
    changed = names[len(names) // 2]
    source = Path(changed).with_suffix(".c").name
    text = (at / source).read_text()
    versions = folder("link-versions")
    for version in range(2):
        (versions / f"version{version}.c").write_text(text.replace("x > 999", f"x > {1000 + version}"))
    made = compile_all(GCC, [f"version{version}.c" for version in range(2)], versions)
    original = (at / changed).read_bytes()
    turn = itertools.cycle((versions / name).read_bytes() for name in made)

    def link_changed():
        (at / changed).write_bytes(next(turn))
        return wall_ms(["crateld", "link", "-o", "updated.crate", *names], at)

    try:
        with all_processors():
            ours, peer = alternate(link_changed, lambda: wall_ms(mold(*names), at))
    finally:
        (at / changed).write_bytes(original)
    return min(ours), min(peer)


@row("link", "against-500", "ms", "the same program, against none of them", 2.00)
def against_500():
    at = application()
    crates = [f"library{i}.crate" for i in range(LIBRARIES)]
    command = ["crateld", "link", "--no-incremental", "-o", "linked.crate", "main.o"]
    with all_processors():
        ours, peer = alternate(lambda: wall_ms([*command, *crates], at),
                               lambda: wall_ms([*command, "-z", "undefs"], at))
    return min(ours), min(peer)


def growing(count):
    """The folder of `count` smaller objects, and their names."""
    at = kept(f"link-growth-{count}", object_source(1, count, GROWTH_FUNCTIONS),
              lambda at: make_objects(at, count, GROWTH_FUNCTIONS))
    return at, sorted(file.name for file in at.glob("*.o"))


@row("link", "growth", "µs an object", "itself, of 125", 1.25)
def growth():
    """How the time for an object grows with their number; draws a chart of it, and of mold's."""
    ours, peer = [], []
    with all_processors():
        for count in GROWTH:
            at, names = growing(count)
            figures = alternate(lambda: wall_ms(link(*names), at), lambda: wall_ms(mold(*names), at), GROWTH_RUNS)
            ours.append(min(figures[0]))
            peer.append(min(figures[1]))
    chart = report.growth_svg("objects", "ms", GROWTH, [("crateld link", ours), ("mold -shared", peer)])
    (RESULTS / "link-growth.svg").write_text(chart)
    return ours[-1] / GROWTH[-1] * 1e3, ours[0] / GROWTH[0] * 1e3
