#!/bin/bash
# crateld inspect --dot, --svg: the graph of crates, compared with what inspect says of each.
. "$(dirname "$0")/lib.sh"
need python3
source_file low.c <<'END'
int depth = 3;
_Thread_local int mark = 4;
int low(int x) { return x + depth; }
int lower(int x) { return x - mark; }
END
source_file high.c <<'END'
#include <math.h>
#include <zlib.h>
int low(int), lower(int);
extern int depth;
extern _Thread_local int mark;
int (*chosen)(int) = lower;
const char *(*version)(void) = zlibVersion;
int high(int x) { return low(x) + chosen(x) + depth + mark + (int)sqrt(x) + (version != 0); }
END
source_file main.c <<'END'
#include <unistd.h>
int high(int), low(int);
int main(int argc, char **argv)
{
    (void)argv;
    while (argc > 1 && write(1, "x", 1) == 1)
        pause();
    return high(9) + low(1) != 9 + 3 + 9 - 4 + 3 + 4 + 3 + 1 + 1 + 3;
}
END
hostile=$'"x"\\N & <b>\n\xff\xc3\xa4 -> n0;'
$CC -O1 -fPIC -c low.c high.c main.c
mkdir lib deep
crateld link -o deep/low.crate --name "$hostile" low.o
crateld stub "$($CC -print-file-name=libz.so)" -o z.crate
crateld link -o lib/high.crate --rpath "\$ORIGIN/../deep" high.o deep/low.crate z.crate -lm
cp z.crate lib
crateld link -o main.crate --rpath "\$ORIGIN/lib:deep" main.o lib/high.crate deep/low.crate
status 0 crateld run main.crate

cat >check.py <<'END'
"""Compares a graph with what `crateld inspect --json` says of the crates; sys.argv: the JSON's file, the graphs' files."""
import collections, json, re, sys, xml.etree.ElementTree as tree

def shown(name):
    return name.replace("\n", "\\x0a").replace("\u00ff", "\\xff")

crates = json.load(open(sys.argv[1]))["crates"]
kinds = {}
for crate in crates:
    for export in crate["exports"]:
        kinds[export["name"]] = "function" if export["kind"].startswith("function") else "variable"
wanted = {}
for crate in crates:
    for needed in crate["needed"]:
        wanted[shown(crate["header"]["name"]), shown(needed["name"])] = collections.Counter()
    for i in crate["imports"]:
        edge = shown(crate["header"]["name"]), shown(str(i["from"]))
        if edge not in wanted:  # the crate itself, or nobody in particular
            continue
        is_called, is_library = i["kind"].startswith("call"), ".so" in i["from"] and i["kind"] != "forward"
        wanted[edge]["function" if is_called else "address" if is_library else kinds[i["name"]]] += 1
for ends, counts in [(("main", "high"), {"function": 1}), (("high", shown(sys.argv[4])), {"function": 2, "variable": 2}),
                     (("main", "libc.so.6"), {"function": 2})]:
    assert wanted[ends] == counts, (ends, wanted[ends])

def counted(text):
    return collections.Counter({"address" if word.startswith("address") else word.rstrip("s"): int(number)
                                for number, word in re.findall(r"(\d+) (\w+)", text)})

def label(text):
    return "".join("\n" if part == r"\n" else part[-1] for part in re.findall(r"\\.|[^\\]", text)).split("\n")[0]

dot = open(sys.argv[2]).read()
names = {n: label(text) for n, text in re.findall(r'^ *(n\d+) \[label="((?:[^"\\]|\\.)*)"', dot, re.M)}
found = {(names[a], names[b]): counted(text) for a, b, text in
         re.findall(r'^ *(n\d+) -> (n\d+)(?: \[label="(.*)"\])?;$', dot, re.M)}
assert found == wanted, (found, wanted)

svg = tree.parse(sys.argv[3]).getroot()
space = "{http://www.w3.org/2000/svg}"
edges = {}
for edge in svg.iterfind(f".//{space}g[@class='edge']"):
    title = edge.find(f"{space}title").text
    ends, _, text = title.rpartition(": ") if re.search(r": (\d+ |nothing)", title) else (title, "", "")
    edges[tuple(ends.split(" → "))] = counted(text)
