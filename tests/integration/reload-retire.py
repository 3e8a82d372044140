#!/usr/bin/env python3
"""What becomes of superseded versions, of which there are many: nobody who is in one of them, or comes back to one, notices
that others are unmapped. Frames that are blocked, contexts whose stacks are in memory of other kinds, jump buffers; and
addresses of constants and functions that are kept where nobody can find them. The rest goes, with its files."""
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

VERSIONS = 130
MARK = 0x1122334455667788
FLAGS = ['-O2', '-fPIC', '-ffunction-sections', '-fdata-sections']

MODULE = r'''
#include <setjmp.h>
#include <unistd.h>
void yield(void);
void leave(jmp_buf environment, int fd);
long version(void) { return 0x1122334455667788; }
long block(int fd) { char c; if (read(fd, &c, 1) != 1) return -1; return 0x1122334455667788; }
long suspend(void) { yield(); return 0x1122334455667788; }
long jump(int fd) { jmp_buf environment; if (!setjmp(environment)) leave(environment, fd); return 0x1122334455667788; }
long sum(void) { return CONSTANT; }
'''
CONSTANTS = r'''
static long late(void) { return 0x1122334455667788; }
typedef long function(void);
function *address(void) { return late; }
const char *text(void) { return "a text of its own"; }
'''
FIRST = r'''
typedef long function(void);
function *address(void) { return 0; }
const char *text(void) { return 0; }
'''

