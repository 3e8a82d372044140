#!/bin/bash
# crateld inspect: what it says about crate files, as text and as JSON.
. "$(dirname "$0")/lib.sh"
need python3
source_file m.c <<'END'
#include <math.h>
#include <stdio.h>
int table[4] = {1, 2, 3, 4};
int *cell = &table[1];
static int helper(int x) { char room[200]; snprintf(room, sizeof room, "%d", x); return room[0]; }
int (*hook)(int) = helper;
int main(int argc, char **argv) { printf("%f %d\n", sin(argc), hook(*cell)); return 0; }
END
$CC -O1 -g -fPIC -c m.c
crateld link --name shapes -o m.crate m.o -lm

status 0 crateld inspect m.crate
for text in shapes x86-64 "build id is right    yes" libm.so.6 GLIBC_2.2.5 sin table m.o; do
    has out "$text"
done
status 0 crateld inspect --toc m.crate
has out unbound
has out "function slots"
status 0 crateld inspect --functions m.crate
has out helper
lacks out Segments
status 0 crateld inspect --check --all m.crate

status 0 crateld inspect --json m.crate
python3 - <<'END'
import json
crate, = json.load(open("out"))["crates"]
assert crate["header"]["name"] == "shapes" and crate["header"]["build_id_is_right"]
imports = {i["name"]: i for i in crate["imports"]}
assert imports["sin"]["from"] == "libm.so.6" and imports["sin"]["kind"] == "call"
exports = {e["name"]: e for e in crate["exports"]}
assert exports["table"]["size"] == 16 and exports["table"]["kind"] == "data"
assert crate["modules"][-1]["path"] == "m.o"
slots = {s["name"]: s for s in crate["toc"]["imports"]}
assert slots["sin"]["bound_to"] == "unbound" and slots["sin"]["offset"] == imports["sin"]["toc_off"]
frames = {f["name"]: f for f in crate["functions"]}
assert frames["helper"]["frame"] > 200, frames["helper"]
stubs = {(s["kind"], s["of"]) for s in crate["stubs"]["list"]}
assert ("import", "sin") in stubs and ("entry", "helper") in stubs
END

# Two files, and what is wrong with others.
cp m.crate n.crate
status 0 crateld inspect --header m.crate n.crate
has out n.crate
status 1 crateld inspect absent.crate
has err "crateld: absent.crate: cannot open: No such file or directory"
status 1 crateld inspect m.o
has err "crateld: m.o: not a crate"
head -c 3000 m.crate >cut.crate
status 1 crateld inspect m.crate cut.crate
has err "cut.crate: "
lacks out shapes
status 2 crateld inspect
status 2 crateld inspect --nonsense m.crate
status 1 crateld inspect 4194305
has err "there is no process 4194305"

# A byte of the text that was changed.
python3 - <<'END'
crate = bytearray(open("m.crate", "rb").read())
crate[0x1000] ^= 1
open("n.crate", "wb").write(crate)
END
status 0 crateld inspect --header n.crate
has out "build id is right    no"
status 1 crateld inspect --check n.crate
has err "n.crate: its contents do not have the build id of its header"
