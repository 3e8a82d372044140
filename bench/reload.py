"""Group reload: what it takes to replace a module of a running program, and what being replaceable costs."""

import os
import socket
import statistics
import subprocess
import threading
import time

from build import SOURCES, compile_all, crate, folder, kept, run
from call import loops_against
from measure import Unavailable, alternate, floor_of_loops, printed, row

GCC = ("gcc", "-O1", "-fPIC", "-ffunction-sections", "-fdata-sections")
FUNCTIONS = 100
VERSIONS = 21
PATIENCE_S = 30


def on_all_processors():
    os.sched_setaffinity(0, range(os.cpu_count()))


def file_source(i, files):
    """A file of functions, each of which calls one elsewhere, as a compiler writes them: with a section each."""
    lines = []
    for k in range(FUNCTIONS):
        name, callee = f"file{i}_function{k}", f"file{(i * 7 + k) % files}_function{k * 3 % FUNCTIONS}"
        lines.append(f'.section .text.{name},"ax",@progbits\n.globl {name}\n.type {name},@function\n{name}:\n'
                     f"testl %edi, %edi\njg 1f\nmovl ${k}, %eax\nret\n1: subl $1, %edi\njmp {callee}@PLT\n.size {name}, . - {name}\n")
    return "".join(lines) + '.section .note.GNU-stack,"",@progbits\n'


HOT = (
    "static int calls;\nint hot(void) { calls++; return VERSION; }\n"
    + "".join(f"int file{k}_function{k}(int); int hot{k}(int x) {{ return file{k}_function{k}(x) + {k}; }}\n" for k in range(FUNCTIONS))
)

WAITING = """#include <stdio.h>
#include <time.h>
int hot(void);
/* Says when it calls a new version first. */
int main(void)
{
    for (int last = 0;;) {
        int version = hot();
        struct timespec now;
        if (version == last)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("%d %lld\\n", version, now.tv_sec * 1000000000LL + now.tv_nsec);
        fflush(stdout);
        last = version;
    }
}
"""


def application(files):
    """A folder with a program of `files` files of 100 functions each, as app.crate, and the versions of one module more."""

    def make(at):
        names = [f"file{i}.s" for i in range(files)]
        for i, name in enumerate(names):
            (at / name).write_text(file_source(i, files))
        (at / "hot.c").write_text(HOT)
        (at / "main.c").write_text(WAITING)
        objects = compile_all(GCC, [*names, "main.c"], at)
        for version in range(1, VERSIONS + 1):
            run(*GCC, "-g", f"-DVERSION={version}", "-c", "hot.c", "-o", f"hot.{version}.o", cwd=at)
        (at / "hot.o").write_bytes((at / "hot.1.o").read_bytes())
        (at / "objects").write_text("\n".join(objects))

    at = kept(f"reload-{files}", file_source(0, files) + HOT + WAITING + str(VERSIONS), make)
    (at / "hot.o").write_bytes((at / "hot.1.o").read_bytes())
    (at / "list").write_text((at / "objects").read_text())
    crate(["hot.o", "@list"], "app.crate", cwd=at)
    return at


def kill(process):
    process.kill()
    process.wait()


def read_line(process):
    line = process.stdout.readline()
    if not line:
        raise Unavailable(f"the program ended: {process.wait()}")
    return [int(word) for word in line.split()]


class Watched:
    """A program that runs and is watched."""

    def __init__(self, files):
        self.at = application(files)
        self.errors = open(self.at / "log", "w")
        self.process = subprocess.Popen(["crateld", "run", "--watch", "app.crate"], cwd=self.at, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, preexec_fn=on_all_processors)
        if read_line(self.process)[0] != 1:
            raise Unavailable("the program does not begin with its first version")
        time.sleep(1)  # the watcher opens what it watches
        self.version = 1

    def reload(self):
        """Puts the next version of the module in its place. Returns the milliseconds until it was called."""
        self.version = self.version % VERSIONS + 1
        next_object = self.at / "hot.next"
        with open(next_object, "wb") as file:
            file.write((self.at / f"hot.{self.version}.o").read_bytes())
            file.flush()
            os.fsync(file.fileno())  # else the file system writes it back within the rename
        time.sleep(0.05)
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        os.rename(next_object, self.at / "hot.o")
        version, when = read_line(self.process)
        if version != self.version:
            raise Unavailable(f"version {version} runs instead of {self.version}")
        return (when - start) / 1e6

    def close(self):
        kill(self.process)
        self.errors.close()


def link_ms(at):
    """What GNU ld takes to link the module alone."""
    start = time.perf_counter_ns()
    run("ld.bfd", "-shared", "-Bsymbolic", "--unresolved-symbols=ignore-all", "-o", "module.so", "hot.1.o", cwd=at)
    return (time.perf_counter_ns() - start) / 1e6


@row("reload", "latency-20k", "ms", "ld.bfd -shared of the module alone", 0.10)
def latency_20k():
    watched = Watched(200)
    try:
        ours, peer = alternate(watched.reload, lambda: link_ms(watched.at), 40)
    finally:
        watched.close()
    return statistics.median(ours), statistics.median(peer)


@row("reload", "latency-scale", "ms", "200 files instead of 2000", 1.20)
def latency_scale():
    large, small = Watched(2000), Watched(200)
    try:
        for program in (large, small):
            os.kill(program.process.pid, 19)  # SIGSTOP: each is to have a processor of its own

        def reload(program):
            os.kill(program.process.pid, 18)
            try:
                return program.reload()
            finally:
                os.kill(program.process.pid, 19)

        ours, peer = alternate(lambda: reload(large), lambda: reload(small), 40)
    finally:
        large.close()
        small.close()
    return statistics.median(ours), statistics.median(peer)


