"""Programs that are copies of a prepared process behave as programs of a new interpreter."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import (
    PREPARED_COMMAND,
    PREPARED_END,
    PreparesPrograms,
    ProgramResult,
    SandboxLimits,
    make_sandbox,
)
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox, unavailable_reason

pytestmark = pytest.mark.skipif(bool(unavailable_reason()), reason=unavailable_reason())

SOURCE = """
import json, os, sys
seen = []

def main():
    exec(sys.stdin.read(), {"seen": seen})
"""
"""A program that executes its input."""

ARGV = (*PREPARED_COMMAND, SOURCE + PREPARED_END)
LIMITS = SandboxLimits(call_s=20.0, memory_mb=128)


@pytest.fixture(scope="module")
def boxes() -> Iterator[list[EmbeddedSandbox]]:
    """A sandbox with a prepared process, and one without."""
    made = [EmbeddedSandbox(LIMITS) for _ in range(2)]
    made[0].prepare(ARGV)
    for box in made:
        box.start()
    yield made
    for box in made:
        box.close()


def ran(box: EmbeddedSandbox, code: str, limits: SandboxLimits = LIMITS) -> ProgramResult:
    """Run the program with an input."""
    return box.run_program(ARGV, stdin=code, limits=limits, files={})


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def template_of(box: EmbeddedSandbox) -> int:
    """The prepared process: the first that the supervisor started."""
    assert box.pid is not None
    (supervisor,) = children(box.pid)
    return min(children(supervisor))


@pytest.mark.parametrize(
    "code",
    [
        "import sys; print(sys.argv, sys.path, sys.executable, sys.dont_write_bytecode)",
        "import os; print(sorted(os.environ.items()), os.getcwd(), os.listdir('.'), os.getpid())",
        "import os; print(os.getppid(), sorted(os.listdir('/proc/self/fd')), os.umask(0))",
        "import signal as s; print([s.getsignal(n) for n in (2, 13)], s.pthread_sigmask(0, []))",
        "import resource as r; print([r.getrlimit(n) for n in range(16) if n != r.RLIMIT_NPROC])",
        "print(hash('a'), [hash(str(n)) for n in range(9)], sorted({'x', 'yy', 'zzz'}))",
        "import __main__, sys; print(__main__.__name__, [n for n in sys.modules if 'leafe' in n])",
        "print(open('/proc/self/status').read().partition('CapInh')[2].partition('Speculation')[0])",
        "def f(n=0):\n  global d; d = n; f(n + 1)\ntry: f()\nexcept RecursionError: print(d)",
        "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)",
        "import sys; sys.exit('a text')",
        "import sys; sys.exit(None)",
        "import os; os._exit(7)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import os; os.execvp('echo', ['echo', 'replaced'])",
        "import subprocess as s; print(s.run(['sh', '-c', 'echo $HOME; exit 5']).returncode)",
        "import threading as t; o = t.Thread(target=print, args=(1,)); o.start(); o.join()",
        "print('x' * 10); raise KeyError('é')",
        "1 +",
        "import socket; socket.create_connection(('1.1.1.1', 80), timeout=1)",
    ],
)
def test_as_a_new_interpreter(boxes: list[EmbeddedSandbox], code: str) -> None:
    prepared, fresh = (ran(box, code) for box in boxes)
    assert (prepared.stdout, prepared.exit_code, prepared.signal) == (
        fresh.stdout,
        fresh.exit_code,
        fresh.signal,
    )
    assert prepared.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]
    assert "leafe" not in prepared.stderr


@pytest.mark.parametrize(
    ("code", "limits", "field"),
    [
        ("while True: pass", {"cpu_s": 1.0}, "timed_out"),
        ("import time; time.sleep(60)", {"call_s": 1.0}, "timed_out"),
        ("while True: print('x' * 1000)", {}, "truncated"),
        (
            "import os, time\nfor _ in range(6):\n  if not os.fork(): break\n"
            "b = b'x' * (60 << 20); time.sleep(9)",
            {},
            "out_of_memory",
        ),
    ],
)
def test_limits(
    boxes: list[EmbeddedSandbox], code: str, limits: dict[str, float], field: str
) -> None:
    result = ran(boxes[0], code, LIMITS.model_copy(update=limits))
    names = ("timed_out", "truncated", "out_of_memory")
    assert {name for name in names if getattr(result, name)} == {field}, result
    assert ran(boxes[0], "print('on')").stdout == "on\n"


@pytest.mark.parametrize(
    "code",
    [
        "seen.append(1); print(len(seen))",
        "import json; print(getattr(json, 'left', 0)); json.left = 1",
        "import builtins; print(hasattr(builtins, 'left')); builtins.left = 1",
        "import os; print(os.listdir(), os.listdir('/tmp'))\nopen('f', 'w'); open('/tmp/g', 'w')",
        "import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))\n"
        "if not os.fork(): import time; time.sleep(60)",
    ],
)
def test_nothing_stays_for_the_next(boxes: list[EmbeddedSandbox], code: str) -> None:
    first = ran(boxes[0], code)
    assert first.stdout
    assert ran(boxes[0], code).stdout == first.stdout


SEARCH = """
import hashlib
head, ending = b"sretnuocne"[::-1], {ending!r}
found = 0
for line in open("/proc/self/maps"):
    where, rights = line.split()[:2]
    start, end = (int(one, 16) for one in where.split("-"))
    if "r" not in rights or "[v" in line:
        continue
    with open("/proc/self/mem", "rb", 0) as memory:
        try:
            memory.seek(start)
            data = memory.read(end - start)
        except (OSError, OverflowError):
            continue
    for part in data.split(head)[1:]:
        found += hashlib.md5(part[:9]).hexdigest() == ending
