#!/usr/bin/env python3
"""A crate that is updated is, byte for byte, the one that a link of everything gives: random programs, random edits.

After each edit the program is linked twice: over the crate that is there, with --incremental, and anew. Edits change constants,
initial values, functions, variables, calls and strings, objects, their order and the options; damage or swap the crate and what
was left beside it; interrupt a link, and run two at once. Usage: link-incremental.py [SEED...]"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LONG_COUNT, SLICE_COUNT = 60, 6
FIRST_SEED = 7100
EDITS = 30
MODULES = 5

COMPILERS = [
    ['gcc', '-O1', '-fPIC', '-ffunction-sections'],
    ['gcc', '-O2', '-fPIC', '-fno-plt', '-fdata-sections', '-ffunction-sections'],
    ['gcc', '-O0'],
    ['gcc', '-O2', '-g', '-fPIE'],
    ['gcc', '-O2', '-fno-pic', '-mtls-dialect=gnu2', '-fcommon'],
]


class Failure(Exception):
    pass


class Module:
    """A source file, as numbers: what an edit changes, and what it is compiled with."""

    def __init__(self, chance, number):
        self.number = number
        self.source = f'module{number}.c'
        self.functions = {k: [chance.randrange(1 << 20, 1 << 30), chance.randrange(4)] for k in range(chance.randrange(2, 7))}
        self.variables = {k: chance.randrange(1, 1 << 30) for k in range(chance.randrange(1, 5))}
        self.strings, self.imports, self.next = ['a string'], [], 100
        self.compiler = chance.choice(COMPILERS)

    def text(self, modules):
        others = [m for m in modules if m.number != self.number]
        out = ['#include <stdio.h>\n#include <stdlib.h>\n']
        out += [f'int f{m.number}_{k}(int);\nextern int v{m.number}_{next(iter(m.variables))};\n' for m in others for k in m.functions]
        out += [f'int v{self.number}_{k} = {value};\n' for k, value in self.variables.items()]
        out += [f'static __thread int t{self.number} = {self.next};\nint c{self.number}[{self.next % 7 + 1}];\n',
                f'static const char *const names[] = {{{", ".join(chr(34) + s + chr(34) for s in self.strings)}}};\n']
        for k, (constant, kind) in self.functions.items():
            other = others[(k + self.number) % len(others)]
            callee = list(other.functions)[k % len(other.functions)]
            body = [f'    x += v{other.number}_{next(iter(other.variables))} + t{self.number}++;\n',
                    f'    if (x == {constant})\n        return f{other.number}_{callee}(x / 2) + c{self.number}[0];\n']
            if kind == 1:
                body += ['    switch (x & 7) {\n'] + [f'    case {i}: return x * {i * 3 + 1};\n' for i in range(7)] + ['    }\n']
            if kind == 2:
                body.append(f'    for (int i = 0; i < (x & 3); i++)\n        x ^= i * {constant | 1};\n')
            if kind == 3:
                body.append(f'    if (x == {constant + 1})\n        puts(names[0]);\n')
            out.append(f'int f{self.number}_{k}(int x)\n{{\n' + ''.join(body) + f'    return x ^ {constant};\n}}\n')
        out += [f'int i{self.number}_{name}(void)\n{{\n    return {name}(7);\n}}\n' for name in self.imports]
        table = ', '.join(f'f{self.number}_{k}' for k in self.functions)
        out.append(f'int (*table{self.number}[])(int) = {{{table}}};\nint *pointer{self.number} = &v{self.number}_{next(iter(self.variables))};\n')
        if self.number == 0:
            out.append('int main(void)\n{\n    int sum = 0;\n' + ''.join(
                f'    sum ^= f{m.number}_{k}({k});\n' for m in modules for k in m.functions) + '    printf("%d\\n", sum);\n    return 0;\n}\n')
        return ''.join(out)


class Program:
    def __init__(self, seed, folder):
        self.chance = random.Random(seed)
        self.seed, self.folder = seed, folder
        self.modules = [Module(self.chance, n) for n in range(MODULES)]
        self.options = []
        self.declined = 0
        self.updates = self.anew = 0
        self.trace = []
        for place, value in ('early', 1), ('late', 2):
            os.mkdir(os.path.join(folder, place))
            with open(os.path.join(folder, f'{place}.c'), 'w') as file:
                file.write(f'int extra = {value};\n')
            self.must('gcc', '-c', f'{place}.c')
        self.must('ar', 'rc', 'late/libextra.a', 'late.o')
        self.compile()

    def compile(self):
        """Compiles what has another text now."""
        for module in self.modules:
            text = module.text(self.modules)
            path = os.path.join(self.folder, f'module{module.number}.o')
            key = (text, module.source, tuple(module.compiler))
            if getattr(module, 'compiled', None) == key:
                continue
            module.compiled = key
            with open(os.path.join(self.folder, module.source), 'w') as file:
                file.write(text)
            self.must(*module.compiler, '-w', '-c', module.source, '-o', path)

    def must(self, *command):
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise Failure(f'{self.what()}\n{" ".join(command)}: status {result.returncode}\n{result.stdout}{result.stderr}')
        return result

    def what(self):
        return f'seed {self.seed}: ' + ', '.join(self.trace)

    def objects(self):
        return [f'module{m.number}.o' for m in self.modules]

    def link(self, *options):
        library = ['-u', 'extra', '-Learly', '-Llate', '-lextra']
        return ['crateld', 'link', *options, *self.options, *self.objects(), *library]

    def bytes_of(self, name):
        with open(os.path.join(self.folder, name), 'rb') as file:
            return file.read()

    def relink(self):
        """Links over what is there and anew, and compares."""
        anew = 'links everything: ' in self.must(*self.link('--incremental', '-v', '-o', 'app.crate')).stderr
        self.anew, self.updates = self.anew + anew, self.updates + (not anew)
        self.compare()
        return not anew

    def compare(self):
        self.must(*self.link('--no-incremental', '--name', 'app', '-o', 'anew.crate'))
        if self.bytes_of('app.crate') != self.bytes_of('anew.crate'):
            raise Failure(f'{self.what()}: the updated crate is another one')

    # Edits. Each returns whether it is one that an update can do; None: that depends.

    def change_constant(self):
        function = self.chance.choice(list(self.chance.choice(self.modules).functions.values()))
        function[0] = self.chance.randrange(1 << 20, 1 << 30)

    def change_value(self):
        module = self.chance.choice(self.modules)
        module.variables[self.chance.choice(list(module.variables))] = self.chance.randrange(1, 1 << 30)
        return None if '-g' in module.compiler else True  # of which debug information may tell

    def change_kind(self):
        function = self.chance.choice(list(self.chance.choice(self.modules).functions.values()))
        function[1] = self.chance.randrange(4)

    def add_function(self):
        module = self.chance.choice(self.modules)
        module.next += 1
        module.functions[module.next] = [self.chance.randrange(1 << 20, 1 << 30), self.chance.randrange(4)]

    def remove_function(self):
        module = self.chance.choice(self.modules)
        if len(module.functions) > 2:
            del module.functions[self.chance.choice(list(module.functions))]

    def add_variable(self):
        module = self.chance.choice(self.modules)
        module.next += 1
        module.variables[module.next] = module.next

    def add_string(self):
        module = self.chance.choice(self.modules)
        module.strings = [f'string {self.chance.randrange(1000)}']

    def add_import(self):
        module = self.chance.choice(self.modules)
        module.imports = self.chance.sample(['abs', 'labs', 'putchar', 'toupper'], self.chance.randrange(3))

    def add_module(self):
        self.modules.append(Module(self.chance, max(m.number for m in self.modules) + 1))

    def change_order(self):
        self.chance.shuffle(self.modules)

    def change_options(self):
        choices = ['--no-gc-sections', '-s', '-S', '-nodefaultlibs', '-lm', '--no-entry', '--as-needed', '--dynamic-symbols']
        self.options = self.chance.sample(choices, self.chance.randrange(3))
        if '-nodefaultlibs' in self.options:
            self.options += ['-z', 'undefs']

    def change_compiler(self):
        self.chance.choice(self.modules).compiler = self.chance.choice(COMPILERS)

    def rename_source(self):
        module = self.chance.choice(self.modules)
        module.source = self.chance.choice(['module', 'nodule', 'other']) + f'{module.number}.c'

    def move_library(self):
        """A library comes up where it is looked for first, or goes."""
        early = os.path.join(self.folder, 'early', 'libextra.a')
        if os.path.exists(early):
            os.unlink(early)
        else:
            self.must('ar', 'rc', early, 'early.o')
        return False

    def touch(self):
        os.utime(os.path.join(self.folder, self.chance.choice(self.objects())))
        return True

    def do_nothing(self):
        return True

    def copy_object(self):
        path = os.path.join(self.folder, self.chance.choice(self.objects()))
        shutil.copy2(path, path + '.copy')
        os.rename(path + '.copy', path)
        return True

    def damage(self):
        """Damages the crate, or what is beside it, in one byte or by cutting it short."""
        path = os.path.join(self.folder, self.chance.choice(['app.crate', 'app.crate.state']))
        with open(path, 'r+b') as file:
            size = os.path.getsize(path)
            off = self.chance.randrange(size)
            if self.chance.randrange(2):
                file.truncate(off)
            else:
                file.seek(off)
                byte = file.read(1)[0]
                file.seek(off)
                file.write(bytes([byte ^ 1 << self.chance.randrange(8)]))
        return False

    def swap(self):
        """Puts another crate, or an earlier state, in place of what is there."""
        if self.chance.randrange(2):
            self.must('crateld', 'strip', 'app.crate')
        else:
            shutil.copy2(os.path.join(self.folder, 'app.crate'), os.path.join(self.folder, 'old.crate'))
            self.change_value()
            self.compile()
            self.must(*self.link('--incremental', '-o', 'app.crate'))
            os.rename(os.path.join(self.folder, 'old.crate'), os.path.join(self.folder, 'app.crate'))
        return False

    def interrupt(self):
        """Ends a link somewhere: the crate is the old one or the new one."""
        before = self.bytes_of('app.crate')
        self.change_value()
        self.compile()
        link = subprocess.Popen(self.link('--incremental', '-o', 'app.crate'), cwd=self.folder, stderr=subprocess.DEVNULL)
        time.sleep(self.chance.random() * 0.02)
        number = self.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        link.send_signal(number)
        link.wait()
        after = self.bytes_of('app.crate')
        self.must(*self.link('--no-incremental', '--name', 'app', '-o', 'anew.crate'))
        if after not in (before, self.bytes_of('anew.crate')):
            raise Failure(f'{self.what()}: an interrupted link left something else')
        left = [n for n in os.listdir(self.folder) if n.startswith('app.crate') and n not in ('app.crate', 'app.crate.state')]
        if left and number == signal.SIGKILL:  # nobody can take away what is about to be renamed
            for name in left:
                os.remove(os.path.join(self.folder, name))
        elif left:
            raise Failure(f'{self.what()}: an interrupted link left {left}')

    def link_twice(self):
        """Two links at once."""
        self.change_value()
        self.compile()
        links = [subprocess.Popen(self.link('--incremental', '-o', 'app.crate'), cwd=self.folder) for _ in range(2)]
        if any([link.wait() for link in links]):
            raise Failure(f'{self.what()}: one of two links failed')
        self.compare()

    def edit(self):
        edits = [self.change_constant] * 4 + [self.change_value] * 4 + [
            self.change_kind, self.add_function, self.remove_function, self.add_variable, self.add_string, self.add_import,
            self.add_module, self.change_order, self.change_options, self.change_compiler, self.rename_source, self.move_library, self.touch,
            self.do_nothing, self.copy_object, self.damage, self.swap, self.interrupt, self.link_twice]
        edit = self.chance.choice(edits)
        self.trace.append(edit.__name__)
        can_update = edit()
        self.compile()
        return can_update


def try_program(seed, folder):
    program = Program(seed, folder)
    program.relink()
    for _ in range(EDITS):
        can_update = program.edit()
        if program.chance.randrange(2):
            time.sleep(0.06)  # what was left is then known to be of another time than what comes
        is_update = program.relink()
        if can_update is False and is_update:
            raise Failure(f'{program.what()}: an update')
        # A file that was written while the last link began may be linked again to be sure.
        program.declined += bool(can_update) and not is_update
    if program.declined > program.updates:
        raise Failure(f'{program.what()}: everything was linked {program.declined} times where an update would have done')
    return program.updates, program.anew


def main():
    if len(sys.argv) > 1:
        seeds = [int(word) for word in sys.argv[1:]]
    else:
        count = LONG_COUNT if os.environ.get('CRATELD_TEST_LONG') else SLICE_COUNT
        first = FIRST_SEED + int(os.environ.get('CRATELD_TEST_SEED', '1')) * count
        seeds = range(first, first + count)
    updates = anew = 0
    for seed in seeds:
        folder = tempfile.mkdtemp(prefix='crateld-test.')
        try:
            more = try_program(seed, folder)
        except Failure as failure:
            print(failure)
            return 1
        finally:
            shutil.rmtree(folder)
        updates, anew = updates + more[0], anew + more[1]
    print(f'{updates} updates, {anew} links of everything')
    return 0 if updates and anew else 1


sys.exit(main())
