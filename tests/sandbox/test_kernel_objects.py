"""What a forked copy of a session would share with it is set aside, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from besiege import family

from leafe_gym.errors import SandboxError, SnapshotRefused
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox


@pytest.fixture(scope="module")
def started() -> Iterator[EmbeddedSandbox]:
    sandbox = EmbeddedSandbox()
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def box(started: EmbeddedSandbox) -> Iterator[EmbeddedSandbox]:
    """A session that each test leaves as it was."""
    blank = started.snapshot()
    yield started
    started.restore(blank)
    started.drop(blank)


REFUSED = {
    "pipe": ("import os; p = os.pipe()", "a pipe"),
    "duplicate of a pipe": ("import os; p = os.pipe(); os.close(p[0]); q = os.dup(p[1])", "a pipe"),
    "process with a pipe": (
        "import subprocess; p = subprocess.Popen(['sleep', '9'], stdin=subprocess.PIPE)",
        "a pipe",
    ),
    "socketpair": ("import socket; a, b = socket.socketpair()", "a socket"),
    "listener": ("import socket; s = socket.socket(socket.AF_UNIX); s.bind('s')", "a socket"),
    "datagrams": (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "a socket",
    ),
    "event loop": ("import asyncio; l = asyncio.new_event_loop()", "epoll|socket"),
    "epoll": ("import select; e = select.epoll()", "epoll"),
    "eventfd": ("import os; e = os.eventfd(3)", "event descriptor"),
    "pidfd": ("import os; p = os.pidfd_open(os.getpid())", "process descriptor"),
    "inotify": ("import ctypes; i = ctypes.CDLL(None).inotify_init()", "watch on files"),
    "timerfd": ("import ctypes; t = ctypes.CDLL(None).timerfd_create(1, 0)", "a timer"),
    "thread": (
        "import threading; e = threading.Event(); threading.Thread(target=e.wait).start()",
        "threads",
    ),
    "pool": (
        "from concurrent.futures import ThreadPoolExecutor as T; t = T(2); t.submit(int).result()",
        "threads",
    ),
    "thread timer": ("import threading; t = threading.Timer(99, int); t.start()", "threads"),
    "POSIX timer": (
        "import ctypes\nmade = ctypes.c_int()\n"
        "assert not ctypes.CDLL(None).timer_create(1, None, ctypes.byref(made))",
        "a timer",
    ),
    "flock": ("import fcntl; f = open('l', 'w'); fcntl.flock(f, fcntl.LOCK_EX)", "a lock on"),
    "lockf": ("import fcntl; f = open('l', 'w'); fcntl.lockf(f, fcntl.LOCK_EX)", "a lock on"),
    "lock on a file of the system": (
        "import fcntl; f = open('/usr/bin/env'); fcntl.flock(f, fcntl.LOCK_SH)",
        "a lock on",
    ),
    "mapped file": (
        "import mmap; f = open('m', 'w+b'); f.write(b'x' * 4096); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 4096)",
        "mapped to the file '/home/box/work/m'",
    ),
    "mapped for reading": (
        "import mmap; f = open('m', 'w+b'); f.write(b'x' * 4096); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ); f.close()",
        "mapped to the file",
    ),
    "semaphore": ("import multiprocessing as m; s = m.Semaphore(1)", "mapped to the file"),
    "deleted file": ("import os; f = open('d', 'w'); os.unlink('d')", "deleted"),
    "file replaced": (
        "import os; f = open('d', 'w'); open('e', 'w'); os.link('d', 'k'); os.rename('e', 'd')",
        "cannot be opened again|replaced",
    ),
    "file without rights": ("import os; f = open('z', 'w'); os.chmod('z', 0)", "opened again"),
    "fifo": ("import os; os.mkfifo('ff'); f = os.open('ff', os.O_RDWR)", "no regular file"),
    "file of /proc": ("f = open('/proc/self/stat')", "/proc"),
    "working folder": ("import os; os.mkdir('w'); os.chdir('w'); os.rmdir('../w')", "folder"),
    "pending signal": (
        "import os, signal; signal.pthread_sigmask(0, {10}); os.kill(os.getpid(), 10)",
        "signals",
    ),
    "forked child": (
        "import os\nif not os.fork(): os._exit(3)",
        "child process",
    ),
    "map hidden": ("import ctypes; ctypes.CDLL(None).prctl(4, 0)", "cannot be inspected"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_and_the_session_goes_on(name: str, box: EmbeddedSandbox) -> None:
    cell, says = REFUSED[name]
    box.run_cell("n = 1")
    result = box.run_cell(cell)
    assert not result.error, result.error
    with pytest.raises(SnapshotRefused, match=says):
        box.snapshot()
    assert box.run_cell("n").stdout == "1\n"
    with pytest.raises(SandboxError):
        box.snapshot()


RELEASED = {
    "deleted file": (REFUSED["deleted file"][0], "f.close()"),
    "file without rights": (REFUSED["file without rights"][0], "os.chmod('z', 0o600)"),
    "pipe": (REFUSED["pipe"][0], "os.close(p[0]); os.close(p[1])"),
    "thread": (REFUSED["thread"][0], "e.set(); threading.enumerate()[-1].join()"),
    "lock": (REFUSED["flock"][0], "fcntl.flock(f, fcntl.LOCK_UN)"),
    "forked child": (REFUSED["forked child"][0], "assert os.wait()[1] in (3 << 8, 9)"),
    "working folder": (REFUSED["working folder"][0], "os.chdir('/home/box/work')"),
}


@pytest.mark.parametrize("name", RELEASED)
def test_saved_again_once_it_is_released(name: str, box: EmbeddedSandbox) -> None:
    cell, release = RELEASED[name]
    box.run_cell(f"n = 1\n{cell}")
    for _ in range(3):
        with pytest.raises(SnapshotRefused):
            box.snapshot()
    assert not box.run_cell(f"{release}; None").error
    snapshot = box.snapshot()
    box.run_cell("n = 2")
    box.restore(snapshot)
    assert box.run_cell("n").stdout == "1\n"


SET_ASIDE = {
    "offset of a file of the system": (
        "import os; f = os.open('/usr/bin/env', os.O_RDONLY); os.read(f, 5)",
        "os.lseek(f, 100, os.SEEK_SET)",
        "os.lseek(f, 0, os.SEEK_CUR)",
        "5\n",
    ),
    "offset of a file of the folder": (
        "import os; f = open('o', 'w+'); f.write('abc'); f.flush()",
        "f.write('def'); f.flush(); f.seek(0); None",
        "f.tell(), open('o').read()",
        "(3, 'abc')\n",
    ),
    "position in a folder": (
        "import os; fd = os.open('.', os.O_RDONLY)",
        "os.listdir(fd); None",
        "os.listdir(fd) == os.listdir('.')",
        "True\n",
    ),
    "shared offset": (
        "import os; f = os.open('o', os.O_RDWR | os.O_CREAT); g = os.dup(f); os.write(f, b'ab')",
        "os.write(g, b'cdef')",
        "os.write(g, b'x'); os.lseek(f, 0, os.SEEK_CUR)",
        "3\n",
    ),
    "separate offsets": (
        "import os; open('o', 'w').write('abcd'); f = os.open('o', 0); g = os.open('o', 0)",
        "os.read(f, 3); None",
        "os.read(f, 1); os.lseek(g, 0, os.SEEK_CUR)",
        "0\n",
    ),
    "flags of standard output": (
        "import fcntl, os; before = fcntl.fcntl(1, fcntl.F_GETFL)",
        "os.set_blocking(1, False); os.set_blocking(2, False)",
        "fcntl.fcntl(1, fcntl.F_GETFL) == before, os.get_blocking(2)",
        "(True, True)\n",
    ),
    "timer": (
        "import signal; signal.setitimer(signal.ITIMER_REAL, 900, 7); None",
        "signal.setitimer(signal.ITIMER_REAL, 0); None",
        "a = signal.getitimer(signal.ITIMER_REAL); 0 < a[0] <= 900, a[1]",
        "(True, 7.0)\n",
    ),
    "timer of processor time": (
        "import signal; signal.setitimer(signal.ITIMER_PROF, 500); None",
        "signal.setitimer(signal.ITIMER_PROF, 1); None",
        "signal.getitimer(signal.ITIMER_PROF)[0] > 400",
        "True\n",
    ),
    "nice": (
        "import os; raised = os.nice(3)",
        "os.nice(2); None",
        "os.nice(0) == raised",
        "True\n",
    ),
    "adoption of orphans": (
        "import ctypes, os\ncall = ctypes.CDLL(None).prctl; call(36, 1)\n"
        "def adopts():\n  if not (pid := os.fork()):\n"
        "    if not os.fork(): os._exit(7)\n    os._exit(0)\n"
        "  os.waitpid(pid, 0)\n"
        "  try: return os.wait()[1] >> 8\n  except ChildProcessError: return None",
        "call(36, 0)",
        "adopts()",
        "7\n",
    ),
    "no adoption of orphans": (
        "import ctypes; call = ctypes.CDLL(None).prctl; flag = ctypes.c_int()",
        "call(36, 1); None",
        "call(37, ctypes.byref(flag)); flag.value",
        "0\n",
    ),
    "processors": (
        "import os; all_ = os.sched_getaffinity(0)",
        "os.sched_setaffinity(0, {min(all_)})",
        "os.sched_getaffinity(0) == all_",
        "True\n",
    ),
    "mask, handler and folder": (
        "import os, signal; os.mkdir('in'); os.chdir('in'); os.umask(0o27)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {12}); signal.signal(10, signal.SIG_IGN); None",
        "os.chdir('/'); os.umask(0); signal.pthread_sigmask(signal.SIG_SETMASK, ())\n"
        "signal.signal(10, signal.SIG_DFL); None",
        "os.getcwd(), os.umask(0o27), list(map(int, signal.pthread_sigmask(0, ()))),"
        " signal.getsignal(10) == signal.SIG_IGN",
        "('/home/box/work/in', 23, [12], True)\n",
    ),
}


@pytest.mark.parametrize("name", SET_ASIDE)
def test_brought_back(name: str, box: EmbeddedSandbox) -> None:
    before, change, look, shown = SET_ASIDE[name]
    assert not box.run_cell(before).error
    snapshot = box.snapshot()
    for _ in range(2):
        assert not box.run_cell(change).error
        box.restore(snapshot)
        assert box.run_cell(look).stdout == shown
        box.restore(snapshot)


@pytest.mark.parametrize("folder", ["'.'", "'/usr'", "'/tmp'"])
@pytest.mark.parametrize("events", ["fcntl.DN_CREATE", "fcntl.DN_ACCESS | fcntl.DN_MULTISHOT"])
def test_a_watch_that_a_copy_would_lack_cannot_be_had(
    folder: str, events: str, box: EmbeddedSandbox
) -> None:
    code = (
        f"import fcntl, os\nfcntl.fcntl(os.open({folder}, os.O_RDONLY), fcntl.F_NOTIFY, {events})"
    )
    assert "PermissionError" in box.run_cell(code).error
    assert box.run_cell("import os; fcntl.fcntl(os.open('.', os.O_RDONLY), fcntl.F_GETFD)").stdout


HANDLERS = {
    "before": "d = [[0]]\ndef more(): d[0][0] += 1\nos.register_at_fork(before=more)",
    "in the original": "d = [[0]]\ndef more(): d[0][0] += 1\n"
    "os.register_at_fork(after_in_parent=more)",
    "in each copy": "d = [[0]]\ndef more(): d[0][0] += 1\nos.register_at_fork(after_in_child=more)",
    "of a module": "open('own.py', 'w').write('d = [[0]]\\nimport posix\\n"
    "def more(): d[0][0] += 1\\nposix.register_at_fork(before=more, after_in_child=more)')\n"
    "import sys; sys.path.insert(0, '.'); from own import d",
    "one that fails": "d = [[0]]\ndef more(): d[0][0] += 1; raise SystemExit\n"
    "os.register_at_fork(before=more, after_in_parent=more, after_in_child=more)",
}


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_of_forks_do_not_run_in_copies(name: str, box: EmbeddedSandbox) -> None:
    """The sandbox's own forks are no forks of the session; those of its code are."""
    assert not box.run_cell(f"import os\n{HANDLERS[name]}").error
    snapshot = box.snapshot()
    for _ in range(2):
        box.restore(snapshot)
        assert box.run_cell("d").stdout == "[[0]]\n"
    child = "if not (pid := os.fork()): os._exit(d[0][0])\nstatus = os.waitpid(pid, 0)[1] >> 8"
    box.run_cell(child)
    assert box.run_cell("status + d[0][0] > 0").stdout == "True\n"


