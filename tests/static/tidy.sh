#!/bin/bash
# clang-tidy's checks of .clang-tidy hold: for every file with CRATELD_TEST_LONG, else for what the last commit and the
# working tree change, and every STEPth other file from CRATELD_TEST_SEED on.  tidy.sh ROOT BUILD
set -eu
root=$1 build=$2
cd "$root"
command -v clang-tidy >/dev/null || exit 77
mapfile -t all < <(ls base/*.c toc/*.c reloc/*.c crate/*.c linker/*.c loader/*.c cli/*.c)
step=${STEP:-1}
[ -z "${CRATELD_TEST_LONG:-}" ] || step=1
seed=${CRATELD_TEST_SEED:-1}
changed=" $(git diff --name-only HEAD~1 -- 2>/dev/null | tr '\n' ' ')"
files=()
for i in "${!all[@]}"; do
    if [ $(((i + seed) % step)) = 0 ] || [[ $changed = *" ${all[i]} "* ]]; then
        files+=("${all[i]}")
    fi
done
echo "${#files[@]} of ${#all[@]} files"
# clang does not know all of gcc's options.
commands=$(mktemp -d)
trap 'rm -rf "$commands"' EXIT
sed 's/ -fno-tree-loop-distribute-patterns//g' "$build/compile_commands.json" >"$commands/compile_commands.json"
printf '%s\n' "${files[@]}" | xargs -P 2 -n 4 clang-tidy -p "$commands" --quiet
