#!/usr/bin/env python3
"""Programs of csmith, cut into three files at random, give the same checksum as crates as when the system's linker links them.

Every program is compiled file by file by gcc, clang or `crateld cc`, at -O0 to -O3, for any position model, and linked into
three crates that need each other in all directions, or into one. Usage: csmith.py [SEED...]: without seeds, a slice of those
that CRATELD_TEST_LONG=1 runs. Failing programs are kept in the folder that is named."""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

LONG_COUNT, SLICE_COUNT = 300, 20
FIRST_SEED = 20240
HEADER_FOLDER = '/usr/include/csmith'
COMPILERS = {
    'gcc': ['gcc'],
    'gcc-pic': ['gcc', '-fPIC'],
    'gcc-nopie': ['gcc', '-fno-pie'],
    'clang': ['clang'],
    'clang-pic': ['clang', '-fPIC'],
    'toc': ['crateld', 'cc'],
}
WAYS = sorted(COMPILERS) + ['toc', 'toc']


class Failure(Exception):
    pass


def run(arguments, folder, seconds=120):
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, timeout=seconds, text=True, errors='replace')
    except subprocess.TimeoutExpired as expired:
        raise Failure(f'{" ".join(arguments)}: no end after {seconds} s') from expired
    return done.returncode, done.stdout, done.stderr


def must(arguments, folder):
    status, out, err = run(arguments, folder)
    if status or (arguments[:2] == ['crateld', 'link'] and err):
        raise Failure(f'{" ".join(arguments)}: status {status}\n{out[-2000:]}{err[-2000:]}')
    return out


def split(text, chance):
    """The common header and three files of a program: (header, [file, file, file], index of the one with main)."""
    text = re.sub(r'/\*\*+ statistics.*', '', text, flags=re.S)
    types = text[text.index('/* --- Struct/Union Declarations'):text.index('/* --- GLOBAL VARIABLES')]
    variables = text[text.index('/* --- GLOBAL VARIABLES'):text.index('/* --- FORWARD DECLARATIONS')]
    prototypes, functions = text[text.index('/* --- FORWARD DECLARATIONS'):].split('/* --- FUNCTIONS --- */')
    header = '#include "csmith.h"\nextern long __undefined;\n' + types
    files = ['#include "common.h"\n' for _ in range(3)]
    for line in variables.splitlines():
        if not line.startswith('static '):
            continue
        line = line[len('static '):]
        declaration = line.split(' = ', 1)[0]
        header += f'extern {declaration};\n'
        files[chance.randrange(3)] += line + '\n'
    header += re.sub(r'^static ', '', prototypes, flags=re.M)
    # A function begins in the first column and ends with a brace there.
    pieces = re.findall(r'^(?:static |int main).*?^}\n', functions, flags=re.M | re.S)
    main_file = 0
    for piece in pieces:
        place = chance.randrange(3)
        if piece.startswith('int main'):
            main_file = place
            files[place] += 'long __undefined;\n'
        files[place] += re.sub(r'^static ', '', piece)
    return header, files, main_file


def defined_and_wanted(path, folder):
    defined, wanted = set(), set()
    for line in must(['nm', '--format=posix', path], folder).splitlines():
        name, kind = line.split()[:2]
        if kind == 'U':
            wanted.add(name)
        elif kind.isupper():
            defined.add(name)
    return defined, wanted


def link_crates(folder, options, main_file, chance):
    """Three crates; those that are linked first are told by --declare what the later ones will have."""
    symbols = [defined_and_wanted(f'f{i}.o', folder) for i in range(3)]
    order = [0, 1, 2]
    chance.shuffle(order)
    for at, i in enumerate(order):
        arguments = ['crateld', 'link', '-o', f'c{i}.crate', f'f{i}.o', '-lm'] + options
        for j in order[:at]:
            arguments.append(f'c{j}.crate')
        for j in order[at + 1:]:
            for name in sorted(symbols[j][0] & symbols[i][1]):
                arguments += ['--declare', f'c{j}.crate:{name}']
        must(arguments, folder)
        must(['crateld', 'inspect', '--check', f'c{i}.crate'], folder)
    return f'c{main_file}.crate'


