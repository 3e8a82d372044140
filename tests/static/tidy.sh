#!/bin/bash
# clang-tidy's checks of .clang-tidy hold.  tidy.sh ROOT BUILD
set -eu
root=$1 build=$2
cd "$root"
command -v clang-tidy >/dev/null || exit 77
# clang does not know all of gcc's options.
commands=$(mktemp -d)
trap 'rm -rf "$commands"' EXIT
sed 's/ -fno-tree-loop-distribute-patterns//g' "$build/compile_commands.json" >"$commands/compile_commands.json"
printf '%s\n' base/*.c runtime/*.c toc/*.c reloc/*.c crate/*.c linker/*.c loader/*.c cli/*.c |
    xargs -P 2 -n 4 clang-tidy -p "$commands" --quiet
