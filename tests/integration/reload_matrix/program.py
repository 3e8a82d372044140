"""A program of the reload matrix: made in some way, run, asked, and reloaded."""
import itertools
import os
import re
import select
import subprocess
import time

TIMEOUT = 120  # seconds for anything at all; machines that run the tests may be loaded

# Each line that the program reads is given to act(), a function of the module, and the answer is printed. What act() left on
# the stack would look like pointers that somebody has. nest() does the same from within act(), until "back" comes.
MAIN = r'''
#include <stdio.h>
#include <string.h>
long act(const char *line);
static __attribute__((noinline)) void scrub(void)
{
    volatile char room[8192];
    for (unsigned i = 0; i < sizeof room; i++)
        room[i] = 0;
}
long nest(void)
{
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "back"))
            return 1;
        printf("%ld\n", act(line));
        scrub();
        fflush(stdout);
    }
    return 0;
}
int main(void)
{
    setvbuf(stdin, 0, _IONBF, 0);
    while (nest())
        continue;
    puts("end");
    return 0;
}
'''
API = '''#ifdef __cplusplus
#define API extern "C"
#else
#define API
#endif
API long act(const char *line);
API long nest(void);
'''


class Failure(Exception):
    pass


class Way:
    """How objects are made."""

    def __init__(self, compiler, level, has_functions, has_data, has_debug, language):
        self.compiler, self.level, self.language = compiler, level, language
        self.has_functions, self.has_data, self.has_debug = has_functions, has_data, has_debug
        self.flags = [level]
        self.flags += ['-ffunction-sections'] * has_functions + ['-fdata-sections'] * has_data + ['-g'] * has_debug

    def __str__(self):
        return ' '.join([self.compiler, self.language] + self.flags)

    def command(self):
        if self.compiler == 'toc':
            return ['crateld', 'c++' if self.language == 'c++' else 'cc'] + self.flags
        plus = {'gcc': 'g++', 'clang': 'clang++'}
        return [plus[self.compiler] if self.language == 'c++' else self.compiler] + self.flags

    @staticmethod
    def all(compilers):
        # crateld cc always gives functions and variables sections of their own.
        return [Way(*choice) for choice in itertools.product(
            compilers, ('-O0', '-O2'), (True, False), (True, False), (True, False), ('c', 'c++'))
                if choice[0] != 'toc' or choice[2] and choice[3]]


def run(arguments, folder):
    try:
        return subprocess.run(arguments, cwd=folder, capture_output=True, timeout=TIMEOUT, text=True, errors='replace')
    except subprocess.TimeoutExpired as expired:
        raise Failure(f'{" ".join(arguments)}: no end after {TIMEOUT} s') from expired