assert edges == wanted, (edges, wanted)
texts = {text.text for text in svg.iterfind(f".//{space}text")}
assert set(names.values()) <= texts, (set(names.values()), texts)
boxes = [[float(rect.get(key)) for key in ("x", "y", "width", "height")] for rect in svg.iter(f"{space}rect")]
assert len(boxes) == len(names)
for i, a in enumerate(boxes):
    for b in boxes[:i]:
        assert a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1], (a, b)
END
status 0 crateld inspect --json main.crate lib/high.crate deep/low.crate lib/z.crate
mv out all.json
status 0 crateld inspect --dot main.crate
mv out all.dot
status 0 crateld inspect --svg main.crate
mv out all.svg
python3 check.py all.json all.dot all.svg "$(printf '%s' "$hostile" | python3 -c '
import sys
sys.stdout.write(sys.stdin.buffer.read().decode("utf-8", "surrogateescape").replace("\udcff", "\u00ff"))')"
if command -v dot >/dev/null; then
    status 0 dot -Tsvg -o drawn.svg all.dot
    [ ! -s err ] || fail "dot does not like it"
fi

# Crates that are not there, and such that need each other.
mkdir alone
cp main.crate alone
status 0 crateld inspect --dot alone/main.crate
has out '"high\nnot found"'
CRATELD_PATH=lib:deep status 0 crateld inspect --dot alone/main.crate
lacks out "not found"
printf 'int pong(int);\nint ping(int x) { return x ? pong(x - 1) : 0; }\n' >ping.c
printf 'int ping(int);\nint pong(int x) { return x ? ping(x - 1) : 1; }\n' >pong.c
$CC -O1 -fPIC -c ping.c pong.c
crateld link -o ping.crate ping.o --declare pong:pong
crateld link -o pong.crate pong.o ping.crate
for format in dot svg; do
    status 0 crateld inspect --$format ping.crate
    mv out ring.$format
done
status 0 crateld inspect --json ping.crate pong.crate
sed -i '/^for ends, counts/,/^    assert/d' check.py
python3 check.py out ring.dot ring.svg
mv ping.crate other.crate
crateld link -o ping.crate --name another ping.o --declare pong:pong
status 1 crateld inspect --svg pong.crate
has err "is the crate 'another', but pong.crate needs 'ping'"
[ ! -s out ] || fail "half a picture"

# A bundle: its members, and what each needs.
crateld bundle -o one.crate main.crate lib/high.crate deep/low.crate
status 0 crateld inspect --json one.crate
mv out one.json
status 0 crateld inspect --dot one.crate
has out 'label="one.crate"'
cp out one.dot
status 0 crateld inspect --svg one.crate
python3 - <<'END'
import json, re, xml.etree.ElementTree as tree
crate, = json.load(open("one.json"))["crates"]
dot = open("one.dot").read()
cluster = re.search(r"subgraph cluster_1 \{(.*?)\n    \}", dot, re.S).group(1)
members = re.findall(r'(n\d+) \[label="((?:[^"\\]|\\.)*)"', cluster)
assert [name for _, name in members][:2] == ["main", "high"] and len(members) == len(crate["members"]) == 3, members
for (node, _), member in zip(members, crate["members"]):
    assert len(re.findall(rf"^    {node} -> n\d+;$", dot, re.M)) == member["needs"], member
tree.parse("out")
END

# A process.
need_libc_first
crateld run main.crate stay >started &
pid=$!
trap 'kill $pid; rm -rf "$tmp"' EXIT
for _ in $(seq 200); do
    [ ! -s started ] || break
    sleep 0.05
done
status 0 crateld inspect --dot $pid
python3 - <<'END'
import re
def edges(file):
    dot = open(file).read()
    names = dict(re.findall(r'^ *(n\d+) \[label="((?:[^"\\]|\\.)*)"', dot, re.M))
    return {(names[a].split(r"\n")[0], names[b].split(r"\n")[0], text)
            for a, b, text in re.findall(r'^ *(n\d+) -> (n\d+)(.*)$', dot, re.M)}
live, file = edges("out"), edges("all.dot")
assert ("main", "libc.so.6", ' [label="2 functions"];') in live and live <= file, (live, file)
END

status 2 crateld inspect --dot --svg main.crate
status 2 crateld inspect --dot --json main.crate
status 1 crateld inspect --dot main.o
