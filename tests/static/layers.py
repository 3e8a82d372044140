#!/usr/bin/env python3
"""Includes look down only: a file includes its own folder and those that docs/architecture.md's table lets it.

layers.py ROOT.  Likewise what depends on the CPU is only in the files that docs/abi.md, section 7, lists, and no folder but
the linker and cli use libelf."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
faults = []


def read_table():
    """Folder -> the set of folders that it may include, all below what the table names."""
    may = {}
    for line in (root / "docs/architecture.md").read_text().splitlines():
        row = re.match(r"\| `([a-z/]+)/` \|.*\| ([^|]+) \|$", line)
        if not row:
            continue
        folder, below = row[1], re.findall(r"`([a-z]+)/`", row[2])
        if row[2].strip() == "all":
            below = list(may)
        may[folder] = {folder}.union(*({name} | may.get(name, may.get(name + "/crateld", set())) for name in below))
    return may


def sources(folder):
    return sorted(p for p in (root / folder).rglob("*") if p.suffix in (".c", ".h", ".S"))


def check_includes(may):
    for folder, allowed in may.items():
        for path in sources(folder):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not include:
                    continue
                target, _, _ = include[1].rpartition("/")
                target = "include/crateld" if target == "crateld" else target
                place = f"{path.relative_to(root)}:{number}: includes {include[1]}"
                if target not in allowed and target not in {name.split("/")[0] for name in allowed}:
                    faults.append(f"{place}, which {folder}/ may not")
                elif not any((base / include[1]).exists() for base in (root, root / "include")):
                    faults.append(f"{place}, which does not exist under that path")


def check_cpu():
    section = (root / "docs/abi.md").read_text().split("\n## 7.")[1].split("\n## ")[0]
    listed = []
    for name in re.findall(r"`((?:toc|reloc|crate|linker|loader|cli)/[^`]+)`", section):
        name = re.escape(name).replace("<cpu>", "x86_64").replace(r"\*", ".*")
        listed.append(re.compile(name))
    token = re.compile(r"R_X86_64_|EM_X86_64|\b__asm__\b|\basm volatile\b|_x86_64\b")
    for folder in ("include", "base", "runtime", "toc", "reloc", "crate", "linker", "loader", "cli"):
        for path in sources(folder):
            name = str(path.relative_to(root))
            if any(pattern.match(name) for pattern in listed):
                continue
            text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), path.read_text(), flags=re.S)
            for number, line in enumerate(text.splitlines(), 1):
                if token.search(line):
                    faults.append(f"{name}:{number}: depends on the CPU, and docs/abi.md section 7 does not list it: {line.strip()}")


table = read_table()
if len(table) < 8:
    faults.append(f"docs/architecture.md: only {len(table)} folders in its table")
check_includes(table)
check_cpu()
print("\n".join(faults) or f"{sum(len(sources(folder)) for folder in table)} files in {len(table)} folders")
sys.exit(bool(faults))
