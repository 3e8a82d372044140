#!/bin/bash
# Each option that a command's help names is in the man page and in the completion; so are the commands.
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/lib.sh"
sed 's/\\-/-/g; s/\\f.//g' "$root/docs/man/crateld.1" >man.txt
cp "$root/completions/crateld" completion
check_options() {
    grep -oE -- '(^|[ ,[])(--?[A-Za-z][A-Za-z0-9-]*)' help | tr -d ' ,[' | sort -u >options
    [ -s options ] || fail "$1 --help names no options"
    while read -r option; do
        grep -qE -- "(^|[^-A-Za-z0-9])$option([^-A-Za-z0-9]|\$)" man.txt || fail "$1 $option is not in crateld.1"
        grep -qE -- "(^|[^-A-Za-z0-9])$option([^-A-Za-z0-9]|\$)" completion || [ "$option" = -h ] ||
            fail "$1 $option is not in the completion"
    done <options
}
for command in run link inspect strip stub export apply diff reload watch; do
    crateld $command --help >help
    sed -i 's/--help//; s/-h, *//' help
    check_options $command
done
crateld --help | sed -n 's/^  \([a-z+]*\) .*/\1/p' >commands
while read -r command; do
    has completion "$command"
    has man.txt "crateld $command"
done <commands
for variable in $(grep -rhoE 'getenv\("[A-Z_]+"\)|variable, "CRATELD[A-Z_]*"|"CRATELD_[A-Z]+"' "$root/cli" "$root/loader" "$root/linker" |
    grep -oE '[A-Z_]{4,}' | sort -u); do
    [ "$variable" = PATH ] || has man.txt "$variable"
done
