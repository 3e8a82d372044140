#!/usr/bin/env python3
"""No function of more than 100 lines, no file of more than 800.  sizes.py ROOT"""
import pathlib
import subprocess
import sys

MAX_FUNCTION, MAX_FILE = 100, 800

root = pathlib.Path(sys.argv[1])
names = subprocess.run(["git", "-C", root, "ls-files", "*.c", "*.cc", "*.h", "*.S", "*.py", "*.sh"], capture_output=True, text=True)
paths = [root / name for name in names.stdout.split()] or [p for p in root.rglob("*.[chS]") if "build" not in p.parts]
faults = []
for path in paths:
    if not path.exists():
        continue
    lines = path.read_text().splitlines()
    if len(lines) > MAX_FILE:
        faults.append(f"{path}: {len(lines)} lines, at most {MAX_FILE}")
    begin = None
    for number, line in enumerate(lines, 1):
        # Functions have their opening brace on a line of its own.
        if line == "{":
            begin = number
        elif line == "}" and begin:
            if number - begin > MAX_FUNCTION:
                faults.append(f"{path}:{begin}: a function of {number - begin} lines, at most {MAX_FUNCTION}")
            begin = None
print("\n".join(faults) or f"{len(paths)} files")
sys.exit(bool(faults) or not paths)