class Program:
    """One program in a folder of its own. A row calls module() for each file, start(), then ask(), reload() and so on."""

    def __init__(self, way, folder):
        self.way, self.folder, self.process = way, folder, None
        self.texts, self.crates, self.answers, self.outcome = {}, [], b'', 'kept'
        self.write('api.h', API)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)

    def must(self, *arguments):
        done = run(arguments, self.folder)
        if done.returncode:
            raise Failure(f'{" ".join(arguments)}: status {done.returncode}\n{done.stderr[-2000:]}')
        return done.stdout

    # Making it.

    def compile(self, name, text, way=None):
        """Compiles `text` to NAME.o, which takes its place at once, as builds do it."""
        way = way or self.way
        source = name + ('.cc' if way.language == 'c++' else '.c')
        self.write(source, text)
        self.must(*way.command(), '-w', '-include', 'api.h', '-c', source, '-o', name + '.new')
        os.rename(self.path(name + '.new'), self.path(name + '.o'))

    def module(self, text, name='module'):
        self.texts[name] = text
        self.compile(name, text)

    def link(self, crate, *names):
        self.must('crateld', 'link', '-o', crate, *names)

    def start(self, *options, main=MAIN, crates=(), libraries=()):
        """Links main and the modules (less those of `crates`, linked before) with the libraries, and runs them."""
        self.compile('main', main, Way('gcc', '-O2', True, True, False, 'c'))
        linked = {name for _, names in crates for name in names}
        for crate, names in crates:
            self.link(crate, *(name + '.o' if name in self.texts else name for name in names))
        standard = ['-lstdc++'] if self.way.language == 'c++' else []
        self.link('app.crate', 'main.o', *(name + '.o' for name in self.texts if name not in linked),
                  *(crate for crate, _ in crates), *libraries, *standard, '-lm', '-lpthread', '-ldl')
        self.run(*options)

    def run(self, *options):
        with open(self.path('errors'), 'wb') as errors:
            self.process = subprocess.Popen(['crateld', 'run', *options, 'app.crate'], cwd=self.folder, bufsize=0,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    # What it says.

    def errors(self):
        with open(self.path('errors'), encoding='utf-8', errors='replace') as file:
            return file.read()

    def read_line(self):
        end = time.monotonic() + TIMEOUT
        while b'\n' not in self.answers:
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            got = os.read(self.process.stdout.fileno(), 65536) if ready else b''
            if not got:
                raise Failure(f'the program has {"ended" if ready else "not answered"}: {self.errors()[-1000:]}')
            self.answers += got
        line, self.answers = self.answers.split(b'\n', 1)
        return line.decode()

    def tell(self, line):
        self.process.stdin.write(line.encode() + b'\n')

    def wants(self, wanted, about):
        answer = self.read_line()
        if answer != str(wanted):
            raise Failure(f'{about}: {answer}, wanted {wanted}')

    def ask(self, line, wanted):
        self.tell(line)
        self.wants(wanted, f"'{line}' is answered by")

    def ask_until(self, line, is_wanted):
        """The line is asked again and again until the answer is as wanted."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            self.tell(line)
            answer = int(self.read_line())
            if is_wanted(answer):
                return
            time.sleep(0.01)
        raise Failure(f"'{line}' is still answered by {answer}: {self.errors()[-1000:]}")

    def finish(self, errors=''):
        """Its input ends, and so does it; it must have said nothing else."""
        self.process.stdin.close()
        self.wants('end', 'the last line is')
        status = self.process.wait(TIMEOUT)
        if status or not re.fullmatch(errors, self.errors(), re.S):
            raise Failure(f'the program ended with status {status}, and said: {self.errors()[-1000:]}')

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process:
            self.process.stdin.close()
            self.process.stdout.close()

    # Its modules.

    def edited(self, *edits, name='module'):
        text = self.texts[name]
        for old, new in edits:
            if old not in text:
                raise Failure(f"the row's module has no '{old}'")
            text = text.replace(old, new)
        return text

    def command(self, *arguments):
        return run(['crateld', arguments[0], str(self.process.pid), *arguments[1:]], self.folder)

    def rollback(self):
        """Takes the last reload back."""
        self.must('crateld', 'rollback', str(self.process.pid))

    def reload(self, *edits, **texts):
        """Replaces modules by edited ones, or by new texts; returns what the reload prints."""
        if edits:
            texts['module'] = self.edited(*edits)
        for name, text in texts.items():
            self.compile(name, text)
        done = self.command('reload', *(name + '.o' for name in texts))
        if done.returncode:
            raise Failure(f'refused: {done.stderr}')
        self.texts.update(texts)
        return done.stdout

    def refuse(self, message, *edits, **texts):
        """Those must be refused, with a message like that."""
        if edits:
            texts['module'] = self.edited(*edits)
        for name, text in texts.items():
            self.compile(name, text)
        done = self.command('reload', *(name + '.o' for name in texts))
        if done.returncode != 1 or not re.search(message, done.stderr):
            raise Failure(f"status {done.returncode}, wanted a refusal with '{message}': {done.stdout}{done.stderr}")

    def need(self, flag, *edits, **texts):
        """Those are taken, if objects have the flag, and refused by its name if not; returns whether they are taken."""
        has_it = {'-fdata-sections': self.way.has_data, '-ffunction-sections': self.way.has_functions,
                  '-g': self.way.has_debug}[flag]
        if has_it:
            self.reload(*edits, **texts)
        else:
            self.refuse('compile with ' + flag, *edits, **texts)
            self.outcome = 'refused without ' + flag
        return has_it