print(found)
"""
"""Counts a word in the memory of the process, which knows the beginning and a digest of the end."""


def test_memory_holds_no_other_input(boxes: list[EmbeddedSandbox]) -> None:
    box, end = boxes[0], "a-rhino-1"
    told = f"encounters{end}"
    search = SEARCH.format(ending=hashlib.md5(end.encode()).hexdigest())
    assert ran(box, f"print({told!r}); x = {told!r} * 9").stdout == f"{told}\n"
    box.run_cell(f"y = {told!r}")
    box.write_file("a", told.encode())
    box.run_program(["cat"], stdin=told, files={"b": told.encode()})
    assert int(ran(box, f"x = {told!r}\n{search}").stdout) > 0
    assert ran(box, search).stdout == "0\n"


def test_programs_go_on_without_the_prepared_process() -> None:
    box = EmbeddedSandbox(LIMITS)
    box.prepare(ARGV)
    box.start()
    try:
        box.run_cell("kept = 5")
        os.kill(template_of(box), signal.SIGKILL)
        assert [ran(box, "print(seen)").stdout for _ in range(2)] == ["[]\n"] * 2
        assert box.run_cell("kept").stdout == "5\n"
    finally:
        box.close()


def test_what_fails_leaves_no_processes_and_descriptors() -> None:
    box = EmbeddedSandbox(LIMITS)
    box.prepare(ARGV)
    box.start()
    try:
        assert box.pid is not None
        (supervisor,) = children(box.pid)
        assert ran(box, "print(1)").stdout == "1\n"
        before = len(os.listdir(f"/proc/{supervisor}/fd")), len(children(supervisor))
        os.kill(template_of(box), signal.SIGKILL)
        # What was killed is waited for after a request; a loaded machine may need another one.
        for _ in range(20):
            assert ran(box, "print(2)").stdout == "2\n"
            after = len(os.listdir(f"/proc/{supervisor}/fd")), len(children(supervisor))
            if after[1] < before[1]:
                break
        assert after[0] <= before[0]
        assert after[1] == before[1] - 1
    finally:
        box.close()


@pytest.mark.parametrize(
    "cell",
    [
        "import os, signal\nfor pid in range(2, 40):\n  try: os.kill(pid, signal.SIGKILL)\n"
        "  except OSError: pass",
        "import os, signal; os.kill(-1, signal.SIGKILL)",
        "import os, signal; os.kill(-1, signal.SIGSTOP)",
    ],
)
def test_cells_that_attack_the_prepared_process(cell: str) -> None:
    box = EmbeddedSandbox(LIMITS)
    box.prepare(ARGV)
    box.start()
    try:
        box.run_cell(cell, timeout=2.0)
        assert ran(box, "print(seen)").stdout == "[]\n"
    finally:
        box.close()


@pytest.mark.parametrize("source", ["raise ValueError('broken')", "main = 3", "def main(:"])
def test_source_that_fails(source: str) -> None:
    results = []
    for prepared in (True, False):
        box = EmbeddedSandbox(LIMITS)
        argv = (*PREPARED_COMMAND, source + PREPARED_END)
        if prepared:
            box.prepare(argv)
        box.start()
        one = box.run_program(argv, files={})
        results.append((one.exit_code, one.stdout, one.stderr.splitlines()[-1:]))
        box.close()
    assert results[0] == results[1]
    assert results[0][0] == 1


@pytest.mark.parametrize(
    "argv", [("python3", "-c", "print(1)\nmain()\n"), ("ls",), (*PREPARED_COMMAND, "print(1)")]
)
def test_other_programs_are_not_prepared(argv: tuple[str, ...]) -> None:
    box = EmbeddedSandbox(LIMITS)
    box.prepare(argv)
    assert box._prepared == ()


def test_arguments() -> None:
    box = make_sandbox("embedded", limits=LIMITS)
    assert isinstance(box, PreparesPrograms)
    for wrong in ("python3", [], [1], None):
        with pytest.raises(UsageError, match="argv"):
            box.prepare(wrong)  # type: ignore[arg-type]
