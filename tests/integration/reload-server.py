#!/usr/bin/env python3
"""A server whose handler is reloaded again and again under load: no request fails, and the answers come about as soon as
without. Then what may go wrong around a reload: the process is right afterwards. Usage: reload-server.py [COUNT]: that many
reloads; without, 40, or 1,000 with CRATELD_TEST_LONG=1."""
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

COUNT = 1000 if os.environ.get('CRATELD_TEST_LONG') else 40
CLIENTS = 4
MARK = 0x11223344
FLAGS = ['-O2', '-fPIC', '-ffunction-sections', '-fdata-sections']

HANDLER = '''#include <stdio.h>
#include <string.h>
static long served;
static long sum_of(const char *text, long n) { long sum = 0; for (long i = 0; i < n; i++) sum += text[i]; return sum; }
long handle(const char *request, long size, char *answer) { return sprintf(answer, "%ld %d %ld\\n", sum_of(request, size), VERSION, ++served); }
'''
SERVER = r'''
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
long handle(const char *request, long size, char *answer);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *serve(void *argument)
{
    int epoll = epoll_create1(0), fd = (int)(long)argument;
    struct epoll_event event = {EPOLLIN, {0}};
    char request[4096], answer[4096];
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) != 1) { perror("epoll_wait"); exit(1); }
        ssize_t size = read(fd, request, sizeof request);
        if (size <= 0) { if (size < 0) { perror("read"); exit(1); } break; }
        pthread_mutex_lock(&lock); long length = handle(request, size - 1, answer); pthread_mutex_unlock(&lock);
        if (write(fd, answer, length) != length) { perror("write"); exit(1); }
    }
    close(epoll); close(fd);
    return 0;
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 64) || getsockname(listener, (struct sockaddr *)&address, &size)) return 1;
    printf("%d\n", ntohs(address.sin_port)); fflush(stdout);
    for (;;) {
        int fd = accept(listener, 0, 0);
        if (fd < 0) { perror("accept"); return 1; }
        pthread_t thread;
        pthread_create(&thread, 0, serve, (void *)(long)fd);
        pthread_detach(thread);
    }
}
'''