RANDOM = {
    "random": ("import random", "random.random()"),
    "a generator of its own": ("import random; r = random.Random()", "r.random()"),
    "before it is seeded": ("import random; random.seed()", "random.getrandbits(64)"),
}


@pytest.mark.parametrize("name", RANDOM)
def test_generators_go_on_in_each_copy(name: str, box: EmbeddedSandbox) -> None:
    make, draw = RANDOM[name]
    box.run_cell(make)
    snapshot = box.snapshot()
    seen = set()
    for _ in range(3):
        seen.add(box.run_cell(draw).stdout)
        box.restore(snapshot)
    assert len(seen) == 1


HOLDERS = """
import ctypes, os, resource, signal
def others():
    own = os.getpid()
    return [pid for pid in range(2, own + 60) if pid != own and alive(pid)]
def alive(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    return True
done = []
def attempt(call, *given):
    try: call(*given)
    except OSError: return
    done.append(call.__name__)
def read(path):
    # The memory map of a process that has ended can be opened, and is empty.
    with open(path, 'rb') as file:
        if not file.read(1): raise OSError('empty')
"""


@pytest.mark.parametrize(
    "cell",
    [
        "for pid in others(): attempt(open, f'/proc/{pid}/mem', 'rb')",
        "for pid in others(): attempt(read, f'/proc/{pid}/maps')",
        "for pid in others(): attempt(os.listdir, f'/proc/{pid}/fd')",
        "for pid in others(): attempt(os.setpriority, os.PRIO_PROCESS, pid, 19)",
        "attempt(os.setpriority, os.PRIO_PGRP, os.getpgid(0), 19)",
        "attempt(os.setpriority, os.PRIO_USER, os.getuid(), 19)",
        "for pid in others(): attempt(os.sched_setaffinity, pid, {0})",
        "for pid in others(): attempt(resource.prlimit, pid, resource.RLIMIT_NOFILE, (9, 9))",
    ],
)
def test_a_holder_cannot_be_read_or_changed(cell: str, box: EmbeddedSandbox) -> None:
    box.run_cell(f"secret = 'kept'\n{HOLDERS}\nnice = os.nice(0)")
    snapshot = box.snapshot()
    assert box.run_cell("len(others()) > 0").stdout == "True\n"
    assert box.run_cell(f"{cell}\nprint(done)").stdout == "[]\n"
    box.restore(snapshot)
    assert box.run_cell("secret, os.nice(0) == nice").stdout == "('kept', True)\n"


