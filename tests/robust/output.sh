#!/bin/sh
# Outputs that can not be written: an error with the reason, the old output as it was, nothing left beside it.
. "$(dirname "$0")/lib.sh"
lacks_sanitizers

echo 'int main(void) { return 0; }' | $CC -O2 -c -x c - -o app.o
crateld link -o good.crate app.o
echo 'int main(void) { return 1 - 1; } int more(void) { return 2; }' | $CC -O2 -c -x c - -o new.o
crateld diff -o fix.patch good.crate app.o=new.o
mkdir place

# refused REASON COMMAND...: exit status 1, the reason said, and `place` as it was.
refused() {
    reason=$1
    shift
    before=$(ls -la place && cat place/* 2>/dev/null | cksum)
    status 1 "$@"
    has err "$reason"
    [ "$before" = "$(ls -la place && cat place/* 2>/dev/null | cksum)" ] || fail "place changed: $*"
}

full_disk() {
    env FAULT_DISK_AT=0 "LD_PRELOAD=$FAULTS" "$@"
}

small_files() {
    (ulimit -f 4 && "$@")
}

for old in '' old; do
    [ -z "$old" ] || cp good.crate place/out.crate
    refused 'No space left on device' full_disk crateld-tool link -o place/out.crate app.o
    refused 'No space left on device' full_disk crateld-tool strip -o place/out.crate good.crate
    refused 'File too large' small_files crateld link -o place/out.crate app.o
    refused 'File too large' small_files crateld strip -o place/out.crate good.crate
    refused 'No space left on device' full_disk crateld-tool apply -o place/out.crate fix.patch good.crate
    refused 'File too large' small_files crateld apply -o place/out.crate fix.patch good.crate
done
refused 'No space left on device' full_disk crateld-tool link --map place/out.map -o place/out.crate app.o
refused 'No space left on device' full_disk crateld-tool strip place/out.crate
refused 'No space left on device' full_disk crateld-tool apply fix.patch place/out.crate

refused 'not a regular file' crateld link -o place app.o
refused 'not a regular file' crateld strip -o place good.crate
refused 'No such file' crateld link -o place/absent/out.crate app.o
refused 'Not a directory' crateld link -o place/out.crate/out.crate app.o
refused 'not a regular file' crateld link -o /dev/null app.o
refused 'not a regular file' crateld link -o place/new.crate place
refused 'No such file' crateld link -o place/new.crate absent.o
refused 'No such file' crateld strip -o place/new.crate absent.crate
refused 'No such file' crateld inspect absent.crate
status 127 crateld run absent.crate
has err 'absent.crate'

# Results that nobody takes.
for command in 'inspect good.crate' 'link --help' 'link --map - -o place/out.crate app.o' 'strip good.crate' --version --help; do
    rc=0
    # shellcheck disable=SC2086
    crateld $command >/dev/full 2>err || rc=$?
    [ $rc = 1 ] || fail "status $rc for a full standard output: $command"
done
crateld link -o place/closed.crate app.o >&- 2>&- <&-
crateld run place/closed.crate

# A real full disk, where one can be mounted.
mkdir disk
if mount -t tmpfs -o size=8k tmpfs disk 2>/dev/null; then
    rc=0
    crateld link -o disk/out.crate app.o 2>err || rc=$?
    left=$(ls disk)
    umount disk
    [ $rc = 1 ] && [ -z "$left" ] || fail "a full disk: status $rc, left: $left"
    has err 'No space left on device'
fi

# What this user may not read or write.
as_other=
if [ "$(id -u)" = 0 ]; then
    command -v setpriv >/dev/null || exit 0
    as_other='setpriv --reuid=65534 --regid=65534 --clear-groups'
fi
chmod 755 . place
cp app.o secret.o
cp good.crate secret.crate
chmod 0 secret.o secret.crate
chmod 555 place
# shellcheck disable=SC2086
{
    $as_other test -r app.o && $as_other crateld --version >/dev/null 2>&1 || exit 0
    refused 'Permission denied' $as_other crateld link -o place/new.crate secret.o
    refused 'Permission denied' $as_other crateld link -o place/new.crate app.o secret.crate
    refused 'Permission denied' $as_other crateld link -o place/new.crate app.o
    refused 'Permission denied' $as_other crateld inspect secret.crate
    refused 'Permission denied' $as_other crateld strip secret.crate
    refused 'Permission denied' $as_other crateld run secret.crate
}
chmod 755 place
