#!/bin/sh
# Builds small inputs of a kind and replays a fuzzer over them.  replay.sh <kind> <fuzzer>
set -eu
here=$(realpath "$(dirname "$0")") kind=$1 fuzzer=$(realpath "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
cd "$dir"

objects() {
    echo 'int f(void){return 1;} int f2;' | gcc -O2 -c -x c - -o f.o
    echo 'int f(void); int g(void){return f();}' | gcc -O2 -c -x c - -o a_name_longer_than_sixteen.o
    strip --strip-unneeded -R .comment -R .note.gnu.property -R .eh_frame f.o a_name_longer_than_sixteen.o
}

case $kind in
archive)
    objects
    ar rcs gnu.a f.o a_name_longer_than_sixteen.o
    ar rcs nested.a f.o
    ar rcsT thin.a a_name_longer_than_sixteen.o nested.a
    printf '!<arch>\n%-16s%-12s%-6s%-6s%-8s%-10s`\n%s' '#1/8' 0 0 0 644 12 'long.namdata' > bsd.a
    set -- gnu.a thin.a bsd.a
    ;;
compile_commands)
    cat > compile_commands.json <<'END'
[{"directory": "/b", "file": "a.c", "arguments": ["gcc", "-I", "i", "-MD", "-MF", "a.d", "-c", "a.c", "-o", "a.o"]},
 {"directory": "/b", "command": "cc 'a b' \"c\\\"d\" e\\ f -oa.o -c x/a.c", "file": "x/a.c", "output": "q.o", "n": [1.5e3, {"k": null}, true]},
 {"directory": "\u00e9\ud83d\ude00\n", "command": "cc -MMD -c b.c", "file": "b.c"}]
END
    printf 'a.o b\\ c.o: /x/a.c \\\n i/h$$.h a\\ b.h \\#.h\n\ni/h$$.h:\n' > a.d
    set -- compile_commands.json a.d
    ;;
control)
    echo 'int d = 1; int f(void) { return 1; } int main(void) { return f() + d; }' | gcc -O2 -fPIC -c -x c - -o m.o
    echo 'int d = 1; int f(void) { return 2; } int main(void) { return f() + d; }' | gcc -O2 -fPIC -c -x c - -o new.o
    "$TOOL" link --name shapes -o full.crate m.o
    "$TOOL" diff -o fix.patch full.crate m.o=new.o
    python3 - <<'END'
import struct
def packet(kind, payload=b'', descriptors=0, magic=0x6c727463, version=3):
    whole = struct.pack('<IHH', magic, version, kind) + payload
    return struct.pack('<HB', len(whole), descriptors) + whole
LIST, RELOAD, CHECK, ROLLBACK, CRATE, DONE, ERROR, TRACE, TEXT = range(9)
patch, report = b'/proc/self/cwd/fix.patch\0', struct.pack('<8I2Q', *range(10))
crate = bytes(16) + struct.pack('<I', 1) + b'app\0/x/app.crate\0'
requests = [packet(LIST), packet(TRACE), packet(CHECK, patch), packet(CHECK, patch + b'/full.crate\0'), packet(TRACE),
            packet(ROLLBACK), packet(77), packet(LIST, version=9)]
answers = [packet(CRATE, crate, 1), packet(CRATE, crate), packet(TEXT, b'line'), packet(DONE, report),
           packet(ERROR, b'what was wrong'), packet(CRATE, crate, 3)]
open('requests', 'wb').write(b''.join(requests))
open('answers', 'wb').write(b''.join(answers))
open('rights', 'wb').write(packet(CRATE, crate, 2) + packet(TEXT, b'x', 2) + packet(DONE, report, 2))
open('long', 'wb').write(packet(CRATE, crate + bytes(65400)) + packet(DONE, report))
END
    export CRATE="$dir/full.crate"
    # It has the loader in it, whose dl_iterate_phdr() is none for the tracer that looks for leaks.
    export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
    set -- requests answers rights long
    ;;
split_object)
    cat > v.c <<'END'
int d = 5, zero, *p = &d;
int f(int x) { return x * 3; }
int (*table[2])(int) = {f, f}; const int two[] = {1, 2};
int g(int x) { zero++; return table[x & 1](x) + d + *p + two[x]; }
END
    gcc -O0 -fno-pic -fno-asynchronous-unwind-tables -c v.c -o v.o
    gcc -O0 -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -c v.c -o sections.o
    strip -g -R .comment -R .note.gnu.property -R .note.GNU-stack v.o sections.o
    set -- v.o sections.o
    ;;
ldscript)
    cat > libx.so <<'END'
/* GNU ld script */
OUTPUT_FORMAT(elf64-x86-64)
SEARCH_DIR("=/opt/lib"); OUTPUT_ARCH(i386:x86-64)
GROUP ( /lib/libc.so.6 =/usr/lib/libc_nonshared.a  AS_NEEDED ( /lib64/ld.so -lq "a b" ) )
INPUT(-lm, -l:x.a $SYSROOT/y.so)
END
    set -- libx.so
    ;;
