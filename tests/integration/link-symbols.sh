#!/bin/bash
# Which definition a name means: visibility, versions, archives, common variables, --defsym, -u.
. "$(dirname "$0")/lib.sh"
need_libc_first

compile() { # FILE <source: compiles it with the flags in $flags
    source_file "$1"
    $CC ${flags--O1 -fPIC} -c "$1" -o "${1%.*}.o"
}

# Hidden symbols are never imported, whoever says so and whenever.
compile hidden.c <<'C'
__attribute__((visibility("hidden"))) int puts(const char *);
int other(void) { return puts("x"); }
C
compile uses.c <<'C'
int puts(const char *); int other(void);
int main(void) { puts("a"); return other(); }
C
rm -f libhidden.a && ar rcs libhidden.a hidden.o
status 1 crateld link -o a.crate hidden.o
has err "undefined symbol 'puts', which is hidden"
status 1 crateld link -o a.crate uses.o libhidden.a
has err "undefined symbol 'puts', which is hidden"
compile weak.c <<'C'
__attribute__((visibility("hidden"), weak)) int puts(const char *);
int main(void) { return puts ? 1 : 5; }
C
status 0 crateld link -o a.crate weak.o
status 5 crateld run a.crate

# A protected function is exported, and is the crate's own for the crate.
compile protected.c <<'C'
__attribute__((visibility("protected"))) int answer(void) { return 42; }
int ask(void) { return answer(); }
C
status 0 crateld link -o protected.crate protected.o
has <(crateld inspect protected.crate) answer

# Versions: an import of one version beside that of another; definitions of several; references to one's own.
compile old.c <<'C'
#include <stdio.h>
#include <string.h>
__asm__(".symver old_memcpy, memcpy@GLIBC_2.2.5");
void *old_memcpy(void *, const void *, size_t);
int main(void)
{
    char text[10];
    old_memcpy(text, "abc", 4);
    memcpy(text + 3, "d", 2);
    puts(text);
    return (void *)old_memcpy != (void *)memcpy;
}
C
$CC -O0 -fno-builtin -fPIC -c old.c
status 0 crateld link -o old.crate old.o
status 1 crateld run old.crate
has out abcd
crateld inspect old.crate >list
grep -q 'memcpy *GLIBC_2.2.5 ' list || fail "memcpy@GLIBC_2.2.5 is not imported"
grep -q 'memcpy *GLIBC_2.14 ' list || fail "memcpy@@GLIBC_2.14 is not imported"
compile versions.c <<'C'
int f1(void) { return 1; }
int f2(void) { return 2; }
__asm__(".symver f1, f@V1");
__asm__(".symver f2, f@@V2");
C
compile asks.c <<'C'
__asm__(".symver f_1, f@V1");
__asm__(".symver f_2, f@V2");
int f(void), f_1(void), f_2(void);
int main(void) { return f() * 100 + f_1() * 10 + f_2(); }
C
status 0 crateld link -o versions.crate versions.o asks.o
status 212 crateld run versions.crate
rm -f libversions.a && ar rcs libversions.a versions.o
status 0 crateld link -o versions.crate asks.o libversions.a
status 212 crateld run versions.crate
compile missing.c <<'C'
__asm__(".symver f_3, f@V3");
int f_3(void);
int main(void) { return f_3(); }
C
status 1 crateld link -o versions.crate missing.o versions.o
has err "undefined symbol 'f', version V3"

# A strong reference after a weak one takes the archive's member, which stands before the library.
compile weak_first.c <<'C'
__attribute__((weak)) int toupper(int);
int weak_one(void) { return toupper ? toupper('a') : 0; }
C
compile strong_later.c <<'C'
int toupper(int), weak_one(void);
int main(void) { return toupper('a') + weak_one(); }
C
compile toupper.c <<'C'
int toupper(int c) { return c - 'a' + 7; }
C
rm -f libupper.a && ar rcs libupper.a toupper.o
status 0 crateld link -o upper.crate weak_first.o strong_later.o libupper.a
status 14 crateld run upper.crate
status 0 crateld link -o upper.crate weak_first.o strong_later.o -lc libupper.a
status 130 crateld run upper.crate

