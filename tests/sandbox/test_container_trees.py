"""Files of containers as they are kept in memory: complete, or refused by name."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafe_gym.sandbox.docker.inside.file_trees import (
    MemoryFiles,
    pack_tree,
    put_trees,
    read_trees,
    unpack_tree,
)
from leafe_gym.sandbox.embedded.inside.layers import FilesBusy
from leafe_gym.sandbox.embedded.inside.trees import copy_tree, difference


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, as in a container; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def bind(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.close()


def test_every_kind_of_file_is_restored(folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "f").write_bytes(b"\0\xff")
    (folder / "link").symlink_to("d/f")
    os.mkfifo(folder / "fifo", 0o640)
    bind(folder / "socket")
    os.chmod(folder / "d", 0o500)
    files = MemoryFiles([str(folder)])
    (chain,) = [files.freeze()]
    before = read_trees([str(folder)])
    os.chmod(folder / "d", 0o700)
    for name in ("link", "fifo", "socket", "d/f"):
        (folder / name).unlink()
    (folder / "new").write_text("x")
    files.restore(chain)
    after = read_trees([str(folder)])
    assert {path: entry[::2] for path, entry in after.items()} == {
        path: entry[::2] for path, entry in before.items()
    }
    assert stat.S_ISSOCK(os.stat(folder / "socket").st_mode)
    put_trees([str(folder)], unpack_tree(pack_tree(before)))
    assert read_trees([str(folder)]).keys() == before.keys()


INEXACT = {
    "hard link": (lambda path: os.link(path, f"{path}2"), "several hard links"),
    "hard link in a folder": (
        lambda path: (os.mkdir(f"{path}d"), os.link(path, f"{path}d/x")),
        "several hard links",
    ),
    "attribute": (lambda path: os.setxattr(path, "user.a", b"1"), "extended attributes"),
    "attribute of a folder": (
        lambda path: (os.mkdir(f"{path}d"), os.setxattr(f"{path}d", "user.a", b"")),
        "extended attributes",
    ),
}


@pytest.mark.parametrize("name", INEXACT)
def test_what_an_entry_does_not_contain_is_refused(name: str, folder: Path) -> None:
    make, says = INEXACT[name]
    (folder / "f").write_text("x")
    files = MemoryFiles([str(folder)])
    assert files.freeze()
    try:
        make(str(folder / "f"))
    except OSError:
        pytest.skip("the file system has no such attributes")
    with pytest.raises(FilesBusy, match=says):
        files.freeze()
    assert str(folder / "f") in read_trees([str(folder)])  # around programs, no state is kept


def test_copied_trees_have_sockets(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    bind(folder / "a" / "s")
    os.chmod(folder / "a" / "s", 0o600)
    copy_tree(str(folder / "a"), str(folder / "b"))
    assert difference(str(folder / "a"), str(folder / "b")) == ""
    assert stat.S_IMODE((folder / "b" / "s").stat().st_mode) == 0o600