version_script)
    cat > x.map <<'END'
# a version script
V1 { global: f; g*; "h*"; extern "C++" { "ns::f(int)"; ns::*; a[!b]?; }; local: *; };
V2 { i\*; extern "C" { j; }; local: k?; } V1;
/* an anonymous one */ { l; };
END
    echo '{ f; extern "C++" { g*; }; };' > x.list
    set -- x.map x.list
    ;;
shared_library)
    echo 'V1 { f; }; V2 { global: f; data; alias; local: *; } V1;' > x.map
    cat > x.c <<'END'
__asm__(".symver f1,f@V1"); __asm__(".symver f2,f@@V2");
int f1(void){return 1;}
int f2(void){return 2;}
int data; extern int alias __attribute__((alias("data")));
extern int wanted(void); int (*use)(void) = wanted;
END
    for style in gnu sysv; do
        gcc -shared -fPIC -nostartfiles -Wl,--version-script=x.map -Wl,--hash-style=$style -Wl,-z,noseparate-code \
            -Wl,-soname,libx.so.1 -s x.c -o $style.so
    done
    set -- gnu.so sysv.so
    ;;
lto)
    echo 'int f(void); int c; static int d; int g(void){return f() + d;}' | gcc -flto -fcommon -O2 -c -x c - -o slim.o
    set -- slim.o
    ;;
object)
    . "$here/seed_objects.sh"
    seed_objects
    # Whole links take their time.
    if [ -n "${CRATELD_TEST_LONG:-}" ]; then
        set -- -m 20000 -- *.o
    else
        set -- -e 97 -m 300 -s "${CRATELD_TEST_SEED:-1}" -- *.o
    fi
    ;;
crate | crate_source)
    objects
    echo 'int f(void); int d = 1, *p = &d; __thread int t; int main(void){return f() + t;}' | gcc -O2 -fPIC -c -x c - -o m.o
    "$TOOL" link --name shapes -o full.crate f.o m.o
    "$TOOL" link --name other -o other.crate f.o
    "$TOOL" bundle --interpreter /x -o bundle.crate full.crate other.crate
    "$TOOL" strip -o small.crate full.crate > strip.txt
    echo 'int f(void); int d = 2, *p = &d; __thread int t; int main(void){return f() + t + 1;}' | gcc -O2 -fPIC -c -x c - -o new.o
    "$TOOL" diff -S -o fix.patch full.crate m.o=new.o
    "$TOOL" apply -o patched.crate fix.patch small.crate > apply.txt
    set -- full.crate small.crate bundle.crate fix.patch patched.crate
    ;;
bundle)
    objects
    cat >m.cc <<'C'
#include <stdexcept>
#include <string>
extern "C" int f(void);
inline int once = 3;
thread_local int t;
static const char *const names[] __attribute__((section("names"), used)) = {"a", "b"};
extern const char *const first[] __asm__("__start_names") __attribute__((visibility("hidden")));
int g(int x) { if (x > 2) throw std::runtime_error(first[0]); return x; }
int (*p)(int) = g;
__attribute__((constructor)) static void start() { t = 2; }
int main() { try { return p(t) + once + f(); } catch (const std::exception &e) { return std::string(e.what()).size(); } }
C
    g++ -O1 -fPIC -ffunction-sections -c m.cc
    g++ -O1 -fno-pie -c m.cc -o low.o
    "$TOOL" link --name shapes -o full.crate f.o m.o -lstdc++
    "$TOOL" link --name low -o low.crate f.o low.o -lstdc++
    if [ -n "${CRATELD_TEST_LONG:-}" ]; then
        set -- -m 20000 -- full.crate low.crate
    else
        set -- -e 397 -m 600 -s "${CRATELD_TEST_SEED:-1}" -- full.crate low.crate
    fi
    ;;
relink)
    "$SEED_RELINK" > x.relink
    set -- x.relink
    ;;
toc_pass)
    cat > x.cc <<'END'
struct D { ~D(); };
int g(int, ...);
void m(void (*)(int));
struct A { virtual int v(int); };
struct B { virtual int w(int, ...); };
struct C : A, B { int v(int) override { D d; try { return g(1); } catch (int e) { return g(e); } }
                  int w(int n, ...) override { __builtin_va_list l; __builtin_va_start(l, n); return __builtin_va_arg(l, int); } };
static void h(int n) { asm("call g; nop # %0\n1: lea 1b(%%rip), %%rax" ::"r"(n)); m(h); }
A *f(void) { h(1); return new C; }
END
    g++ -O1 -S -fPIC -ffixed-r15 -fsplit-stack -maccumulate-outgoing-args -fno-asynchronous-unwind-tables x.cc -o x.s
    set -- x.s
    ;;
*)
    echo "unknown kind $kind" >&2
    exit 2
    ;;
esac
"$fuzzer" "$@"
