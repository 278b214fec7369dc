"""Limits count everything: children, shared memory, buffers, work after the end of a cell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from leafe_gym.sandbox.base import Sandbox, SandboxLimits, make_sandbox
from leafe_gym.sandbox.embedded import host_client
from leafe_gym.sandbox.embedded.inside import usage
from leafe_gym.sandbox.embedded.memory_cgroup import make_memory_cgroup

LIMITS = SandboxLimits(call_s=30.0, memory_mb=64, disk_mb=512)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    sandbox = make_sandbox("embedded", limits=LIMITS)
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module", params=["counting", "cgroup"])
def either(request: Any, box: Sandbox) -> Iterator[Sandbox]:
    """As where this process may not create cgroups, and as where it may."""
    if request.param == "cgroup":
        if not may_create_cgroups():
            pytest.skip("this process may not create memory cgroups")
        yield box
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_client, "make_memory_cgroup", lambda: None)
        sandbox = make_sandbox("embedded", limits=LIMITS)
        sandbox.start()
    yield sandbox
    sandbox.close()


def may_create_cgroups() -> bool:
    if made := make_memory_cgroup():
        made.close()
    return made is not None


CHILDREN = """
import mmap, os, socket, time
def children(number, work):
    kept = []
    for _ in range(number):
        pid = os.fork()
        if not pid:
            kept.append(work()); time.sleep(25); os._exit(0)
    time.sleep(25)
def mapped(megabytes):
    "Shared memory of a file without a name."
    f = os.open(f"/tmp/{os.getpid()}", os.O_RDWR | os.O_CREAT)
    os.truncate(f, megabytes << 20)
    m = mmap.mmap(f, megabytes << 20)
    for at in range(0, len(m), 4096): m[at] = 1
    return m
