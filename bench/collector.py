"""Group gc (a module of that name is built into Python): what collected memory costs, in CPU time, against bdwgc (Debian's libgc-dev) and malloc. Pauses go to stderr."""

import os
import sys
from pathlib import Path

from build import ROOT, SOURCES, folder, run
from measure import Unavailable, alternate, printed, row

RUNTIME = [str(path) for path in sorted((ROOT / "runtime").glob("*.c"))] + [str(ROOT / "base/error.c")]
GCC = ("gcc", "-O2", "-std=gnu17", f"-I{ROOT}", f"-I{ROOT}/include")
HEAP_VARIABLE = "GC_MAXIMUM_HEAP_SIZE"  # bdwgc's; our programs understand it too


def build(name, at):
    """Compiles a program, with the runtime. Returns its command."""
    run(*GCC, SOURCES / f"bench_gc_{name}.c", *RUNTIME, "-o", name, cwd=at)
    return [f"./{name}"]


def build_peer(name, at):
    if not Path("/usr/include/gc/gc.h").exists():
        raise Unavailable("there is no bdwgc (libgc-dev)")
    run("gcc", "-O2", "-DUSE_BDW", SOURCES / f"bench_gc_{name}.c", "-lgc", "-o", "peer", cwd=at)
    return ["./peer"]


def in_heap(megabytes, command, at):
    """What the program prints, with a heap of that many MiB at most."""
    os.environ[HEAP_VARIABLE] = f"{megabytes}M"
    try:
        return printed(command, at)
    finally:
        del os.environ[HEAP_VARIABLE]


def shortest(runs):
    """The run whose first figure is the smallest."""
    return min(runs, key=lambda figures: figures[0])


def tell_pauses(name, who, figures):
    if len(figures) == 5:
        median, p99, longest, count = figures[1:]
        print(f"gc {name}: {who}: {count:.0f} pauses: median {median:.0f} us, 99% {p99:.0f} us, longest {longest:.0f} us",
              file=sys.stderr)


def against_bdwgc(program, name, megabytes, *arguments):
    """Runs a program of both collectors in turns, in heaps of the same size."""
    at = folder(f"gc-{name}")
    ours, peer = build(program, at=at), build_peer(program, at)
    best_ours, best_peer = map(shortest, alternate(
        lambda: in_heap(megabytes, [*ours, *arguments], at), lambda: in_heap(megabytes, [*peer, *arguments], at)))
    tell_pauses(name, "crateld", best_ours)
    tell_pauses(name, "bdwgc", best_peer)
    return best_ours[0], best_peer[0]


ALLOC_HEAP = 256  # that it may become: see DEFAULT_MULTIPLIER in runtime/heap.c
ALLOC_RUNS = 5


def alloc(size):
    """One program measures both, in turns: the first figure is ours."""
    at = folder(f"gc-alloc-{size}")
    command = [*build("alloc", at=at), str(size)]
    runs = [in_heap(ALLOC_HEAP, command, at) for _ in range(ALLOC_RUNS)]
    return tuple(min(figures) for figures in zip(*runs))


@row("gc", "alloc-16", "ns/object", "malloc and free of 16 bytes", 0.27)
def alloc_16():
    return alloc(16)


@row("gc", "alloc-32", "ns/object", "malloc and free of 32 bytes", 0.27)
def alloc_32():
    return alloc(32)


@row("gc", "mark-ordered", "ns/object", "bdwgc", 0.75)
def mark_ordered():
    return against_bdwgc("mark", "mark-ordered", 384, "ordered")


@row("gc", "mark-shuffled", "ns/object", "bdwgc", 0.80)
def mark_shuffled():
    return against_bdwgc("mark", "mark-shuffled", 384, "shuffled")


@row("gc", "trees-18", "ms CPU", "bdwgc in 96 MB", 0.55)
def trees_18():
    return against_bdwgc("trees", "trees-18", 96, "trees", "18")


@row("gc", "trees-20", "ms CPU", "bdwgc in 384 MB", 0.60)
def trees_20():
    return against_bdwgc("trees", "trees-20", 384, "trees", "20")


@row("gc", "gcbench", "ms CPU", "bdwgc in 64 MB", 0.72)
def gcbench():
    return against_bdwgc("trees", "gcbench", 64, "gcbench")


def region(name):
    """Figures of a region's slot: ours, the peer's, and ours if code has run in the slot."""
    at = folder(f"gc-{name}")
    command = build("region", at=at)
    return [min(figures) for figures in zip(*[printed(command, at) for _ in range(ALLOC_RUNS)])]


@row("gc", "region-slot", "ns/cycle", "mprotect and madvise in each cycle", 0.02)
def region_slot():
    ours, peer, _ = region("region-slot")
    return ours, peer


@row("gc", "region-slot-run", "ns/cycle", "mprotect and madvise in each cycle", 0.06)
def region_slot_run():
    """Likewise, when code has run in the slot: all of it is searched for what was written."""
    _, peer, ours = region("region-slot-run")
    return ours, peer


@row("gc", "start", "us", "bdwgc", 1.0)
def start():
    at = folder("gc-start")
    ours, peer = build("start", at=at), build_peer("start", at)
    best_ours, best_peer = map(shortest, alternate(lambda: printed(ours, at), lambda: printed(peer, at)))
    return best_ours[0], best_peer[0]
