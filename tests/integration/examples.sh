#!/bin/bash
# The examples that are reloaded while they run do what they say, and can be recorded.
. "$(dirname "$0")/lib.sh"
need_libc_first
need python3
examples=$(cd "$(dirname "$0")/../../examples" && pwd)
for example in reload server; do
    status 0 "$examples/record" $example "$tmp/$example" "$tmp/$example.cast"
    has $example.cast '"version": 2'
    has $example.cast 'reloaded: 1 modules, 1 functions'
done
has reload.cast 'it goes on where it was'
has server.cast 'it is the same connection, and the same process'