"""
MEMORY = {
    "private memory of children": "children(6, lambda: bytearray(b'x') * (30 << 20))",
    "children that hide their map": (
        "import ctypes\n"
        "def hidden(): ctypes.CDLL(None).prctl(4, 0); return bytearray(b'x') * (30 << 20)\n"
        "children(6, hidden)"
    ),
    "shared memory of children": "children(4, lambda: mapped(40))",
    "buffers of pipes": (
        "def pipes():\n  made = [os.pipe() for _ in range(200)]\n"
        "  for _, w in made: os.set_blocking(w, False); os.write(w, bytes(65536))\n"
        "  return made\nchildren(12, pipes)"
    ),
    "buffers of sockets": (
        "def pairs():\n  made = [socket.socketpair() for _ in range(150)]\n"
        "  for a, b in made:\n    for s in (a, b):\n      s.setblocking(False)\n"
        "      try:\n        while True: s.send(bytes(65536))\n      except OSError: pass\n"
        "  return made\nchildren(4, pairs)"
    ),
    "sockets that were sent": (
        "import array\ndef sent():\n  kept = []\n  for n in range(600):\n"
        "    if n % 100 == 0: kept.append(socket.socketpair())\n"
        "    x, y = socket.socketpair(); x.setblocking(False)\n"
        "    try:\n      while True: x.send(bytes(65536))\n    except OSError: pass\n"
        "    fds = array.array('i', [y.fileno()])\n"
        "    try: kept[-1][0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])\n"
        "    except OSError: break\n    x.close(); y.close()\n"
        "  return kept\nchildren(1, sent)"
    ),
    "file locks": (
        "import fcntl\ndef locks():\n"
        "  made = [open(f'l{os.getpid()} {n}', 'w') for n in range(100)]\n"
        "  for f in made:\n    for at in range(300): fcntl.lockf(f, fcntl.LOCK_EX, 1, 2 * at)\n"
        "  return made\nchildren(40, locks)"
    ),
    "epoll objects": (
        "import select\ndef polled():\n  fds = [os.eventfd(0) for _ in range(240)]\n"
        "  made = [select.epoll() for _ in range(100)]\n"
        "  for e in made:\n    for f in fds: e.register(f)\n"
        "  return made\nchildren(40, polled)"
    ),
    "mappings": (
        "import ctypes\nlibc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "size = 250 << 20\n"
        "at = libc.mmap(None, ctypes.c_size_t(size), 0, 0x22, -1, ctypes.c_long(0))\n"
        "for n in range(0, 60000, 2):\n"
        "  libc.mprotect(ctypes.c_void_p(at + 4096 * n), ctypes.c_size_t(4096), 1)\n"
        "children(40, int)"
    ),
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, "program") for name in MEMORY), *((name, "cell") for name in list(MEMORY)[1:3])],
)
def test_memory_is_that_of_all_processes(name: str, mode: str, either: Sandbox) -> None:
    code = CHILDREN + MEMORY[name]
    if mode == "program":
        assert either.run_program(["python3", "-c", code], files={}).out_of_memory
    else:
        assert "exceeded 64 MiB" in either.run_cell(code).error


@pytest.mark.parametrize(
    "code",
    [
        "import mmap; mmap.mmap(-1, 4096)",
        "import mmap, os; mmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096)",
        "import os; os.memfd_create('m')",
        "import mmap; mmap.mmap(-1, 1 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
        "import fcntl, os; fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)",
        "import os; os.write(0, b'x')",
        *(
            f"import ctypes, os, struct\nl = ctypes.CDLL(None, use_errno=True)\n"
            f"if l.{call} < 0: raise OSError(ctypes.get_errno(), 'refused')"
            for call in (
                "syscall(444, struct.pack('=QQQ', 0, 1, 0), 24, 0)",
                "syscall(444, None, 0, 1)",
                "syscall(446, 0, 0)",
                "syscall(317 if os.uname().machine == 'x86_64' else 277, 3, 0, None)",
                "prctl(22, 2, None)",
            )
        ),
        "import ctypes, os\nl = ctypes.CDLL(None, use_errno=True)\n"
        "c = ctypes.c_ulong()\nnumber = 206 if os.uname().machine == 'x86_64' else 0\n"
        "if l.syscall(number, 64, ctypes.byref(c)): raise OSError(ctypes.get_errno(), 'aio')",
    ],
)
def test_memory_that_no_process_shows_cannot_be_had(code: str, box: Sandbox) -> None:
    ran = box.run_program(["python3", "-c", code], stdin="x", files={})
    assert "Error: [Errno" in ran.stderr, ran


def test_devices_read_as_they_should(box: Sandbox) -> None:
    code = "print(open('/dev/zero', 'rb').read(3), open('/dev/urandom', 'rb').read(2) != b'')"
    assert box.run_program(["python3", "-c", code]).stdout == "b'\\x00\\x00\\x00' True\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor _ in range(4):\n  if not os.fork():\n    while True: pass\n"
        "while True: pass",
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "for _ in range(4):\n  if not os.fork():\n    while True: pass\ntime.sleep(20)",
        "import os, time\nfor _ in range(4):\n  if not os.fork():\n    os.setsid()\n"
        "    if not os.fork():\n      while True: pass\n    os._exit(0)\ntime.sleep(20)",
        "import threading, time\n"
        "for _ in range(3): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
    ],
    ids=["children", "not waited for", "orphans", "threads"],
)
def test_processor_time_is_that_of_all_processes(code: str, box: Sandbox) -> None:
    limits = SandboxLimits(call_s=60.0, cpu_s=0.5, memory_mb=200)
    ran = box.run_program(["python3", "-c", code], limits=limits, files={})
    assert ran.timed_out
    assert not ran.out_of_memory
    assert ran.seconds < 20


def test_processor_time_of_children_that_ended_first(box: Sandbox) -> None:
    code = (
        "import os, time\nfor _ in range(3):\n  if not os.fork():\n"
        "    end = time.process_time() + 0.3\n    while time.process_time() < end: pass\n"
        "    os._exit(0)\ntime.sleep(0.1)\nfor _ in range(3): os.wait()"
    )
    limits = SandboxLimits(call_s=60.0, cpu_s=0.6)
    assert box.run_program(["python3", "-c", code], limits=limits, files={}).timed_out


@pytest.mark.parametrize("megabytes", [64, 128, 256])
def test_a_large_stack_that_is_reserved_only_is_no_memory(megabytes: int, box: Sandbox) -> None:
    """The usual way to recurse deeply in a contest."""
    code = (
        f"import sys, threading\nsys.setrecursionlimit(10**6)\n"
        f"threading.stack_size({megabytes} << 20)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(20000))); t.start(); t.join()"
    )
    ran = box.run_program(["python3", "-c", code], files={})
    assert (ran.stdout, ran.exit_code) == ("20000\n", 0), ran


LATE = [
    "import threading, time\ndef go():\n  while True:\n    n[0] += 1; time.sleep(0.001)\n"
    "threading.Thread(target=go, daemon=True).start()",
    "import signal\ndef go(*_): n[0] += 1\nsignal.signal(signal.SIGALRM, go)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)",
]


@pytest.mark.parametrize("cell", LATE, ids=["thread", "timer"])
def test_nothing_runs_between_calls(cell: str, box: Sandbox) -> None:
    """The number of steps taken between two calls; within a call the work goes on."""
    box.start()
    box.run_cell(f"import time\nn = [0]\n{cell}")
    box.run_cell("before = n[0]")
    time.sleep(0.6)
    assert int(box.run_cell("print(n[0] - before)").stdout) < 150
    assert int(box.run_cell("time.sleep(0.5); print(n[0] - before)").stdout) > 0
    box.start()


@pytest.mark.parametrize("start", ["", "os.setsid()", "os.fork() and os._exit(0)"])
def test_output_after_the_end_does_not_count(start: str, box: Sandbox) -> None:
    """Processes that are left behind are killed before they can go on."""
    code = (
        f"import os, time\nprint('mine', flush=True)\nif not os.fork():\n  {start or 'pass'}\n"
        "  while os.getppid() != 1: time.sleep(0.001)\n"
        "  time.sleep(0.5); os.write(1, b'late'); os.write(2, b'late')\ntime.sleep(0.1)"
    )
    for _ in range(3):
        ran = box.run_program(["python3", "-c", code], files={})
        assert (ran.stdout, ran.stderr) == ("mine\n", "")


def test_large_shares_are_divided(box: Sandbox) -> None:
    """Memory shared by fork counts once."""
    code = (
        "import os, time\nx = bytearray(b'x') * (45 << 20)\npids = []\nfor _ in range(8):\n"
        "  pid = os.fork()\n  if not pid: time.sleep(0.3); os._exit(0)\n  pids.append(pid)\n"
        "for pid in pids: os.waitpid(pid, 0)\nprint('all')"
    )
    assert box.run_program(["python3", "-c", code], files={}).stdout == "all\n"


def test_a_process_that_ended_uses_nothing() -> None:
    gone = 2**22 - 1
    assert usage.share_of(gone) == 0
    assert usage.open_files(gone) == 0
    assert usage.buffer_bytes([gone]) == 0


def test_watches_of_the_hosts_user_are_not_used_up(box: Sandbox) -> None:
    code = (
        "import ctypes; l = ctypes.CDLL(None); print(sum(l.inotify_init() >= 0 for _ in range(99)))"
    )
    assert int(box.run_program(["python3", "-c", code]).stdout) <= 4
    assert int(box.run_cell(code).stdout) <= 4
