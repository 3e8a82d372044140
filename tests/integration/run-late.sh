#!/bin/sh
# A crate that nothing has been used of is not mapped, and is what it was at start when it is: whatever has become of its
# file and of the descriptors since.
. "$(dirname "$0")/lib.sh"
source_file m.c <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int answer(void);
static int is_mapped(void)
{
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        found |= strstr(line, "late.crate") != NULL;
    fclose(maps);
    return found;
}
int main(int argc, char **argv)
{
    const char *how = argv[1];
    printf("before %d\n", is_mapped());
    fflush(stdout);
    if (strstr(how, "replace") && rename("new.crate", "late.crate") != 0)
        return 1;
    if (strstr(how, "close"))
        for (int fd = 3; fd < 256; fd++)
            close(fd);
    if (strstr(how, "chdir") && chdir("/"))
        return 1;
    if (strstr(how, "reuse"))
        for (int fd = 3; fd < 256; fd++)
            dup2(open("m.crate", O_RDONLY), fd);
    if (strstr(how, "fork") && fork()) {
        int status;
        wait(&status);
        return WEXITSTATUS(status);
    }
    if (strstr(how, "open"))
        printf("descriptor %d\n", open("m.crate", O_RDONLY));
    fflush(stdout);
    if (strstr(how, "none"))
        return 0;
    printf("answer %d\n", answer());
    printf("after %d\n", is_mapped());
    return 0;
}
C
echo 'int answer(void) { return 42; }' >late.c
echo 'int answer(void) { return 43; }' >new.c
$CC -O2 -fPIC -c m.c late.c new.c
printf 'before 0\nanswer 42\nafter 1\n' >want

# make_crates [OPTION]...: makes them anew, linked with these options.
make_crates() {
    rm -f late.crate new.crate
    crateld link -o late.crate late.o "$@"
    crateld link -o m.crate m.o late.crate "$@"
    crateld link -o new.crate new.o "$@"
}

for relink in 1 0; do
    option=
    [ $relink = 1 ] || option=--no-relink
    # shellcheck disable=SC2086 # no word, or one
    set -- $option
    for how in plain replace close close-reuse close-chdir fork replace-fork; do
        make_crates "$@"
        status 0 crateld run m.crate $how
        cmp -s out want || fail "$how $option: $(cat out)"
    done
    make_crates "$@"
    status 0 crateld run m.crate none
    [ "$(cat out)" = 'before 0' ] || fail "$option: an unused crate is mapped"
    status 0 crateld run --bind-now m.crate plain
    has out 'before 1'
    make_crates "$@"
    status 127 crateld run m.crate replace-close
    has err 'late.crate: was replaced, and the program has closed its descriptor'
done

# Half of what a program may have open is left to it: beyond that, crates are mapped at once.
make_crates
status 0 sh -c 'ulimit -n 64 && exec crateld run m.crate open'
printf 'before 1\ndescriptor 3\nanswer 42\nafter 1\n' >want
cmp -s out want || fail "with few descriptors: $(cat out)"

# With many crates as well.
others=$(seq 100)
for i in $others; do
    echo "int other$i;" >other.c
    $CC -O2 -fPIC -c other.c
    crateld link -o "other$i.crate" other.o
done
printf 'before 0\ndescriptor 3\nanswer 42\nafter 1\n' >want
for how in open open-close open-close-reuse open-replace; do
    make_crates
    # shellcheck disable=SC2046,SC2086 # words
    crateld link -o m.crate m.o late.crate $(printf 'other%d.crate ' $others)
    status 0 crateld run m.crate $how
    [ $how != open-close-reuse ] || sed -i 's/descriptor .*/descriptor 3/' out
    cmp -s out want || fail "many crates, $how: $(cat out)"
done

# What is wrong with a file that is not used is told at start.
make_crates
truncate -s 9000 late.crate
status 1 crateld run m.crate none
has err 'late.crate'
rm late.crate
status 127 crateld run m.crate none
has err "needs crate 'late'"