def try_program(seed, folder):
    """What was tried, or None if the program does not end, as some of csmith's do not."""
    chance = random.Random(seed)
    generate = ['csmith', '--seed', str(seed), '--max-funcs', str(chance.randrange(3, 15))]
    if chance.random() < 0.3:
        generate += ['--no-packed-struct']
    header, files, main_file = split(must(generate, folder), chance)
    with open(os.path.join(folder, 'common.h'), 'w') as file:
        file.write(header)
    is_mixed = chance.random() < 0.4
    way = chance.choice(WAYS)
    ways = [chance.choice(WAYS) if is_mixed else way for _ in range(3)]
    for i, way in enumerate(ways):
        level = '-O' + chance.choice('0123')
        with open(os.path.join(folder, f'f{i}.c'), 'w') as file:
            file.write(files[i])
        extra = chance.choice([[], [], [], ['-g'], ['-ffunction-sections', '-fdata-sections'], ['-fcommon']])
        if not way.startswith('clang'):
            extra = extra + chance.choice([[], [], ['-fno-plt']]) if way != 'gcc-nopie' else extra
        must(COMPILERS[way] + ['-w', level, '-I' + HEADER_FOLDER, '-c', f'f{i}.c'] + extra, folder)
        ways[i] += level + ''.join(extra)
    linker = ['crateld', 'cc'] if any(way.startswith('toc') for way in ways) else ['gcc']
    if any('nopie' in way for way in ways):
        linker.append('-no-pie')
    must(linker + ['-o', 'native', 'f0.o', 'f1.o', 'f2.o', '-lm'], folder)
    try:
        wanted = run(['./native'], folder, 5)
    except Failure:
        return None
    options = [option for option in ('--no-relink', '--no-gc-sections', '-s') if chance.random() < 0.3]
    run_options = [option for option in ('--aslr', '--bind-now') if chance.random() < 0.4]
    if chance.random() < 0.25:
        must(['crateld', 'link', '-o', 'main.crate', 'f0.o', 'f1.o', 'f2.o', '-lm'] + options, folder)
        crate = 'main.crate'
    else:
        crate = link_crates(folder, options, main_file, chance)
    got = run(['crateld', 'run'] + run_options + [crate], folder)
    what = f'{seed}: {" ".join(ways)}; {crate} {" ".join(options + run_options)}'
    if got[:2] != wanted[:2]:
        raise Failure(f'{what}\nwanted {wanted}\ngot {got}')
    return what


def try_all(try_one, seeds, stride):
    """Tries the programs of `seeds`, or those that the command line names; one that comes to nothing is replaced by the one
    `stride` further on. Returns the exit status."""
    for command in ('csmith', 'clang', 'gcc', 'crateld'):
        if not shutil.which(command):
            print(f'skipped: no {command}', file=sys.stderr)
            return 77
    seeds = [int(seed) for seed in sys.argv[1:]] or seeds
    kept = tempfile.mkdtemp(prefix='csmith-')
    failures = 0

    def one(seed):
        message = None
        while not message:
            folder = os.path.join(kept, str(seed))
            os.mkdir(folder)
            try:
                message = try_one(seed, folder)
            except (Failure, ValueError) as failure:
                return f'{seed} FAILED in {folder}: {failure}', True
            shutil.rmtree(folder)
            seed += stride
        return message, False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for message, is_failed in pool.map(one, seeds):
            print(message, flush=True)
            failures += is_failed
    if not failures:
        shutil.rmtree(kept)
    print(f'{len(seeds)} programs, {failures} failed')
    return 1 if failures else 0


def main():
    count = LONG_COUNT if os.environ.get('CRATELD_TEST_LONG') else SLICE_COUNT
    return try_all(try_program, range(FIRST_SEED, FIRST_SEED + count), LONG_COUNT)


if __name__ == '__main__':
    sys.exit(main())
