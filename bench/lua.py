"""Lua's source, from Debian: fetched once, by apt, with lists and caches of its own, so that the machine's stay as they are."""

import os
import re
import subprocess
from pathlib import Path

from measure import Unavailable

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crateld-bench"


def source_lists():
    """This machine's package lists, asking for sources."""
    texts = []
    etc = Path("/etc/apt")
    for file in sorted(etc.glob("sources.list.d/*.sources")):
        texts += re.split(r"\n\s*\n", file.read_text())
    stanzas = [re.sub(r"(?m)^Types:.*$", "Types: deb-src", text) for text in texts if "debian" in text]
    lines = []
    for file in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if file.exists():
            lines += re.findall(r"(?m)^deb(?:-src)?\s+(.*debian.*)$", file.read_text())
    return "\n\n".join(stanzas) + "\n", "".join(f"deb-src {line}\n" for line in lines)


def fetch(at):
    """Puts the source of Debian's package into `at`."""
    parts = at / "parts"
    for path in [parts, at / "lists" / "partial", at / "cache" / "archives" / "partial"]:
        path.mkdir(parents=True, exist_ok=True)
    stanzas, lines = source_lists()
    (parts / "bench.sources").write_text(stanzas)
    (parts / "bench.list").write_text(lines)
    apt = ["apt-get", "-q", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}",
           "-o", f"Dir::State::lists={at}/lists", "-o", f"Dir::Cache={at}/cache", "-o", "APT::Sandbox::User="]
    subprocess.run([*apt, "update"], check=True, capture_output=True)
    subprocess.run([*apt, "--download-only", "source", "lua5.4"], cwd=at, check=True, capture_output=True)
    for archive in at.glob("lua5.4_*.orig.tar.*"):
        subprocess.run(["tar", "-xf", archive.name], cwd=at, check=True)


def lua_source():
    """The folder that holds Lua's C files."""
    found = list(CACHE.glob("lua-5.4*/src"))
    if not found:
        try:
            fetch(CACHE)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"Debian's source of Lua can not be fetched: {error}") from error
        found = list(CACHE.glob("lua-5.4*/src"))
    if not found:
        raise Unavailable("Debian's source of Lua has no src folder")
    return found[0]
