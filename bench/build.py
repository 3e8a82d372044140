"""Making the programs that are measured, in build/bench/work."""

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench"
RESULTS = ROOT / "build" / "bench"
WORK = RESULTS / "work"


def folder(name):
    """An empty folder to work in."""
    path = WORK / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def run(*command, cwd):
    """Runs a command, which must succeed. Returns its output."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def compile_all(compiler, sources, cwd):
    """Compiles the sources, by `compiler` with all its options, to objects in `cwd`, as many at once as there are
    processors. Returns the objects' names, in order."""
    objects = [Path(source).stem + ".o" for source in sources]

    def compile_one(source, target):
        run(*compiler, "-c", source, "-o", target, cwd=cwd)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    return objects


def kept(name, key, make):
    """A folder that `make` fills; it is kept, and made anew only when `key` (text) is another one."""
    path = WORK / name
    stamp = path / "stamp"
    digest = hashlib.sha256(key.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        path = folder(name)
        make(path)
        stamp.write_text(digest)
    return path


def executable(objects, output, *options, cwd):
    run("gcc", *objects, "-o", output, *options, cwd=cwd)


def shared(objects, output, *options, cwd):
    run("gcc", "-shared", *objects, "-o", output, *options, cwd=cwd)


def crate(objects, output, *options, cwd):
    run("crateld", "link", "-o", output, *objects, *options, cwd=cwd)
