# Sourced by every script here, with the commands under test first in PATH.
. "$(dirname "$0")/../integration/lib.sh"

# The program under test is not built with sanitizers, which bring their own allocator and signal handlers.
lacks_sanitizers() {
    ! grep -q __asan_init "$(command -v crateld-tool)" || skip "built with sanitizers"
}

# Where a slice of many cases begins, and how it goes on: every case with CRATELD_TEST_LONG, else every STEPth.
seed() {
    echo "${CRATELD_TEST_SEED:-1}"
}

every() {
    [ -n "${CRATELD_TEST_LONG:-}" ] && echo 1 || echo "${STEP:-1}"
}
