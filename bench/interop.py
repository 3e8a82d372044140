"""Rows of group load about ELF libraries: what a call costs through a stub crate, and into an exported one."""

from build import SOURCES, compile_all, crate, executable, folder, run, shared
from call import GCC, HERE, call_peer, loops_against
from measure import row


def compiled(at):
    return compile_all(GCC, [SOURCES / "bench_call_callees.c", SOURCES / "bench_call.c"], at)


@row("load", "stub-call", "ns/call", "PLT call between ELF files", 1.10)
def stub_call():
    """A crate calls a library that a stub stands for."""
    at = folder("stub-call")
    callees, caller = compiled(at)
    shared([callees], "libcallees.so", cwd=at)
    run("crateld", "stub", "-o", "callees.crate", "libcallees.so", cwd=at)
    crate([caller], "caller.crate", "callees.crate", "--rpath", "$ORIGIN", cwd=at)
    command = ["env", "LD_LIBRARY_PATH=.", "crateld", "run", "caller.crate"]
    return loops_against((command, at), call_peer(folder("stub-call-peer")))


@row("load", "export-call", "ns/call", "PLT call between ELF files", 1.10)
def export_call():
    """An ELF program calls a crate through the library that was made of it."""
    at = folder("export-call")
    callees, caller = compiled(at)
    crate([callees], "callees.crate", cwd=at)
    run("crateld", "export", "-o", "libcallees.so", "callees.crate", cwd=at)
    executable([caller], "caller", "-L.", "-lcallees", HERE, cwd=at)
    return loops_against((["./caller"], at), call_peer(folder("export-call-peer")))
