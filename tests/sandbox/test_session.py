"""Common behaviour of the isolating sandboxes: sessions, programs, files, limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import Sandbox, SandboxLimits, make_sandbox

LIMITS = SandboxLimits(call_s=300.0, output_bytes=20_000)
KINDS = ["embedded", pytest.param("docker-commit", marks=pytest.mark.engine)]


@pytest.fixture(scope="module", params=KINDS)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if request.param != "embedded":
        request.getfixturevalue("engine")
    sandbox = make_sandbox(request.param, limits=LIMITS)
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("n = 20; n + 1", "21\n"),
        ("n + 2", "22\n"),
        ("print('a'); import sys; print('b', file=sys.stderr)", "a\n"),
        ("import os; os.system('echo from a child'); None", "from a child\n"),
        ("import subprocess; subprocess.run(['pwd']).returncode", "/home/box/work\n0\n"),
        ("__name__, input.__name__, exit.__class__.__name__", "('__main__', 'input', 'Quitter')\n"),
        ("class A:\n  x = 1\nimport pickle; pickle.loads(pickle.dumps(A())).x", "1\n"),
    ],
)
def test_what_a_cell_prints(box: Sandbox, cell: str, shown: str) -> None:
    box.run_cell("n = 20")
    result = box.run_cell(cell)
    assert (result.stdout, result.error) == (shown, "")
    assert not result.timed_out
    assert not result.truncated


def test_errors_name_the_line_and_nothing_of_ours(box: Sandbox) -> None:
    error = box.run_cell("def f():\n    return 1 / 0\nf()").error
    assert "return 1 / 0" in error
    assert error.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "worker" not in error
    assert "SyntaxError" in box.run_cell("for").error
    assert "SystemExit" in box.run_cell("raise SystemExit(3)").error
    assert "ValueError" in box.run_cell("raise ValueError('\\ud800')").error


def test_output_is_cut(box: Sandbox) -> None:
    result = box.run_cell("print('x' * 10**6)")
    assert len(result.stdout) == 20_000
    assert result.truncated
    long = box.run_cell("raise ValueError('y' * 10**6)")
    assert len(long.error) <= 20_000


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("open('f', 'w').write('y'); n = 2\nwhile True: pass", ""),
        ("open('f', 'w').write('y'); n = 2\nimport os; os._exit(0)", "ended"),
        ("open('f', 'w').write('y'); n = 2\nimport os; os.kill(os.getpid(), 9)", "ended"),
        ("open('f', 'w').write('y'); n = 2\nimport ctypes; ctypes.string_at(0)", "ended"),
    ],
)
def test_a_cell_that_was_stopped_leaves_no_trace(box: Sandbox, cell: str, says: str) -> None:
    box.run_cell("n = 1; open('f', 'w').write('x')")
    began = time.monotonic()
    result = box.run_cell(cell, timeout=0.4)
    assert time.monotonic() - began < 120
    assert result.timed_out is (says == "")
    assert says in result.error
    assert box.run_cell("n, open('f').read()").stdout == "(1, 'x')\n"


def test_what_a_cell_starts_ends_with_it(box: Sandbox) -> None:
    box.run_cell("import subprocess\np = [subprocess.Popen(['sleep', '60']) for _ in range(5)]")
    count = (
        "import os\nsum('sleep' in open(f'/proc/{p}/comm').read()\n"
        "    for p in os.listdir('/proc') if p.isdigit())"
    )
    deadline = time.monotonic() + 120  # they are dying, which takes a moment
    while (left := box.run_cell(count).stdout) != "0\n":
        assert time.monotonic() < deadline, left


def test_programs(box: Sandbox) -> None:
    box.write_file("given", b"\x00\xff")
    code = "import sys; d = sys.stdin.read(); print(d, open('given','rb').read()); sys.exit(3)"
    ran = box.run_program(["python3", "-c", code], stdin="hé")
    assert (ran.stdout, ran.exit_code, ran.signal) == ("hé b'\\x00\\xff'\n", 3, 0)
    assert box.run_program(["sh", "-c", "kill -9 $$"]).signal == 9
    assert box.run_program(["no-such-program"]).exit_code == 127
    assert box.run_program(["sh", "-c", "echo o; echo e >&2"]).stderr == "e\n"
    box.run_program(["sh", "-c", "echo made > made; echo t > /tmp/t"])
    assert box.read_file("made") == b"made\n"
    assert box.run_program(["ls", "/tmp"]).stdout == ""
    assert box.run_cell("import os; os.listdir('/tmp')").stdout == "[]\n"
    with pytest.raises(UsageError, match="argv"):
        box.run_program([])


@pytest.mark.parametrize(
    ("code", "limits", "field"),
    [
        ("while True: pass", {"call_s": 0.4}, "timed_out"),
        ("while True: pass", {"cpu_s": 1.0, "call_s": 120.0}, "timed_out"),
        ("import time; time.sleep(60)", {"call_s": 0.4}, "timed_out"),
        ("while True: print('x' * 1000)", {"call_s": 60.0}, "truncated"),
        (
            "import os, time\nfor _ in range(8):\n  if not os.fork():\n"
            "    b = b'x' * (100 << 20); time.sleep(9)\ntime.sleep(9)",
            {"memory_mb": 200, "call_s": 60.0},
            "out_of_memory",
        ),
    ],
)
def test_limits_of_a_program(box: Sandbox, code: str, limits: dict[str, Any], field: str) -> None:
    ran = box.run_program(["python3", "-c", code], limits=SandboxLimits(**limits))
    flags = {name for name in ("timed_out", "truncated", "out_of_memory") if getattr(ran, name)}
    assert flags == {field}, ran


def test_limits_of_the_session(box: Sandbox) -> None:
    assert "MemoryError" in box.run_cell("x = bytearray(1 << 30)").error
    full = box.run_cell("open('big', 'wb').write(bytes(100 << 20))").error
    assert "File too large" in full or "No space left" in full
    forks = box.run_cell(
        "import os, time\nn = 0\ntry:\n  while n < 200:\n    if not os.fork(): time.sleep(60)\n"
        "    n += 1\nexcept BlockingIOError: pass\nprint(n)"
    )
    assert 50 <= int(forks.stdout) <= 64
    box.run_cell("import os; os.unlink('big')")
    filled = box.run_cell(
        "try:\n  for n in range(9): open(f'p{n}', 'wb').write(bytes(16 << 20))\n"
        "except OSError as e: print(e.strerror)\nimport glob\n"
        "for p in glob.glob('p*'): os.unlink(p)"
    )
    assert filled.stdout == "No space left on device\n"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "up/x", "abs", "loop"])
def test_files_do_not_lead_out(box: Sandbox, path: str) -> None:
    box.run_cell(
        "import os\nfor l, t in [('up', '..'), ('abs', '/etc/passwd'), ('loop', 'loop')]:\n"
        "  if not os.path.lexists(l): os.symlink(t, l)"
    )
    with pytest.raises(UsageError, match="leads out"):
        box.read_file(path)
    with pytest.raises(UsageError, match="leads out"):
        box.write_file(path, b"x")


def test_what_is_no_plain_file_is_absent(box: Sandbox) -> None:
    box.run_cell("import os; os.makedirs('folder', exist_ok=True); os.mkfifo('pipe')")
    for path in ("nothing", "folder", "pipe", "folder/nothing"):
        with pytest.raises(FileNotFoundError):
            box.read_file(path)
    box.write_file("long", bytes(5000))
    assert len(box.read_file("long", 100)) == 100
