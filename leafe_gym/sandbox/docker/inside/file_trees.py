"""Files of a container's folders, kept in the memory of its first process.

A container may not mount, so there are no layers to exchange as in the embedded sandbox: files are
read into memory and restored in place, so that open files keep their identity.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from leafe_gym.sandbox.embedded.inside import syscalls
from leafe_gym.sandbox.embedded.inside.layers import Chain, FilesBusy
from leafe_gym.sandbox.embedded.inside.trees import empty_tree

_SIZE = struct.Struct("!I")
_OWN = 0o700
Entry = tuple[int, int, bytes]
"""(kind and mode, time of change in nanoseconds, content or target of a link)."""

Tree = dict[str, Entry]
"""Path -> entry, each folder before what is in it."""


class MemoryFiles:
    """Implementation of `Layers` in memory.

    Args:
        folders: the folders to save.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._count = 0
        self._saved: dict[int, Tree] = {}

    def freeze(self) -> Chain:
        """See `Layers.freeze`."""
        try:
            tree = read_trees(self._folders, exact=True)
        except OSError as error:
            raise FilesBusy(f"the files cannot be read: {error.strerror}") from error
        self._count += 1
        self._saved[self._count] = tree
        return (self._count,)

    def restore(self, chain: Chain) -> None:
        """See `Layers.restore`."""
        put_trees(self._folders, self._saved[chain[0]])

    def retain(self, chains: Collection[Chain]) -> None:
        """See `Layers.retain`."""
        needed = {one for chain in chains for one in chain}
        for one in [one for one in self._saved if one not in needed]:
            del self._saved[one]

    def view(self, chain: Chain) -> str:
        """See `Layers.view`; not supported."""
        raise syscalls.SyscallError(f"a folder that shows saved files {chain}", errno.ENOTSUP)

    def nbytes(self, chain: Chain) -> int:
        """See `Layers.nbytes`."""
        return sum(len(data) for _, _, data in self._saved[chain[0]].values())


def read_trees(folders: Sequence[str], *, exact: bool = False) -> Tree:
    """All folders, regular files, links, pipes and names of sockets below some folders.

    Args:
        folders: the folders.
        exact: refuse files of which an entry does not contain everything.

    Raises:
        FilesBusy: if a file has several hard links or extended attributes, and `exact` is set.
        OSError: if a path cannot be read, for example because it exceeds the kernel's limit.
    """
    found: Tree = {}
    waiting = list(folders)
    while waiting:
        folder = waiting.pop()
        with _readable(folder):
            for one in sorted(os.scandir(folder), key=lambda one: one.name):
                status = one.stat(follow_symlinks=False)
                data = b""
                if exact:
                    _refuse_inexact(one.path, status)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(one.path)
                elif stat.S_ISLNK(status.st_mode):
                    data = os.fsencode(os.readlink(one.path))
                elif stat.S_ISREG(status.st_mode):
                    data = _content(one.path)
                found[one.path] = status.st_mode, status.st_mtime_ns, data
    return found


def _refuse_inexact(path: str, status: os.stat_result) -> None:
    what = ""
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        what = "several hard links"
    elif os.listxattr(path, follow_symlinks=False):
        what = "extended attributes"
    if what:
        raise FilesBusy(f"the file {path!r} has {what}, which no snapshot can hold; remove them")


def put_trees(folders: Sequence[str], tree: Mapping[str, Entry]) -> None:
    """Restore the content of some folders; files that exist keep their identity."""
    for folder in folders:
        _clear(folder, tree)
    for path, (mode, _, data) in tree.items():
        _make(path, mode, data)
    for path, (mode, changed, _) in reversed(list(tree.items())):
        if not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode))
        os.utime(path, ns=(changed, changed), follow_symlinks=False)


def pack_tree(tree: Mapping[str, Entry]) -> bytes:
    """Encode a tree as bytes."""
    heads = [(path, mode, time, len(data)) for path, (mode, time, data) in tree.items()]
    text = json.dumps(heads).encode()
    return b"".join([_SIZE.pack(len(text)), text, *(data for _, _, data in tree.values())])


def unpack_tree(data: bytes) -> Tree:
    """Decode a tree encoded by `pack_tree`."""
    (size,) = _SIZE.unpack_from(data)
    at = _SIZE.size + size
    tree: Tree = {}
    for path, mode, time, length in json.loads(data[_SIZE.size : at]):
        tree[path] = mode, time, data[at : at + length]
        at += length
    return tree


def _clear(top: str, tree: Mapping[str, Entry]) -> None:
    """Remove what is not in the tree or has another type there."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        os.chmod(folder, stat.S_IMODE(os.lstat(folder).st_mode) | _OWN)
        for one in list(os.scandir(folder)):
            mode = one.stat(follow_symlinks=False).st_mode
            wanted = tree.get(one.path)
            same = wanted is not None and stat.S_IFMT(wanted[0]) == stat.S_IFMT(mode)
            if stat.S_ISDIR(mode) and same:
                waiting.append(one.path)
            elif stat.S_ISDIR(mode):
                os.chmod(one.path, _OWN)
                empty_tree(one.path)
                os.rmdir(one.path)
            elif not same or stat.S_ISLNK(mode):
                os.unlink(one.path)


def _make(path: str, mode: int, data: bytes) -> None:
    if stat.S_ISDIR(mode):
        if not os.path.isdir(path):
            os.mkdir(path)
        os.chmod(path, _OWN)
    elif stat.S_ISLNK(mode):
        os.symlink(os.fsdecode(data), path)
    elif stat.S_ISFIFO(mode):
        if not os.path.lexists(path):
            os.mkfifo(path)
    elif stat.S_ISSOCK(mode):
        if not os.path.lexists(path):
            os.mknod(path, mode)
    elif not os.path.lexists(path) or _content(path) != data:
        if os.path.lexists(path):
            os.chmod(path, _OWN)
        with open(path, "wb") as file:
            file.write(data)


def _content(path: str) -> bytes:
    with _readable(path), open(path, "rb") as file:
        return file.read()


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Make an own path readable for the duration of the context."""
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    if mode & _OWN == _OWN or (mode & 0o400 and not os.path.isdir(path)):
        yield
        return
    changed = os.stat(path).st_mtime_ns
    os.chmod(path, mode | _OWN)
    try:
        yield
    finally:
        os.chmod(path, mode)
        os.utime(path, ns=(changed, changed))
