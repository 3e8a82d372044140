"""Group link: how long linking takes."""

from build import compile_all, kept
from measure import alternate, row, wall_ms

OBJECTS, FUNCTIONS = 500, 100


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
    compile_all(("gcc", "-O1", "-fPIC", "-ffunction-sections"), [*names, "main.c"], at)


@row("link", "full-450k", "ms", "mold -shared, its default threads", 1.00)
def full_450k():
    at = kept("link-objects", object_source(1) + str(OBJECTS), make_objects)
    objects = sorted(file.name for file in at.glob("*.o"))
    ours, peer = alternate(
        lambda: wall_ms(["crateld", "link", "-o", "all.crate", *objects], at),
        lambda: wall_ms(["mold", "-shared", "-o", "all.so", *objects], at),
    )
    return min(ours), min(peer)