def must(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{" ".join(arguments)}: status {done.returncode}: {done.stdout}{done.stderr}')
    return done.stdout


class Client(threading.Thread):
    """Asks for as long as it may, each request over the connection that it has, or over a new one."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.number, self.is_over = port, number, False
        self.requests, self.failures, self.times, self.last = 0, [], [], 0

    def run(self):
        try:
            self.ask()
        except OSError as error:
            self.failures.append(repr(error))

    def ask(self):
        connection = None
        while not self.is_over:
            if connection is None or self.requests % 50 == 49:
                if connection:
                    connection.close()
                connection = socket.create_connection(('127.0.0.1', self.port), timeout=60)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            text = f'request {self.number} {self.requests}'.encode()
            start = time.monotonic()
            connection.sendall(text + b'\n')
            answer = connection.recv(4096).split()
            self.times.append(time.monotonic() - start)
            if len(answer) != 3 or int(answer[0]) != sum(text) or int(answer[1]) < self.last:
                self.failures.append(f'{text} is answered by {answer}, after version {self.last}')
                return
            self.last = int(answer[1])
            self.requests += 1


def load(port, work):
    """Runs work() under load; returns (requests, 99th percentile of their times, highest version)."""
    clients = [Client(port, i) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    work()
    for client in clients:
        client.is_over = True
    for client in clients:
        client.join(120)
        if client.failures or client.is_alive():
            raise SystemExit(f'a request failed: {client.failures}')
    times = sorted(t for client in clients for t in client.times)
    return sum(client.requests for client in clients), times[len(times) * 99 // 100], max(client.last for client in clients)


def put(template, version):
    with open('next.o', 'wb') as file:
        file.write(template.replace(struct.pack('<I', MARK), struct.pack('<I', version)))
    os.rename('next.o', 'handler.o')


def ask(port):
    """The version that answers."""
    with socket.create_connection(('127.0.0.1', port), timeout=60) as connection:
        connection.sendall(b'abc\n')
        answer = connection.recv(4096).split()
    assert len(answer) == 3 and int(answer[0]) == sum(b'abc'), answer
    return int(answer[1])


def command(*arguments, **options):
    return subprocess.Popen(['crateld', *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


class Trial:
    """The server, and what is done to it."""

    def __init__(self, program, port, template):
        self.pid, self.port, self.template, self.version = str(program.pid), port, template, 0

    def reload(self):
        self.version += 1
        put(self.template, self.version)
        must('crateld', 'reload', self.pid, 'handler.o')

    def check(self, what):
        """The process is right: it answers, and takes another version."""
        self.reload()
        answered = ask(self.port)
        if answered != self.version:
            raise SystemExit(f'after {what}: version {answered} answers, not {self.version}')
        print(f'ok   {what}')

    def under_load(self, count):
        def reload():
            for _ in range(count):
                self.reload()
        self.reload()
        alone = load(self.port, lambda: time.sleep(1 + 0.004 * count))
        busy = load(self.port, reload)
        print(f'{busy[0]} requests with {count} reloads, {alone[0]} without: none failed; 99th percentile {busy[1] * 1e6:.0f} and {alone[1] * 1e6:.0f} us')
        self.check('reloads under load')

    def killed_clients(self):
        """Clients that end at any moment; a version that was on its way may have come or not."""
        for i in range(20):
            self.version += 1
            put(self.template, self.version)
            client = command('reload', self.pid, 'handler.o')
            time.sleep(0.0004 * i)
            client.kill()
            client.communicate()
            if ask(self.port) > self.version:
                raise SystemExit('a version that there is not')
        self.check('clients that were killed')

    def many_clients(self):
        """Each puts its own version there; the last to come runs, and all have done it."""
        for _ in range(3):
            clients = []
            for i in range(6):
                self.version += 1
                put(self.template, self.version)
                os.makedirs(f'c{i}', exist_ok=True)
                os.rename('handler.o', f'c{i}/handler.o')
                clients.append(command('reload', self.pid, f'c{i}/handler.o'))
            for client in clients:
                out, err = client.communicate(timeout=120)
                if client.returncode or not out.startswith('reloaded: 1 modules'):
                    raise SystemExit(f'one of several clients: {out}{err}')
            if not self.version - 6 < ask(self.port) <= self.version:
                raise SystemExit('none of the versions that came last')
        self.check('several clients at once')

    def stopped(self):
        """The process stands still when it is asked, and goes on later."""
        for _ in range(3):
            self.version += 1
            put(self.template, self.version)
            os.kill(int(self.pid), signal.SIGSTOP)
            client = command('reload', self.pid, 'handler.o')
            time.sleep(0.05)
            os.kill(int(self.pid), signal.SIGCONT)
            out, err = client.communicate(timeout=120)
            if client.returncode or ask(self.port) != self.version:
                raise SystemExit(f'a reload of a stopped process: {out}{err}')
        self.check('a process that was stopped')

    def full_disk(self):
        """There is no room for the patch."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        def limit_and_ignore():
            limit()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        before = self.version
        put(self.template, before + 1)
        client = command('reload', self.pid, 'handler.o', preexec_fn=limit_and_ignore)
        out, err = client.communicate(timeout=120)
        if client.returncode != 1 or not re.match(r'crateld: .*(File too large|cannot write)', err):
            raise SystemExit(f'no room for a patch: status {client.returncode}: {out}{err}')
        if ask(self.port) != before:
            raise SystemExit('half a reload')
        client = command('reload', self.pid, 'handler.o', preexec_fn=limit)
        client.communicate(timeout=120)
        self.check('no room for a patch')

    def not_objects(self):
        """The file is any part of an object, and its bytes any."""
        for size in range(0, len(self.template), max(1, len(self.template) // 12)):
            with open('handler.o', 'wb') as file:
                file.write(self.template[:size])
            client = command('reload', self.pid, 'handler.o')
            out, err = client.communicate(timeout=120)
            if client.returncode != 1 or 'handler.o' not in err:
                raise SystemExit(f'{size} bytes of an object: status {client.returncode}: {out}{err}')
        self.check('parts of an object')

    def killed_watcher(self):
        """The linker's side ends; another one takes its place."""
        for _ in range(2):
            watcher = command('watch', self.pid)
            self.version += 1
            for _ in range(2000):
                put(self.template, self.version)
                time.sleep(0.02)
                if ask(self.port) == self.version:
                    break
            else:
                raise SystemExit('the watcher does nothing')
            watcher.kill()
            watcher.communicate()
        self.check('a watcher that was killed')


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, text in ('handler.c', HANDLER), ('server.c', SERVER):
            with open(name, 'w') as file:
                file.write(text)
        must('gcc', *FLAGS, '-c', 'server.c')
        must('gcc', *FLAGS, f'-DVERSION={MARK}', '-c', 'handler.c')
        with open('handler.o', 'rb') as file:
            template = file.read()
        must('crateld', 'link', '-o', 'server.crate', 'server.o', 'handler.o', '-lpthread')
        with open('errors', 'wb') as errors:
            program = subprocess.Popen(['crateld', 'run', 'server.crate'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            trial = Trial(program, int(program.stdout.readline()), template)
            trial.under_load(count)
            trial.killed_clients()
            trial.many_clients()
            trial.stopped()
            trial.full_disk()
            trial.not_objects()
            trial.killed_watcher()
            if program.poll() is not None or os.path.getsize('errors'):
                raise SystemExit(f'the server has ended, or said: {open("errors").read()}')
        finally:
            program.kill()


if __name__ == '__main__':
    main()
