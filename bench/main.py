"""The benchmarks' driver: bench/run starts it."""

import argparse
import subprocess
import sys

import call, collector, interop, link, load, reload  # noqa: F401 -- each enters its rows
from build import RESULTS
from measure import Unavailable, rows, settle
import report

GROUPS = ["load", "call", "link", "reload", "procs", "gc"]


def measure(row):
    """Measures a row. Returns whether what it needs worked; what does not is told on stderr."""
    try:
        row.ours, row.peer = row.measure()
    except Unavailable as error:
        print(f"{row.group} {row.name}: {error}", file=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        details = getattr(error, "stderr", None) or ""
        print(f"{row.group} {row.name}: {error}\n{details}".rstrip(), file=sys.stderr)
        return False
    return True


def main():
    arguments = argparse.ArgumentParser(prog="bench/run", description="Runs the benchmarks; docs/benchmarks.md.")
    arguments.add_argument("--tsv", action="store_true", help="a tab-separated line a row")
    arguments.add_argument("groups", metavar="GROUP", nargs="*", help=" ".join(GROUPS))
    options = arguments.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        arguments.error(f"no such group: {' '.join(sorted(unknown))}")
    settle()
    RESULTS.mkdir(parents=True, exist_ok=True)
    has_worked = True
    for group in options.groups or GROUPS:
        chosen = [row for row in rows if row.group == group]
        for row in chosen:
            has_worked &= measure(row)
            print(report.tsv(row) if options.tsv else report.text(row), flush=True)
        if chosen:
            (RESULTS / f"{group}.svg").write_text(report.svg(chosen))
    return 0 if has_worked else 1


if __name__ == "__main__":
    sys.exit(main())
