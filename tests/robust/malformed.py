#!/usr/bin/env python3
"""Damaged files given to the commands: an error each time, never a crash, a hang or a sanitizer's report.

malformed.py truncated|flipped COMMAND-KIND.  Cases are taken in a slice: every STEPth from CRATELD_TEST_SEED on, all of them
with CRATELD_TEST_LONG."""
import os
import struct
import subprocess
import sys
import tempfile

EDGE = 4096  # bytes at whose every one a file is cut off
TIME_LIMIT = 60  # seconds for one command; nothing takes a tenth of it

SOURCES = {
    "lib.c": """
        int lib_data = 3;
        __thread int lib_tls = 4;
        int lib_function(int i) { return i + lib_data; }
    """,
    "app.c": r"""
        #include <math.h>
        #include <unistd.h>
        extern int lib_data, lib_function(int);
        extern __thread int lib_tls;
        static __thread int own_tls = 5;
        int (*table[])(int) = {lib_function, lib_function};
        int *pointer = &lib_data;
        static const char *const words[] = {"started\n", "ended\n"};
        int main(int argc, char **argv)
        {
            if (write(1, words[0], 8) != 8)
                return 2;
            double root = sqrt(argc);
            return table[argc & 1](*pointer) + lib_tls + own_tls + (int)root + !argv[0] == 16 ? write(1, words[1], 6) != 6 : 3;
        }
    """,
    "x.map": 'V1 { global: f; lib_*; "h*"; extern "C++" { "ns::f(int)"; ns::*; }; local: *; };\n',
}


def build():
    for name, text in SOURCES.items():
        with open(name, "w") as out:
            out.write(text)
    for command in (
        "gcc -O2 -fPIC -g -c lib.c -o lib.o",
        "gcc -O2 -fno-builtin -c app.c -o app.o",
        "gcc -shared -s lib.o -o libx.so",
        "ar rcs libx.a lib.o app.o",
        "crateld link -o lib.crate lib.o",
        "crateld link -o app.crate app.o lib.crate -lm",
        "gcc -O0 -fPIC -c lib.c -o new.o",
        "crateld diff -o fix.patch lib.crate lib.o=new.o",
        "gcc -O1 -fno-builtin -DMORE=1 -c app.c -o new.o",
        "crateld diff -o app.patch app.crate app.o=new.o",
        "crateld apply -o carrying.crate app.patch app.crate",
    ):
        subprocess.run(command.split(), check=True)
    result = subprocess.run(["crateld", "run", "app.crate"], capture_output=True)
    assert (result.returncode, result.stdout) == (0, b"started\nended\n"), result


LINK = ["crateld-tool", "link", "-nodefaultlibs", "-z", "undefs", "-o", "out.crate"]

# What is damaged, and what is done with it; whether a file that is cut off must be refused.
KINDS = {
    "object": ("app.o", [LINK + ["bad"]], True),
    "archive": ("libx.a", [LINK + ["--whole-archive", "bad"], LINK + ["-u", "lib_data", "lib.o", "bad"]], False),
    "shared": ("libx.so", [LINK + ["app.o", "bad"]], True),
    "script": ("x.map", [LINK + ["--version-script", "bad", "lib.o"]], False),
    "crate": (
        "lib.crate",
        [
            LINK + ["app.o", "bad"],
            ["crateld-tool", "inspect", "bad"],
            ["crateld-tool", "inspect", "--json", "bad"],
            ["crateld-tool", "strip", "-o", "out.crate", "bad"],
        ],
        True,
    ),
    "run": ("app.crate", [["crateld", "run", "bad"]], True),
    "patch": ("fix.patch", [["crateld-tool", "apply", "-o", "out.crate", "bad", "lib.crate"]], True),
    "carrying": (
        "carrying.crate",
        [["crateld-tool", "apply", "-o", "out.crate", "app.patch", "bad"], ["crateld-tool", "inspect", "--check", "bad"]],
        True,
    ),
    "run-carrying": ("carrying.crate", [["crateld", "run", "bad"]], True),
    "run-patch": ("fix.patch", [["crateld", "run", "--patch", "bad", "app.crate"]], True),
    "run-needed": ("lib.crate", [["crateld", "run", "--path", ".", "app.crate"]], True),
}


def in_slice(cases):
    """The cases that this run takes."""
    if os.environ.get("CRATELD_TEST_LONG"):
        return cases
    step = int(os.environ.get("STEP", "1"))
    return cases[int(os.environ.get("CRATELD_TEST_SEED", "1")) % step :: step]


def meta_size(data):
    """Bytes of the crate's first segment: headers and tables."""
    off, = struct.unpack_from("<Q", data, 32)
    size, = struct.unpack_from("<Q", data, off + 32)
    return size


def damaged(how, kind, data):
    """Pairs of a description and the damaged bytes."""
    if how == "truncated":
        for size in in_slice(range(min(len(data), EDGE))):
            yield f"cut off at {size}", data[:size]
        return
    end = meta_size(data) if data[16] == 3 and kind.split("-")[0] in ("crate", "carrying", "run") else len(data)
    for bit in in_slice(range(8 * end)):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit % 8} of byte {bit // 8:#x} flipped", bytes(bad)


def check(command, what, is_run, must_fail):
    if os.path.exists("out.crate"):
        os.unlink("out.crate")
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIME_LIMIT
        )
    except subprocess.TimeoutExpired:
        return f"{what}: {' '.join(command)}: no end"
    status, errors = result.returncode, result.stderr.decode(errors="replace")
    where = f"{what}: {' '.join(command)}: status {status}\n{errors[:2000]}"
    if "Sanitizer" in errors or "runtime error" in errors:
        return where
    if status not in ((0, 1, 127) if is_run else (0, 1)) or (must_fail and status == 0):
        return where
    if is_run and result.stdout != (b"" if status else b"started\nended\n"):
        return where
    if status and not errors.startswith("crateld: "):
        return where
    if status and os.path.exists("out.crate"):
        return f"{where}\nout.crate is there"
    return None


def main():
    how, kind = sys.argv[1:3]
    source, commands, is_refused = KINDS[kind]
    os.chdir(tempfile.mkdtemp(prefix="crateld-test."))
    directory = os.getcwd()
    build()
    with open(source, "rb") as original:
        data = original.read()
    target = source if kind == "run-needed" else "bad"
    count, faults = 0, []
    for what, bad in damaged(how, kind, data):
        with open(target, "wb") as out:
            out.write(bad)
        for command in commands:
            count += 1
            fault = check(command, what, kind.startswith("run"), how == "truncated" and is_refused)
            if fault:
                faults.append(fault)
                print(fault)
        if len(faults) > 20:
            break
    print(f"{count} commands, {len(faults)} of them wrong")
    subprocess.run(["rm", "-rf", directory])
    return 1 if faults or not count else 0


sys.exit(main())
