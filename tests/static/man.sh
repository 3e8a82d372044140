#!/bin/sh
# The man pages are clean for mandoc, or else for groff.  man.sh ROOT
set -eu
cd "$1/docs/man"
if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning ./*.[1-9]
elif command -v groff >/dev/null; then
    [ -z "$(groff -man -Tutf8 -ww -z ./*.[1-9] 2>&1 | tee /dev/stderr)" ]
else
    exit 77
fi
