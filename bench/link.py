"""Group link: how long linking takes."""

import itertools
from pathlib import Path

from build import compile_all, folder, kept
from load import LIBRARIES, application
from measure import all_processors, alternate, peak_mb, row, wall_ms

OBJECTS, FUNCTIONS = 500, 100
MEMORY_RUNS = 3
GCC = ("gcc", "-O1", "-fPIC", "-ffunction-sections")


def object_source(i):
    """Functions that call functions elsewhere, use variables here and elsewhere and strings, and stand in a table: nine
    relocations each."""
    text = ["#include <stdio.h>\n", f"int shared{i};\nextern int shared{(i + 1) % OBJECTS};\n"]
    for k in range(FUNCTIONS):
        other, number = (i * 31 + k * 7) % OBJECTS, (k * 13) % FUNCTIONS
        another = (i * 17 + k * 3) % OBJECTS
        text.append(
            f"int function{other}_{number}(int);\nint function{another}_{k}(int);\nstatic int variable{k} = {k};\n"
            f"int function{i}_{k}(int x)\n{{\n    variable{k} += x;\n    if (x > 999)\n        printf(\"message {i}.{k}\");\n"
            f"    return x > 0 ? function{other}_{number}(x - 1) + function{another}_{k}(x - 2) + shared{(i + 1) % OBJECTS}"
            f" : variable{k};\n}}\n"
        )
    entries = ", ".join(f"function{i}_{k}" for k in range(FUNCTIONS))
    text.append(f"int (*table{i}[])(int) = {{{entries}}};\n")
    return "".join(text)


def make_objects(at):
    names = [f"object{i}.c" for i in range(OBJECTS)]
    for i, name in enumerate(names):
        (at / name).write_text(object_source(i))
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
    command = ["crateld", "link", "-o", "linked.crate", "main.o"]
    ours, peer = alternate(lambda: wall_ms([*command, *crates], at),
                           lambda: wall_ms([*command, "-z", "undefs"], at))
    return min(ours), min(peer)
