#!/bin/sh
# Crates that are executable files: the kernel runs them like any program.
. "$(dirname "$0")/lib.sh"

source_file app.c <<'END'
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char exe[PATH_MAX], cwd[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[length > 0 ? length : 0] = 0;
    printf("exe %s\ncwd %s\nVAR %s\n", exe, getcwd(cwd, sizeof cwd), getenv("VAR"));
    for (int i = 0; i < argc; i++)
        printf("argv[%d] %s\n", i, argv[i]);
    return argc;
}
END
source_file lib.c <<'END'
int answer(void) { return 42; }
END
source_file user.c <<'END'
#include <signal.h>
#include <stdio.h>
int answer(void);
int main(void)
{
    printf("%d\n", answer());
    fflush(stdout);
    return raise(SIGUSR1);
}
END
for name in app lib user; do
    $CC -fPIC -O2 -c $name.c
done
here=$(pwd -P)
(
    umask 022
    crateld link -o app.crate app.o
    crateld link -o lib.crate lib.o
    umask 077
    crateld link -o user.crate user.o lib.crate
)
[ "$(stat -c %a app.crate)" = 755 ] || fail "mode of a crate with an entry: $(stat -c %a app.crate)"
[ "$(stat -c %a user.crate)" = 700 ] || fail "mode less the umask: $(stat -c %a user.crate)"
[ "$(stat -c %a lib.crate)" = 644 ] || fail "mode of a crate without an entry: $(stat -c %a lib.crate)"
! readelf -lW lib.crate | grep -q INTERP || fail "a crate without an entry has an interpreter"

# Arguments, environment, argv[0], the program's own file.
VAR=value status 4 ./app.crate one '' 'two words'
has out "exe $here/app.crate"
has out "VAR value"
has out "argv[0] ./app.crate"
grep -qx 'argv\[2\] ' out || fail "an empty argument"
has out "argv[3] two words"

# By a bare name in $PATH, by a symbolic link, by a relative path from elsewhere, as the interpreter of a script.
mkdir bin sub
ln -s ../app.crate bin/linked
cd /
PATH=$here:$PATH app.crate >"$here/out" || [ $? = 1 ] || fail "by name in PATH"
cd "$here"
has out "argv[0] app.crate"
has out "cwd /"
status 1 bin/linked
has out "exe $here/app.crate"
has out "argv[0] bin/linked"
cd sub
status 1 ../app.crate
has out "exe $here/app.crate"
cd ..
printf '#!%s -option\n' "$here/app.crate" >script
chmod +x script
status 3 ./script
has out "argv[1] -option"
has out "argv[2] ./script"

# What it needs is found beside the file, also when a link to it is executed; a signal ends it as any program.
ln -s ../user.crate bin/user
set +e
bin/user >out 2>err
rc=$?
set -e
[ $rc = 138 ] || fail "status $rc, wanted that of SIGUSR1"
has out 42

# posix_spawn() from a program and from a crate: in another folder, by a bare name, by its own relative path.
source_file spawn.c <<'END'
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
extern char **environ;
static int spawn(int by_name, const char *folder, const char *file)
{
    char *argv[] = {(char *)"given", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    if (*folder)
        posix_spawn_file_actions_addchdir_np(&actions, folder);
    int reason = (by_name ? posix_spawnp : posix_spawn)(&child, file, &actions, NULL, argv, environ);
    if (reason) {
        printf("%s: %s\n", file, strerror(reason));
        return 1;
    }
    waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 1;
}
int main(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "given") == 0)
        return 1;
    return spawn(0, "sub", "../app.crate") | spawn(1, "", "app.crate") | spawn(0, "sub", "../spawn.crate") |
           spawn(0, "", "./spawn.crate");
}
END
$CC -fPIC -O2 -c spawn.c
crateld link -o spawn.crate spawn.o
status 0 env PATH="$here:$PATH" ./spawn.crate
[ "$(grep -c 'argv\[0\] given' out)" = 2 ] || fail "posix_spawn of another crate"
has out "cwd $here/sub"

# A file without a name any more: of a removed crate, and in memory.
if command -v python3 >/dev/null; then
    cp app.crate gone.crate
    status 1 python3 -c 'import os
fd = os.open("gone.crate", os.O_RDONLY)
os.set_inheritable(fd, True)
os.remove("gone.crate")
os.execve(fd, ["gone"], os.environ)'
    has out "argv[0] gone"
    status 1 python3 -c 'import os
fd = os.memfd_create("program", 0)
os.write(fd, open("app.crate", "rb").read())
os.execve(fd, ["memory"], os.environ)'
    has out "argv[0] memory"
fi

# Installed: crateld is found from the place of the interpreter, wherever the installation was moved before the link.
build=$(dirname "$(command -v crateld)")
mkdir -p moved/bin moved/libexec/crateld
cp "$build/crateld" moved/bin/
cp "$build/crateld-tool" "$build/crateld-exec" "$build/libcrateld_cc.a" moved/libexec/crateld/
moved/bin/crateld link -o moved.crate app.o
readelf -lW moved.crate | grep -q "interpreter: $here/moved/libexec/crateld/crateld-exec" || fail "interpreter of a moved installation"
status 1 ./moved.crate
has out "argv[0] ./moved.crate"
rm moved/bin/crateld
status 127 ./moved.crate
has err "$here/moved.crate: there is no crateld that belongs to $here/moved/libexec/crateld/crateld-exec"

# Another interpreter, or none.
crateld link --interpreter /opt/elsewhere/crateld-exec -o other.crate app.o
readelf -lW other.crate | grep -q "interpreter: /opt/elsewhere/crateld-exec" || fail "--interpreter"
crateld run other.crate >out || [ $? = 1 ] || fail "crateld run of a crate with another interpreter"
crateld link --interpreter '' -o none.crate app.o
[ ! -x none.crate ] || fail "without an interpreter it is no executable file"
status 127 "$build/crateld-exec"
has err "crateld-exec is the interpreter of executable crates"

# Stripped it stays what it is.
crateld strip app.crate
status 1 ./app.crate
