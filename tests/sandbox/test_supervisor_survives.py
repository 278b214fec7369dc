"""Deep trees, odd names and malformed messages end neither the supervisor nor the host program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leafe_gym.errors import LeafeError, SandboxError, SnapshotLost
from leafe_gym.sandbox.base import SandboxLimits
from leafe_gym.sandbox.embedded.inside.trees import copy_tree, difference, digest, empty_tree
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox

DEPTH = 1500


@pytest.fixture(params=["overlay", "copy"])
def box(request: Any) -> Iterator[EmbeddedSandbox]:
    sandbox = EmbeddedSandbox(SandboxLimits(call_s=60.0), files=request.param)
    sandbox.start()
    yield sandbox
    sandbox.close()


TREES = {
    "deep": f"for _ in range({DEPTH}): os.mkdir('d'); os.chdir('d')\nopen('end', 'w').write('e')",
    "long names": "for _ in range(60): os.mkdir('n' * 250); os.chdir('n' * 250)",
    "odd names": (
        "for name in (b'\\xff', 'new\\nline', '-rf', ' ', 'q\"uote', '\\u202e', '(deleted)'):\n"
        "  os.mkdir(name); open(os.path.join(name, name), 'w').close()"
    ),
    "no rights": "os.makedirs('a/b/c'); open('a/b/f', 'w'); os.chmod('a/b', 0); os.chmod('a', 0)",
    "kinds": "os.mkfifo('p'); os.symlink('p', 'l'); os.symlink('/', 'root'); os.link('l', 'hard')",
}


@pytest.mark.parametrize("name", TREES)
def test_trees_are_saved_and_compared(name: str, box: EmbeddedSandbox) -> None:
    box.run_cell("n = 1")
    empty = box.snapshot()
    assert not box.run_cell(f"import os\n{TREES[name]}\nos.chdir('/home/box/work')").error
    snapshot = box.snapshot()
    box.restore(empty)
    assert box.run_cell("import os; os.listdir('.')").stdout == "[]\n"
    box.restore(snapshot)
    assert box.run_cell("len(os.listdir('.')) > 0").stdout == "True\n"
    assert ":" in box.state_digest()
    try:
        box.branch(snapshot).close()
    except SnapshotLost as error:  # names of the process's own making may differ
        pytest.fail(str(error))


HOLES = {
    "at the end": ((0, b"start"),),
    "at the start": ((4_999_990, b"end"),),
    "in the middle": ((0, b"start"), (2_500_000, b"middle"), (4_999_990, b"end")),
    "nothing else": (),
}


@pytest.mark.parametrize("name", HOLES)
def test_holes_of_a_file_stay_holes(name: str, box: EmbeddedSandbox) -> None:
    """As data they could exceed the quota when files are copied."""
    box.run_cell(
        "import os\nwith open('f', 'wb') as file:\n  os.truncate('f', 5_000_000)\n"
        f"  for at, data in {HOLES[name]}: file.seek(at); file.write(data)"
    )
    look = (
        "import zlib; os.stat('f').st_size, os.stat('f').st_blocks,"
        " zlib.crc32(open('f', 'rb').read())"
    )
    before = box.run_cell(look).stdout
    assert before.startswith("(5000000, ")
    snapshot = box.snapshot()
    for _ in range(2):
        box.run_cell("open('f', 'w').write('changed')")
        box.restore(snapshot)
        assert box.run_cell(look).stdout == before


SOCKETS = {
    "stream": "s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.close()",
    "datagrams, without rights": (
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('sock'); s.close()\n"
        "os.chmod('sock', 0)"
    ),
    "renamed": "s = socket.socket(socket.AF_UNIX); s.bind('a'); s.close(); os.rename('a', 'sock')",
}


@pytest.mark.parametrize("name", SOCKETS)
def test_the_name_of_a_socket_is_restored(name: str, box: EmbeddedSandbox) -> None:
    assert not box.run_cell(f"import os, socket, stat\n{SOCKETS[name]}").error
    look = "oct(os.stat('sock').st_mode)"
    before = box.run_cell(look).stdout
    assert before.startswith("'0o14")
    snapshot = box.snapshot()
    for _ in range(2):
        box.run_cell("os.unlink('sock')")
        box.restore(snapshot)
        assert box.run_cell(look).stdout == before


@pytest.mark.parametrize("depth", [0, 1, 1100])
def test_trees_of_any_depth(depth: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as top:
        _check_trees(depth, Path(top))


def _check_trees(depth: int, folder: Path) -> None:
    a, b, c = (str(folder / name) for name in "abc")
    for top, text in ((a, "x"), (b, "y")):
        os.mkdir(top)
        descend(Path(top), depth, text)
    os.mkdir(c)
    copy_tree(a, c)
    assert difference(a, b).rpartition("/")[2] == "f"
    assert difference(a, c) == ""
    assert digest(a) == digest(c) != digest(b)
    for one in (a, b, c):
        empty_tree(one)
        assert os.listdir(one) == []


def descend(top: Path, depth: int, text: str) -> None:
    """Write a file into the innermost of nested folders."""
    before = os.getcwd()
    os.chdir(top)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("f").write_text(text)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    "path", ["\udcff", "a" * 255, "a" * 5000, "d/" * 2500 + "f", "new\nline", "."]
)
def test_odd_paths_are_absent_or_refused(path: str, box: EmbeddedSandbox) -> None:
    with pytest.raises((LeafeError, FileNotFoundError)):
        box.read_file(path)
    assert box.run_cell("6 * 7").stdout == "42\n"


@pytest.mark.parametrize(
    "cell",
    [
        "(" * 100_000 + ")" * 100_000,
        "raise ValueError('\\udcff\\x00' * 1000)",
        "class E(Exception):\n  def __str__(self): raise E\nraise E",
        "raise type('E' * 10**6, (Exception,), {})",
        "import sys; sys.stdout = None; sys.excepthook = None; 1/0",
        "import builtins; del builtins.__dict__['repr']; 1",
    ],
)
def test_odd_cells_are_results(cell: str, box: EmbeddedSandbox) -> None:
    result = box.run_cell(cell)
    assert len(result.error) <= box.limits.output_bytes
    assert box.run_cell("6 * 7" if "repr" not in cell else "print(6 * 7)").stdout in ("42\n", "")
    assert box.run_program(["echo", "on"]).stdout == "on\n"


RESPONSES: list[dict[str, Any]] = [
    {},
    {"sizes": []},
    {"sizes": [0, 0]},
    {"sizes": [-1, 1]},
    {"sizes": [0, "x"]},
    {"sizes": {"a": 1}},
    {"sizes": [10**30, 0]},
    {"sizes": [0, 0], "why": 3, "error": "", "truncated": False, "seconds": 0.1, "restored": True},
    {"sizes": [0, 0], "why": "", "error": [], "truncated": False, "seconds": 0.1, "restored": True},
    {"sizes": [0, 0], "why": "", "error": "", "truncated": 0, "seconds": 0.1, "restored": True},
    {"sizes": [0, 0], "why": "", "error": "", "truncated": True, "seconds": "x", "restored": True},
    {"sizes": [0, 0], "why": "", "error": "", "truncated": True, "seconds": 10**400},
    {"failed": ["x"]},
    {"failed": "no such kind", "text": {"a": 1}},
]


@pytest.mark.parametrize("response", RESPONSES)
def test_a_malformed_response_is_a_sandbox_error(
    response: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = EmbeddedSandbox()
    box.start()
    monkeypatch.setattr(box._host._channel, "receive", lambda *_, **__: (response, b""))  # type: ignore[union-attr]
    for call in (
        lambda: box.run_cell("1"),
        lambda: box.run_program(["true"]),
        box.snapshot,
        box.state_digest,
        lambda: box.read_file("f"),
    ):
        with pytest.raises(SandboxError):
            call()
    box.close()