PAUSE_MAIN = """#include <pthread.h>
#include <stdio.h>
int work(int);
static void *run(void *unused) { for (;;) work(1000); return unused; }
int main(void)
{
    pthread_t thread;
    for (int i = 0; i < 8; i++)
        pthread_create(&thread, 0, run, 0);
    puts("1");
    fflush(stdout);
    pthread_join(thread, 0);
}
"""
PAUSE_WORK = """static volatile int sum;
int work(int n) { int all = 0; for (int i = 0; i < n; i++) all += i ^ (n + VERSION); sum = all; return all; }
"""
PAUSE_ROUNDS = 20


def pauses(at):
    """The pauses, in ms, of reloads of a function that all threads are in: nobody is held, but those that come to a page while it
    is replaced have to wait for that."""
    process = subprocess.Popen(["crateld", "run", "app.crate"], cwd=at, stdout=subprocess.PIPE, text=True, preexec_fn=on_all_processors)
    try:
        read_line(process)
        found = []
        for i in range(PAUSE_ROUNDS):
            (at / "work.o").write_bytes((at / f"work.{i}.o").read_bytes())
            report = run("crateld", "reload", process.pid, "work.o", cwd=at)
            found.append(float(report.split("pause ")[1].split()[0]))
        return found
    finally:
        kill(process)


@row("reload", "pause-8-threads", "ms", "one mprotect of a page that was written", 6.00)
def pause_8_threads():
    at = folder("pause")
    (at / "main.c").write_text(PAUSE_MAIN)
    (at / "work.c").write_text(PAUSE_WORK)
    compile_all((*GCC, "-pthread"), ["main.c"], at)
    for i in range(PAUSE_ROUNDS):
        run(*GCC, f"-DVERSION={i + 2}", "-c", "work.c", "-o", f"work.{i}.o", cwd=at)
    run(*GCC, "-DVERSION=1", "-c", "work.c", "-o", "work.o", cwd=at)
    crate(["main.o", "work.o"], "app.crate", "-lpthread", cwd=at)
    run("gcc", "-O2", "-pthread", SOURCES / "bench_protect.c", "-o", "protect", cwd=at)
    ours = pauses(at)
    peer = subprocess.run(["./protect"], cwd=at, check=True, capture_output=True, text=True, preexec_fn=on_all_processors).stdout
    return statistics.median(ours), float(peer.split()[0])


@row("reload", "steady-call", "ns/call", "the same crates without a relink section", 1.02)
def steady_call():
    def crates(at, *options):
        callees, caller = compile_all(("gcc", "-O2", "-fPIC"), [SOURCES / "bench_call_callees.c", SOURCES / "bench_call.c"], at)
        crate([callees], "callees.crate", *options, cwd=at)
        crate([caller], "caller.crate", "callees.crate", *options, cwd=at)
        return ["crateld", "run", "caller.crate"], at

    return loops_against(crates(folder("steady")), crates(folder("steady-peer"), "--no-relink"))


REQUESTS = 20000
CLIENTS = 4


def serve_requests(port):
    """The 99th percentile, in ms, of what requests of several clients take."""
    took, lock, failures = [], threading.Lock(), []

    def client():
        own = []
        try:
            for _ in range(REQUESTS // CLIENTS // 50):
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    for _ in range(50):
                        start = time.perf_counter_ns()
                        connection.sendall(b"hello\n")
                        if not connection.recv(256).startswith(b"hello"):
                            raise OSError("a wrong answer")
                        own.append((time.perf_counter_ns() - start) / 1e6)
        except OSError as error:
            failures.append(error)
        with lock:
            took.extend(own)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Unavailable(f"a request failed: {failures[0]}")
    return statistics.quantiles(took, n=100)[98]


@row("reload", "server-p99", "ms", "the same server, not reloaded meanwhile", 2.00)
def server_p99():
    at = folder("server")
    compile_all(GCC, [SOURCES / "bench_server.c"], at)
    for version in (0, 1):
        run(*GCC, f"-DVERSION={version}", "-c", SOURCES / "bench_handler.c", "-o", f"handler.{version}.o", cwd=at)
    (at / "handler.o").write_bytes((at / "handler.0.o").read_bytes())
    crate(["bench_server.o", "handler.o"], "app.crate", cwd=at)
    process = subprocess.Popen(["crateld", "run", "--watch", "app.crate"], cwd=at, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, preexec_fn=on_all_processors)
    os.sched_setaffinity(0, range(os.cpu_count()))
    try:
        port = read_line(process)[0]
        time.sleep(1)

        def reloaded():
            is_over = threading.Event()

            def reload():
                version = 0
                while not is_over.wait(0.02):
                    version = 1 - version
                    (at / "handler.next").write_bytes((at / f"handler.{version}.o").read_bytes())
                    os.rename(at / "handler.next", at / "handler.o")

            reloader = threading.Thread(target=reload)
            reloader.start()
            try:
                return serve_requests(port)
            finally:
                is_over.set()
                reloader.join()

        ours, peer = alternate(reloaded, lambda: serve_requests(port), 10)
        return statistics.median(ours), statistics.median(peer)
    finally:
        kill(process)
