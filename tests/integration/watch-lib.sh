# shellcheck shell=bash
# Sourced by the scripts that run a watched program, which prints a line when something has changed; lib.sh is sourced.
: "${tmp:?sourced after lib.sh}"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
# wait_for LINE: until it is the last that the program has printed
wait_for() {
    for _ in $(seq 1000); do
        [ "$(tail -1 output)" = "$1" ] && return
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 log)"
        sleep 0.01
    done
    fail "the last line is '$(tail -1 output)', wanted '$1': $(tail -5 log)"
}
# wait_log TEXT: until the watcher has said so
wait_log() {
    for _ in $(seq 1000); do
        grep -qF -- "$1" log && return
        sleep 0.01
    done
    fail "'$1' is not in the log: $(cat log)"
}
