#!/usr/bin/env python3
"""A watched process has the file of its next patch mapped before there is anything in it. So it is used where the patch is
as expected, and does no harm where it is not: patches that are too large for it, programs whose memory is locked, children,
several watchers, variables that move, watchers that are killed."""
import os
import signal
import subprocess
import sys
import tempfile
import time

FLAGS = ['-O1', '-fPIC', '-ffunction-sections', '-fdata-sections']

MODULE = r'''
static long count;
long table[SIZE];
long act(void) { FILL return 1000 * VERSION + ++count + table[SIZE - 1]; }
'''
MAIN = r'''
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
long act(void);
int main(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        long answer = 0;
        if (!strcmp(line, "lock\n"))
            answer = mlockall(MCL_CURRENT | MCL_FUTURE);
        else if (!strcmp(line, "unlock\n"))
            answer = munlockall();
        else if (!strcmp(line, "fork\n") && (answer = fork()) == 0)
            while (1)
                pause();
        else if (!strcmp(line, "act\n"))
            answer = act();
        printf("%ld\n", answer);
        fflush(stdout);
    }
    return 0;
}
'''


def must(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(arguments)}: status {done.returncode}: {done.stdout}{done.stderr}')
    return done.stdout


def expected(process):
    """The places where files of patches are mapped that may be written, which the next one's is, as (address, path)."""
    with open(f'/proc/{process}/maps') as file:
        lines = [line.split(None, 5) for line in file]
    return [(int(words[0].split('-')[0], 16), words[5].strip()) for words in lines
            if len(words) == 6 and words[5].strip().endswith('.patch') and words[1] == 'rw-p' and int(words[2], 16) == 0]


def text_of(process, path):
    """Where the patch is mapped; None: it is not."""
    with open(f'/proc/{process}/maps') as file:
        for line in file:
            words = line.split(None, 5)
            if len(words) == 6 and words[5].strip() == path and words[1] == 'r-xp':
                return int(words[0].split('-')[0], 16)
    return None


class Program:
    def __init__(self, *options):
        self.version = self.count = 0
        self.compile()
        must('crateld', 'link', '-o', 'expected.crate', 'main.o', 'module.o')
        self.process = subprocess.Popen(['crateld', 'run', *options, 'expected.crate'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)
        self.id = self.process.pid

    def compile(self, fill='', size=4):
        self.version += 1
        with open('module.c', 'w') as file:
            file.write(MODULE)
        must('gcc', *FLAGS, f'-DVERSION={self.version}', f'-DFILL={fill}', f'-DSIZE={size}', '-c', 'module.c', '-o', 'next.o')
        os.rename('next.o', 'module.o')

    def ask(self, line):
        self.process.stdin.write(line + '\n')
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f'the program ended at "{line}": {self.process.wait()}: {self.process.stderr.read()[-2000:]}')
        return int(answer)

    def wait_for_version(self, what):
        end = time.monotonic() + 20
        while (answer := self.ask('act')) // 1000 != self.version:
            self.count += 1
            if answer % 1000 != self.count % 1000:
                sys.exit(f'{what}: answered {answer}, wanted count {self.count}')
            if time.monotonic() > end:
                sys.exit(f'{what}: version {self.version} is not in effect: {answer}')
            time.sleep(0.01)
        self.count += 1
        if answer % 1000 != self.count % 1000:
            sys.exit(f'{what}: answered {answer}, wanted count {self.count}')

    def wait_until_expected(self, what):
        end = time.monotonic() + 20
        while not (found := expected(self.id)):
            if time.monotonic() > end:
                sys.exit(f'{what}: no file of a patch is mapped ahead')
            time.sleep(0.01)
        return found[0]

    def reload(self, what, is_expected=True, **contents):
        """Reloads by the watcher; whether the new version lies where it was expected."""
        address, path = self.wait_until_expected(what) if is_expected else (0, '')
        self.compile(**contents)
        self.wait_for_version(what)
        return is_expected and text_of(self.id, path) == address


def watcher_of(process):
    return [int(line.split()[0]) for line in must('ps', '-eo', 'pid,args').splitlines() if line.endswith(f'crateld watch {process}')]


def check(program):
    for i in range(12):
        if not program.reload(f'reload {i}'):
            sys.exit(f'reload {i}: the patch does not lie where it was expected')
    large = '__asm__ volatile(".skip 200000, 0x90");'
    if program.reload('a large one', fill=large):
        sys.exit('a patch of 200,000 bytes lies where a small one was expected')
    for i in range(3):
        program.reload(f'after a large one {i}')
    program.reload('a larger variable', size=64)
    program.reload('after a larger variable', size=64)

    child = program.ask('fork')
    end = time.monotonic() + 20
    while expected(child):  # it may not have come to itself yet
        if time.monotonic() > end:
            sys.exit('a child has the mapping as well')
        time.sleep(0.01)
    program.reload('with a child', size=64)
    os.kill(child, signal.SIGKILL)

    if program.ask('lock'):
        print('skip: memory can not be locked')
    else:
        for i in range(3):
            program.reload(f'with locked memory {i}', is_expected=False, size=64)
        program.ask('unlock')
        program.reload('unlocked', is_expected=False, size=64)

    other = subprocess.Popen(['crateld', 'watch', str(program.id)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for i in range(4):
        program.reload(f'with two watchers {i}', is_expected=False, size=64)
    other.kill()
    other.wait()
    for watcher in watcher_of(program.id):
        os.kill(watcher, signal.SIGKILL)
    program.compile(size=64)
    must('crateld', 'reload', str(program.id), 'module.o')
    program.wait_for_version('without a watcher')
    program.compile(size=128)
    must('crateld', 'reload', str(program.id), 'module.o')
    program.wait_for_version('a larger variable, without a watcher')
    program.process.stdin.close()
    if program.process.wait(20):
        sys.exit(f'the program ended with status {program.process.returncode}')


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('main.c', 'w') as file:
            file.write(MAIN)
        must('gcc', *FLAGS, '-c', 'main.c')
        program = Program('--watch')
        try:
            check(program)
        finally:
            program.process.kill()


main()