@pytest.mark.parametrize("number", ["SIGUSR1", "SIGALRM", "SIGCHLD", "SIGTERM", "SIGSTOP"])
def test_signals_do_not_change_a_holder(number: str, box: EmbeddedSandbox) -> None:
    """Not through its handlers; a holder that was stopped goes on."""
    box.run_cell(
        f"{HOLDERS}\nhits = []\n"
        f"if '{number}' != 'SIGSTOP': signal.signal(signal.{number}, lambda *_: hits.append(1))"
    )
    snapshot = box.snapshot()
    box.run_cell(f"for pid in others():\n  for _ in range(3): os.kill(pid, signal.{number})")
    box.restore(snapshot)
    assert box.run_cell("hits").stdout == "[]\n"


@pytest.mark.root
def test_a_changed_holder_is_found_out_and_made_again(box: EmbeddedSandbox) -> None:
    """Root of the host can write to the memory of the process, which code in the sandbox cannot."""
    if os.geteuid():
        pytest.skip("not root")
    box.run_cell("a = 'before the ' + 'change'")
    snapshot = box.snapshot()
    box.run_cell("a = 0")
    assert box.pid is not None
    changed = [
        overwrite(pid, b"before the change", b"BEFORE THE CHANGE") for pid, _ in family(box.pid)
    ]
    assert sum(changed) >= 1
    box.restore(snapshot)
    assert box.run_cell("a").stdout == "'before the change'\n"


