#!/bin/bash
# Three crates in a chain: all users of a module that is replaced are told, those that never called stay unbound, and what is
# still imported can not vanish.
folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$folder/lib.sh"
# shellcheck source=reload-lib.sh
. "$folder/reload-lib.sh"
need python3
need_libc_first
row=chain

cat >module.c <<'C'
int base_value = 1; int low(int x) { return x + base_value; } int rare(int x) { return x * 100; } int unused(int x) { return x * 1000; }
C
echo 'int low(int), rare(int); int middle(int x) { return low(x) * 10; } int seldom(int x) { return rare(x) + low(x); }' >middle.c
cat >top.c <<'C'
int low(int), middle(int), seldom(int); extern int base_value; static int (*held)(int);
long act(const char *line) { if (!held) held = low; if (line[0] == 's') return seldom(line[1] - '0'); return low(1) + middle(1) * 100 + held(2) * 100000 + base_value * 10000000; }
C
# bound CRATE NAME WANTED: what the crate's slot for the function leads to.
bound() {
    crateld inspect --json $pid >out 2>err || fail "no inspection: $(cat err)"
    python3 - "$1" "$2" >slot <<'P'
import json, sys
for crate in json.load(open("out"))["crates"]:
    if crate["header"]["name"] == sys.argv[1]:
        print(*{s["bound_to"] for s in crate["toc"]["imports"] if s["name"] == sys.argv[2] and s.get("kind") != "address"})
P
    grep -qE "$3" slot || fail "$1's slot of $2 leads to '$(cat slot)', wanted $3"
}
build() {
    compile module.c module.o
    compile middle.c middle.o
    compile top.c top.o
    compile main.c main.o
    crateld link -o low.crate module.o
    crateld link -o middle.crate middle.o low.crate
    crateld link -o top.crate top.o main.o middle.crate low.crate
}
edit() {
    sed -E "$1" module.c >new.c
    ! cmp -s module.c new.c || fail "the edit '$1' changes nothing"
}

for flags in "-g -O2 -fPIC -ffunction-sections -fdata-sections" "-O1 -ffunction-sections -fdata-sections"; do
    for compiler in "$CC" clang; do
        command -v "${compiler%% *}" >/dev/null || continue
        build
        start top.crate
        ask a 10302002
        bound middle low 'low:'
        bound middle rare '^unbound$'
        edit 's/x \+ base_value/x * 7 + base_value/'
        reload new.c
        has out "2 users"
        ask a 11508008
        bound middle rare '^unbound$'
        # Nobody imports `unused`; `rare` is imported, though it has not been called.
        edit 's/ int unused.*$//'
        reload new.c
        edit 's/ int rare\(int x\) \{ return x \* 100; \}//'
        refused new.c "middle.crate imports 'rare' from low.crate, which module.o does not have any more"
        edit 's/int low\(int x\) \{ return x \+ base_value; \}//'
        refused new.c "imports 'low' from low.crate, which module.o does not have any more"
        edit 's/int base_value = 1;/static int base_value = 1;/'
        refused new.c "top.crate imports 'base_value' from low.crate, which module.o does not have any more"
        # A variable of another type, which another crate imports.
        edit 's/int base_value/short base_value/'
        refused new.c "variable 'base_value': 2 bytes, but 4 in low.crate"
        compile new.c new.o
        ! crateld reload --on-change base_value=init $pid module.o=new.o >out 2>err || fail "taken: $(cat out)"
        has err "and top.crate imports it"
        ask a 10302002
        bound middle rare '^unbound$'
        ask s2 203
        bound middle rare 'low:'
        # What comes to one crate with a reload is not another's to import, whatever says that it is there.
        echo 'int added(int x) { return x + 5; }' >extra.c
        compile extra.c extra.o
        sed 's/int low(int x) {/int added(int); &/; s/return x + base_value/return added(x) - 5 + base_value/' module.c >new.c
        compile new.c new.o
        sed 's/^long act/int added(int); &/; s/return low(1)/return added(0) * 0 + low(1)/' top.c >newtop.c
        compile newtop.c newtop.o
        status 1 crateld reload $pid module.o=new.o top.o=newtop.o
        has err "undefined symbol 'added'"
        status 0 crateld reload $pid module.o=new.o extra.o
        ask a 10302002
        status 1 crateld reload $pid top.o=newtop.o
        has err "undefined symbol 'added': what comes to another crate with a reload can not be imported: define it in a module of this one, or link both anew"
        crateld link -o low.crate new.o extra.o
        for command in check reload; do
            status 1 crateld $command $pid top.o=newtop.o
            has err "was linked against another build of low.crate, and this one lacks (what crates export is settled when they are linked"
            has err "    added"
        done
        ask a 10302002
        crateld link -o low.crate module.o
        finish
    done
done
