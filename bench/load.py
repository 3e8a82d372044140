"""Group load: how long starting takes."""

from build import compile_all, crate, executable, folder
from measure import alternate, row, wall_ms

START_RUNS = 300

HELLO = '#include <stdio.h>\nint main(void)\n{\n    puts("hello");\n    return 0;\n}\n'


@row("load", "hello", "ms", "the same program as ELF", 1.25)
def hello():
    at = folder("hello")
    (at / "hello.c").write_text(HELLO)
    objects = compile_all(("gcc", "-O2"), ["hello.c"], at)
    executable(objects, "hello", cwd=at)
    crate(objects, "hello.crate", cwd=at)
    ours, peer = alternate(
        lambda: wall_ms(["crateld", "run", "hello.crate"], at), lambda: wall_ms(["./hello"], at), START_RUNS
    )
    return min(ours), min(peer)