def overwrite(pid: int, old: bytes, new: bytes) -> int:
    """Replace bytes in the private memory of a process; how often."""
    count = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            span, access, *_ = line.split()
            if access != "rw-p":
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            memory.seek(start)
            data = memory.read(end - start)
            at = data.find(old)
            while at >= 0:
                memory.seek(start + at)
                count += memory.write(new) == len(new)
                at = data.find(old, at + 1)
    return count


@pytest.mark.parametrize(
    ("code", "look", "status"),
    [
        ("import subprocess, time; p = subprocess.Popen(['false']); time.sleep(0.2)",
         "p.poll()", 1),
        ("import subprocess; p = subprocess.Popen(['sh', '-c', 'exit 7'])", "p.wait()", "7|-9"),
        ("import subprocess; p = subprocess.Popen(['sleep', '60'])", "p.wait()", -9),
        ("import multiprocessing as m, os\nm.set_start_method('fork')\n"
         "p = m.Process(target=os._exit, args=(5,)); p.start(); p.sentinel\n"
         "import time; time.sleep(0.3); p._popen.finalizer()", "p.exitcode", 5),
    ],
)  # fmt: skip
def test_the_status_of_a_child_is_kept(
    code: str, look: str, status: object, box: EmbeddedSandbox
) -> None:
    assert not box.run_cell(code).error
    snapshot = box.snapshot()
    for _ in range(2):
        assert box.run_cell(look).stdout.strip() in str(status).split("|")
        box.restore(snapshot)