MAIN = r'''
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
typedef long function(void);
long version(void), block(int fd), suspend(void), jump(int fd), sum(void);
function *address(void);
const char *text(void);
enum { SIZE = 64 << 10 };
static int pipes[2][2];
static long results[4];
static ucontext_t here, *contexts[2], *current;
static unsigned long hidden[2];
void yield(void) { ucontext_t *self = current; swapcontext(self, &here); }
void leave(jmp_buf environment, int fd) { char c; if (read(fd, &c, 1) == 1) longjmp(environment, 1); abort(); }
static void *run_block(void *p) { results[0] = block(pipes[0][0]); return p; }
static void *run_jump(void *p) { results[1] = jump(pipes[1][0]); return p; }
static void run_context(int i) { results[i] = suspend(); }
static void enter(int i) { current = contexts[i]; swapcontext(&here, contexts[i]); }
int main(void)
{
    pthread_t threads[2];
    char line[64];
    if (pipe(pipes[0]) || pipe(pipes[1]))
        return 1;
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "block\n"))
            pthread_create(&threads[0], 0, run_block, 0);
        if (!strcmp(line, "jump\n"))
            pthread_create(&threads[1], 0, run_jump, 0);
        if (!strncmp(line, "context", 7)) {
            int i = line[7] - '0';
            contexts[i] = i ? mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) : malloc(SIZE);
            getcontext(contexts[i]);
            contexts[i]->uc_stack.ss_sp = contexts[i] + 1;
            contexts[i]->uc_stack.ss_size = SIZE - sizeof *contexts[i];
            contexts[i]->uc_link = &here;
            makecontext(contexts[i], (void (*)(void))run_context, 1, 2 + i);
            enter(i);
        }
        usleep(10000);
        if (!strcmp(line, "hide\n")) {
            hidden[0] = ~(unsigned long)address();
            hidden[1] = ~(unsigned long)text();
        }
        if (!strcmp(line, "large\n"))
            memset(malloc(300 << 20), 1, 300 << 20);
        if (!strcmp(line, "end\n")) {
            for (int i = 0; i < 2; i++) {
                if (write(pipes[i][1], "x", 1) != 1)
                    return 1;
                pthread_join(threads[i], 0);
                enter(i);
            }
            printf("%ld %ld %ld %ld %ld %s\n", results[0], results[1], results[2], results[3], ((function *)~hidden[0])(), (const char *)~hidden[1]);
        } else {
            printf("%ld\n", version());
        }
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


def compile_module(text, constant):
    with open('module.c', 'w') as file:
        file.write(text)
    must('gcc', *FLAGS, f'-DCONSTANT={constant}', '-c', 'module.c', '-o', 'module.o')
    with open('module.o', 'rb') as file:
        return file.read()


class Program:
    def __init__(self):
        self.process = subprocess.Popen(['crateld', 'run', 'retire.crate'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, line):
        self.process.stdin.write(line + '\n')
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f'the program ended at "{line}": {self.process.wait()}')
        return answer.rstrip('\n')

    def reload(self, template, number):
        with open('next.o', 'wb') as file:
            file.write(template.replace(struct.pack('<Q', MARK), struct.pack('<Q', number)))
        os.rename('next.o', 'module.o')
        must('crateld', 'reload', str(self.process.pid), 'module.o')
        if int(self.ask('version')) != number:
            sys.exit(f'version {number} is not in effect')

    def inspect(self):
        return must('crateld', 'inspect', '--patch', str(self.process.pid))

    def wait_for(self, what):
        end = time.monotonic() + 20
        while what not in (shown := self.inspect()):
            if time.monotonic() > end:
                sys.exit(f'"{what}" is not in {shown[-3000:]}')
            time.sleep(0.2)
        return shown

    def retired(self):
        return int(re.search(r'(\d+) superseded versions retired', self.wait_for('superseded versions retired'))[1])

    def files(self):
        with open(f'/proc/{self.process.pid}/maps') as file:
            return {line.split(None, 5)[5].strip() for line in file if '.patch' in line}


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('main.c', 'w') as file:
            file.write(MAIN)
        must('gcc', *FLAGS, '-c', 'main.c')
        other = compile_module(MODULE + CONSTANTS, 3)
        plain = compile_module(MODULE + FIRST, 2)
        with open('module.o', 'wb') as file:
            file.write(compile_module(MODULE + FIRST, 1))
        must('crateld', 'link', '-o', 'retire.crate', 'main.o', 'module.o', '-lpthread')
        program = Program()
        try:
            check(program, plain, other)
        finally:
            program.process.kill()


def check(program, plain, other):
    holders = ['block', 'jump', 'context0', 'context1']
    for number, holder in enumerate(holders, 1):
        program.reload(plain, number)
        program.ask(holder)
    before = program.files()
    program.reload(other, len(holders) + 1)
    program.ask('hide')
    for number in range(len(holders) + 2, VERSIONS):
        program.reload(plain, number)
    end = time.monotonic() + 20
    while program.retired() < VERSIONS // 2:
        if time.monotonic() > end:
            sys.exit(f'few versions are retired: {program.inspect()[-3000:]}')
        time.sleep(0.2)
    shown = program.inspect()
    if 'leads to it' not in shown or 'others may have the address of a function that came with it' not in shown or 'it can be rolled back to' not in shown:
        sys.exit(f'why versions are kept is not told: {shown[-3000:]}')
    files = program.files()
    if not before <= files or any(path.endswith('(deleted)') for path in files):
        sys.exit(f'files: {files}, and before {before}')
    left = [name for name in os.listdir(os.path.dirname(next(iter(files)))) if name.startswith(f'{program.process.pid}-') and name.endswith('.patch')]
    if len(left) > len(files) + 1:  # the client may have one at hand
        sys.exit(f'files that nobody needs are left: {left}, of {len(files)}')
    if (end := program.ask('end')) != '1 2 3 4 5 a text of its own':
        sys.exit(f'at the end: {end}')
    # A program that has much memory of its own is not stopped for long.
    count = program.retired()
    program.ask('large')
    for number in range(VERSIONS, VERSIONS + 60):
        program.reload(plain, number)
    program.wait_for('MiB of memory of its own')
    if program.retired() != count:
        sys.exit('versions are retired in a large program')
    must('crateld', 'rollback', str(program.process.pid))
    if program.ask('version') != str(VERSIONS + 58):
        sys.exit('not rolled back')
    program.process.stdin.close()
    if program.process.wait(60):
        sys.exit(f'status {program.process.returncode}')
    print(f'{count} versions retired')


if __name__ == '__main__':
    main()
