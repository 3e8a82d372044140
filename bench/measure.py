"""Measuring two things side by side: ours and a peer, in turns, so that what disturbs the machine disturbs both."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

RUNS = 20
RUNS_WHEN_SLOW = 5
SLOW_S = 1.0


class Unavailable(Exception):
    """Something that a row needs is not to be had on this machine."""


@dataclass
class Row:
    """One line of the result. `measure` returns ours and the peer's figure, both in `unit`, lower being better."""

    group: str
    name: str
    unit: str
    peer_name: str
    target: float
    measure: Callable[[], tuple[float, float]]
    ours: float | None = None
    peer: float | None = None

    @property
    def ratio(self):
        return None if self.ours is None else self.ours / self.peer

    @property
    def verdict(self):
        if self.ratio is None:
            return "skipped"
        return "ok" if self.ratio <= self.target else "short"


rows: list[Row] = []


def row(group, name, unit, peer_name, target):
    """Makes the function a row."""

    def enter(measure):
        rows.append(Row(group, name, unit, peer_name, target, measure))
        return measure

    return enter


PROCESSORS = os.sched_getaffinity(0)


def settle():
    """Keeps this process and its children on one processor, and ahead of others where that is allowed."""
    os.sched_setaffinity(0, {max(PROCESSORS)})
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        pass


@contextmanager
def all_processors():
    """What is started meanwhile may use all processors: for programs with threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, PROCESSORS)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def alternate(ours, peer, runs=None):
    """Calls both in turns, `runs` times each after one call to warm up: without `runs` 20 times, 5 where one takes over a
    second. Returns the two lists of what they returned."""
    start = time.perf_counter()
    ours()
    middle = time.perf_counter()
    peer()
    is_slow = max(middle - start, time.perf_counter() - middle) > SLOW_S
    runs = runs or (RUNS_WHEN_SLOW if is_slow else RUNS)
    ours_figures, peer_figures = [], []
    for i in range(runs):
        turns = [(ours, ours_figures), (peer, peer_figures)]
        for function, figures in turns if i % 2 else reversed(turns):
            figures.append(function())
    return ours_figures, peer_figures


def floor_of_loops(runs):
    """Of the figures of several loops, run after run: the shortest time of each loop, and of those the middle one."""
    return statistics.median(min(figures) for figures in zip(*runs))


def printed(command, folder):
    """What a program prints: the numbers of its first line."""
    output = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split("\n", 1)[0].split()]


def run_quietly(command, folder, environment=None):
    """Runs a program, which must succeed; `environment` None: this one. Returns the nanoseconds that it took and what it
    used."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    os.chdir(folder)
    start = time.perf_counter_ns()
    child = os.posix_spawnp(command[0], command, environment or os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    took = time.perf_counter_ns() - start
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return took, usage


def wall_ms(command, folder, environment=None):
    """The milliseconds from start to end of a program."""
    return run_quietly(command, folder, environment)[0] / 1e6


def peak_mb(command, folder):
    """The MB of memory that a program had at its peak."""
    return run_quietly(command, folder)[1].ru_maxrss * 1024 / 1e6