# A common variable takes the member that gives it a value; not one that has it in common, nor one of a function.
flags="-O1 -fPIC -fcommon"
compile common.c <<'C'
int shared, alone, index_;
int main(void) { return shared + alone + index_; }
C
compile valued.c <<'C'
int shared = 33;
C
compile unvalued.c <<'C'
int alone; int taken_for_nothing = 1;
C
compile function.c <<'C'
int index_(void) { return 1; }
C
unset flags
rm -f libcommon.a && ar rcs libcommon.a unvalued.o function.o valued.o
status 0 crateld link -o common.crate common.o libcommon.a
status 33 crateld run common.crate
lacks <(crateld inspect common.crate) taken_for_nothing

# What old libraries export by mistake is not imported from them.
compile liblegacy.c <<'C'
char _end[4], _edata[4]; int legacy(void) { return 1; }
C
$CC -shared -o liblegacy.so liblegacy.o -Wl,-soname,liblegacy.so
compile wants_end.c <<'C'
extern char _end[]; int legacy(void); static int own;
int end_is_mine(void) { return (char *)&own < _end && legacy(); }
C
rm -f libwants.a && ar rcs libwants.a wants_end.o
compile end_main.c <<'C'
int end_is_mine(void);
int main(void) { return end_is_mine(); }
C
status 0 crateld link -o end.crate end_main.o libwants.a ./liblegacy.so
crateld inspect end.crate >list
! grep -q 'liblegacy.so *_end' list || fail "_end is imported"

# --defsym: numbers, names of objects and of archive members; stronger than objects.
compile target.c <<'C'
int target(void) { return 9; }
C
rm -f libtarget.a && ar rcs libtarget.a target.o
compile aliased.c <<'C'
extern char number[]; int alias(void);
int main(void) { return alias() + (int)(long)number; }
C
status 0 crateld link -o defsym.crate --defsym number=0x10 --defsym alias=target aliased.o libtarget.a
status 25 crateld run defsym.crate
compile alias.c <<'C'
int alias(void) { return 100; }
C
status 0 crateld link -o defsym.crate --defsym number=1 --defsym alias=target aliased.o alias.o libtarget.a
status 10 crateld run defsym.crate
status 1 crateld link -o defsym.crate --defsym number=1 --defsym alias=nowhere aliased.o
has err "--defsym alias=nowhere: 'nowhere' is neither a number nor defined"

# -u takes members, and keeps what it names, though it is hidden.
compile kept.c <<'C'
__attribute__((visibility("hidden"), section(".text.kept"))) int kept(void) { return 1; }
C
rm -f libkept.a && ar rcs libkept.a kept.o
status 0 crateld link -o kept.crate -u kept target.o libkept.a
has <(nm kept.crate) " t kept"

# The entry may be an archive's, as when a test framework brings main; a crate's is not taken, before the archive or alone.
compile part.c <<'C'
int part(void) { return 6; }
C
compile entry.c <<'C'
int part(void);
int main(void) { return part(); }
int other(void) { return part() + 1; }
C
rm -f libentry.a && ar rcs libentry.a entry.o
status 0 crateld link -o entry.crate part.o libentry.a
status 6 crateld run entry.crate
status 0 crateld link -o again.crate part.o entry.crate libentry.a
status 6 crateld run again.crate
status 0 crateld link -o other.crate -e other part.o libentry.a
status 7 crateld run other.crate
status 0 crateld link -o library.crate part.o entry.crate
status 1 crateld run library.crate
has err "has no entry function"

# What nobody named on the command line asks for is found in crates as well: members of archives do, later than all objects.
source_file shelf.c <<'EOF'
int early(void) { return 1; }
int late(void) { return 2; }
int latest(void) { return 4; }
EOF
source_file asks_early.c <<'EOF'
int early(void), member(void);
int main(void) { return early() + member(); }
EOF
source_file member.c <<'EOF'
int late(void), second_member(void);
int member(void) { return late() + second_member(); }
EOF
source_file second_member.c <<'EOF'
int latest(void);
int second_member(void) { return latest(); }
EOF
$CC -O1 -fPIC -c shelf.c asks_early.c member.c second_member.c
ar rc libmembers.a member.o second_member.o
status 0 crateld link -o shelf.crate shelf.o
cp shelf.crate shelf
for shelf in shelf.crate ./shelf; do
    for order in "asks_early.o libmembers.a $shelf" "$shelf libmembers.a asks_early.o"; do
        # shellcheck disable=SC2086 # words
        status 0 crateld link -o later.crate $order
        status 7 crateld run later.crate
    done
done
