#!/bin/sh
# All shell scripts are clean for shellcheck; .shellcheckrc says how it finds what they source.  shell.sh ROOT
set -eu
cd "$1"
command -v shellcheck >/dev/null || exit 77
find . \( -name .git -o -name 'build*' \) -prune -o -type f \( -name '*.sh' -o -perm /111 \) -print | sort >"${TMPDIR:-/tmp}/scripts.$$"
trap 'rm -f "${TMPDIR:-/tmp}/scripts.$$"' EXIT
set --
while read -r script; do
    case $(head -c 40 "$script" | head -1) in
    '#!/bin/sh'* | '#!/bin/bash'* | '# shellcheck shell='*) set -- "$@" "$script" ;;
    esac
done <"${TMPDIR:-/tmp}/scripts.$$"
echo "$# scripts"
[ $# -gt 5 ]
shellcheck --severity=warning --external-sources "$@"
