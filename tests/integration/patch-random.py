#!/usr/bin/env python3
"""Programs of csmith, cut into three files, give the same checksum when one file, compiled in another way, comes by a patch.

The crate is linked from objects of one compiler and level; the patch is made of one or two of its files by another, so nearly
every function moves, and calls, variables, constants and pointers go between what is old and what is new in all directions. A
patch may be refused, but then by a message that names a reason. Usage: patch-random.py [SEED...]"""
import os
import random
import sys

import csmith
from csmith import Failure, must, run

LONG_COUNT, SLICE_COUNT = 300, 20
FIRST_SEED = 40240
COMPILERS = ['gcc', 'gcc-pic', 'gcc-nopie', 'clang', 'clang-pic', 'toc']
REASONS = ('compile with -ffunction-sections', 'compile with -fdata-sections', 'which is which can not be told', ' bytes, but ',
           'what of it is state can not be told', 'it was constant', 'is TOC code, and nothing in',
           'lies out of their reach')


def compile_file(name, output, way, chance, folder):
    options = ['-O' + chance.choice('0123')]
    if chance.random() < 0.6:
        options += ['-ffunction-sections', '-fdata-sections']
    must(csmith.COMPILERS[way] + ['-w', '-I' + csmith.HEADER_FOLDER, '-c', name, '-o', output] + options, folder)
    return ' '.join([way] + options)


def try_program(seed, folder):
    """What was tried, or None if the program does not end or the patch is refused."""
    chance = random.Random(seed)
    header, files, _ = csmith.split(
        must(['csmith', '--seed', str(seed), '--max-funcs', str(chance.randrange(3, 15))], folder), chance)
    with open(os.path.join(folder, 'common.h'), 'w') as file:
        file.write(header)
    ways = []
    low = chance.random() < 0.2  # crates below 2 GiB; code that is not position-dependent works there too
    choices = COMPILERS if low else [way for way in COMPILERS if way != 'gcc-nopie']
    is_toc = [chance.random() < 0.3 for _ in files]  # TOC code is replaced by TOC code

    def choose(i):
        return 'toc' if is_toc[i] else chance.choice(choices[:-1])

    for i, text in enumerate(files):
        with open(os.path.join(folder, f'f{i}.c'), 'w') as file:
            file.write(text)
        ways.append(compile_file(f'f{i}.c', f'f{i}.o', choose(i), chance, folder))
    must((['crateld', 'cc'] if any(is_toc) else ['gcc']) + ['-no-pie', '-o', 'native', 'f0.o', 'f1.o', 'f2.o', '-lm'], folder)
    try:
        wanted = run(['./native'], folder, 5)
    except Failure:
        return None
    must(['crateld', 'link', '-o', 'app.crate', 'f0.o', 'f1.o', 'f2.o', '-lm'], folder)
    modules = []
    for i in chance.sample(range(3), chance.choice((1, 1, 2))):
        ways.append(f'f{i}: ' + compile_file(f'f{i}.c', f'n{i}.o', choose(i), chance, folder))
        modules.append(f'f{i}.o=n{i}.o')
    what = f'{seed}: {"; ".join(ways)}'
    status, out, err = run(['crateld', 'diff', '-o', 'fix.patch', 'app.crate'] + modules, folder)
    if status == 1 and err and all(any(reason in line for reason in REASONS) for line in err.splitlines()):
        return None
    notes = [line for line in out.splitlines() if line.startswith('note: types of variables are not known')]
    if status or err or notes != out.splitlines():
        raise Failure(f'{what}\ndiff: status {status}\n{out}{err}')
    must(['crateld', 'inspect', 'fix.patch'], folder)
    options = [option for option in ('--aslr', '--bind-now') if chance.random() < 0.4]
    got = run(['crateld', 'run'] + options + ['--patch', 'fix.patch', 'app.crate'], folder)
    if got[:2] != wanted[:2]:
        raise Failure(f'{what}\nwanted {wanted}\ngot {got}')
    return what


def main():
    count = LONG_COUNT if os.environ.get('CRATELD_TEST_LONG') else SLICE_COUNT
    return csmith.try_all(try_program, range(FIRST_SEED, FIRST_SEED + count), LONG_COUNT)


if __name__ == '__main__':
    sys.exit(main())
