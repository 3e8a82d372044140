#!/usr/bin/env python3
"""The matrix of docs/reload.md: what a module may do and become while its program runs, one row each.

Every row starts a program, has it make state, replaces its modules, and sees that the state is kept, that the new code runs,
and that the program ends as it should. It does so for objects of several compilers, levels, flags and languages; where
an object does not carry what the row needs, the right outcome is a refusal that names the flag, with the program as it was.
One line a row says in how many ways it was tried. Usage: reload-matrix.py [--way=TEXT] [ROW...]: rows whose names have the
text, in ways whose names have it; without CRATELD_TEST_LONG=1 each row in a few ways, chosen by CRATELD_TEST_SEED."""
import collections
import os
import random
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'reload_matrix'))
from program import Program, Way
from rows import ROWS
import functions, data, cxx, process  # each enters its rows

SLICE = 2  # ways for each row


def ways_of(name, languages, text):
    """The ways in which the row is tried."""
    compilers = [compiler for compiler in ('gcc', 'clang') if shutil.which(compiler)] + ['toc']
    ways = [way for way in Way.all(compilers) if way.language in languages and text in str(way)]
    if text or os.environ.get('CRATELD_TEST_LONG'):
        return ways
    chance = random.Random(os.environ.get('CRATELD_TEST_SEED', '1') + name)
    return chance.sample(ways, min(SLICE, len(ways)))


def try_row(name, function, way):
    """Returns (outcome, None), or (None, what went wrong)."""
    folder = tempfile.mkdtemp(prefix='reload-')
    program = Program(way, folder)
    try:
        function(program)
    except Exception:
        program.kill()
        frames = traceback.extract_tb(sys.exc_info()[2])
        line = next(frame.lineno for frame in frames if frame.name == function.__name__)
        return None, f'{name} [{way}], line {line}, in {folder}: {sys.exc_info()[1]}'
    program.kill()
    shutil.rmtree(folder)
    return program.outcome, None


def main():
    arguments = sys.argv[1:]
    text = next((argument.partition('=')[2] for argument in arguments if argument.startswith('--way=')), '')
    wanted = [argument for argument in arguments if not argument.startswith('--')]
    failures = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = []
        for name, languages, function in ROWS:
            if not wanted or any(part in name for part in wanted):
                ways = ways_of(name, languages, text)
                tried.append((name, [pool.submit(try_row, name, function, way) for way in ways]))
        for name, results in tried:
            outcomes = collections.Counter()
            bad = 0
            for outcome, failure in (result.result() for result in results):
                if failure:
                    failures.append(failure)
                    bad += 1
                else:
                    outcomes[outcome] += 1
            counts = ', '.join(f'{count} {outcome}' for outcome, count in sorted(outcomes.items()))
            print(f'{"FAIL" if bad else "ok  "} {name}: {counts}' + f'{", " if counts else ""}{bad} FAILED' * (bad > 0), flush=True)
    for failure in failures:
        print(failure.rstrip(), file=sys.stderr)
    return bool(failures)


if __name__ == '__main__':
    sys.exit(main())