LIES = {
    "random.setstate": "import random\nrandom.setstate = lambda state: None",
    "random.getstate": "import random\nstate = random.getstate()\n"
    "random.getstate = lambda: state\nrandom.random()",
    "the generator": "import random\nrandom._inst = random.Random(3)",
}


@pytest.mark.parametrize("name", LIES)
def test_functions_that_a_session_replaced_do_not_decide(name: str, box: EmbeddedSandbox) -> None:
    box.run_cell(LIES[name])
    snapshot = box.snapshot()
    seen = set()
    for _ in range(3):
        seen.add(box.run_cell("random.random()").stdout)
        box.restore(snapshot)
    assert len(seen) == 1


HOSTILE_VALUES = {
    "slice": "class Bad:\n  def __repr__(self): count(); return ''\nvalue = slice(Bad())",
    "key": "class Bad(str):\n  def startswith(self, *a): count(); return False\n"
    "  def __hash__(self): count(); return 1\nglobals()[Bad('k')] = 1; calls[0] = 0",
    "number as a name": "globals()[7] = 1",
    "time zone": "import datetime\nclass Bad(datetime.tzinfo):\n"
    "  def __repr__(self): count(); return ''\n  def utcoffset(self, t): count()\n"
    "value = datetime.datetime(2020, 1, 1, tzinfo=Bad()); value = [value]; calls[0] = 0",
    "bytes": "class Bad(bytes):\n  def __len__(self): count(); return 0\n"
    "  def __getitem__(self, at): count(); return b''\nvalue = Bad(b'x')",
    "attributes": "class Bad:\n  __slots__ = ()\n  __dict__ = property(lambda self: count())\n"
    "value = Bad()",
    "class": "class Meta(type):\n  def __getattribute__(self, name): count(); return 'x'\n"
    "class Bad(metaclass=Meta): pass\nvalue = Bad(); calls[0] = 0",
}


@pytest.mark.parametrize("name", HOSTILE_VALUES)
def test_comparing_states_runs_no_code_of_the_session(name: str, box: EmbeddedSandbox) -> None:
    counting = "calls = [0]\ndef count(): calls[0] += 1\n"
    assert not box.run_cell(counting + HOSTILE_VALUES[name]).error
    before = box.run_cell("calls[0]").stdout
    box.state_digest()
    snapshot = box.snapshot()
    for _ in range(2):
        assert box.run_cell("calls[0]").stdout == before
        box.restore(snapshot)


@pytest.mark.parametrize("advice", [10, 18])
def test_memory_that_a_copy_would_lack_cannot_be_had(advice: int, box: EmbeddedSandbox) -> None:
    box.run_cell("import mmap\nm = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)")
    assert "Errno 22" in box.run_cell(f"m[0] = 7; m.madvise({advice})").error
    assert not box.run_cell("m.madvise(mmap.MADV_WILLNEED)").error
    snapshot = box.snapshot()
    box.run_cell("m[0] = 9")
    box.restore(snapshot)
    assert box.run_cell("m[0]").stdout == "7\n"
