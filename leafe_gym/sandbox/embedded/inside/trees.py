"""Reads, copies, compares and removes folder trees of any depth and with any names.

Paths longer than the kernel accepts cannot be opened, and deep recursion ends the interpreter, so a
`Cursor` moves one level at a time and keeps one descriptor. Links are never followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PART = 2**20
_OWN = 0o700


class Cursor:
    """A position in a tree that nothing else changes.

    Args:
        top: the tree's folder.

    Attributes:
        fd: descriptor of the current folder.
        names: names from the top to the current folder.
    """

    def __init__(self, top: str) -> None:
        self.fd = os.open(top, _FOLDER)
        self.names: list[str] = []
        self._pending = [self._listed()]

    def next(self) -> str | None:
        """The next name of the current folder; None after the last one."""
        return self._pending[-1].pop() if self._pending[-1] else None

    def status(self, name: str) -> os.stat_result:
        """Status of an entry of the current folder."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def enter(self, name: str) -> None:
        """Enter a folder of the current folder."""
        self._move(name)
        self.names.append(name)
        self._pending.append(self._listed())

    def leave(self) -> str:
        """Return to the parent folder; the name of the one left, "" at the top, which closes it."""
        if not self.names:
            os.close(self.fd)
            return ""
        self._move("..")
        self._pending.pop()
        return self.names.pop()

    def path(self, name: str) -> str:
        """Path of an entry of the current folder, relative to the top."""
        return "/".join([*self.names, name])

    def _move(self, name: str) -> None:
        inner = os.open(name, _FOLDER, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = inner

    def _listed(self) -> list[str]:
        return sorted(os.listdir(self.fd), reverse=True)


def copy_tree(source: str, target: str) -> None:
    """Copy a folder's content into another one, with times, modes and attributes."""
    here, there = Cursor(source), Cursor(target)
    while True:
        if (name := here.next()) is None:
            status = os.fstat(here.fd)
            if here.names:
                _copy_attributes(here.fd, there.fd, status)
            there.leave()
            if not here.leave():
                return
            continue
        status = here.status(name)
        if stat.S_ISDIR(status.st_mode):
            with suppress(FileExistsError):
                os.mkdir(name, _OWN, dir_fd=there.fd)
            here.enter(name)
            there.enter(name)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=here.fd), name, dir_fd=there.fd)
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=there.fd, follow_symlinks=False)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(name, here.fd, there.fd, status)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, stat.S_IMODE(status.st_mode), dir_fd=there.fd)
        elif stat.S_ISSOCK(status.st_mode):  # the name that a socket was bound to
            os.mknod(name, status.st_mode, dir_fd=there.fd)


def difference(one: str, other: str) -> str:
    """First path at which two folders differ in kind, mode or content; "" if they are equal."""
    first, second = Cursor(one), Cursor(other)
    try:
        while True:
            name, counterpart = first.next(), second.next()
            if name != counterpart:
                return first.path(min(filter(None, (name, counterpart))))
            if name is None:
                if not first.names:
                    return ""
                first.leave()
                second.leave()
                continue
            modes = first.status(name).st_mode, second.status(name).st_mode
            if modes[0] != modes[1]:
                return first.path(name)
            if stat.S_ISDIR(modes[0]):
                first.enter(name)
                second.enter(name)
            elif _content(first.fd, name, modes[0]) != _content(second.fd, name, modes[0]):
                return first.path(name)
    finally:
        os.close(first.fd)
        os.close(second.fd)


def digest(folder: str) -> str:
    """Digest of the names, kinds, modes and contents below a folder."""
    total = hashlib.blake2b(digest_size=16)
    at = Cursor(folder)
    while True:
        if (name := at.next()) is None:
            total.update(b"<")
            if not at.leave():
                return total.hexdigest()
            continue
        mode = at.status(name).st_mode
        content = b"" if stat.S_ISDIR(mode) else _content(at.fd, name, mode)
        total.update(repr((os.fsencode(name), mode, content)).encode())
        if stat.S_ISDIR(mode):
            at.enter(name)


def linked_file(folder: str) -> str:
    """First path of a file below a folder that has several names; "" if there is none."""
    at = Cursor(folder)
    while True:
        if (name := at.next()) is None:
            if not at.leave():
                return ""
            continue
        status = at.status(name)
        if stat.S_ISDIR(status.st_mode):
            at.enter(name)
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            os.close(at.fd)
            return at.path(name)


def empty_tree(top: str) -> None:
    """Remove everything below a folder, whatever its depth and modes."""
    at = Cursor(top)
    while True:
        if (name := at.next()) is None:
            if not (left := at.leave()):
                return
            os.rmdir(left, dir_fd=at.fd)
        elif stat.S_ISDIR(at.status(name).st_mode):
            os.chmod(name, _OWN, dir_fd=at.fd)
            at.enter(name)
        else:
            os.unlink(name, dir_fd=at.fd)


def _content(folder: int, name: str, mode: int) -> bytes:
    """A link's target or a digest of a file's content; b"" for other kinds."""
    if stat.S_ISLNK(mode):
        return os.fsencode(os.readlink(name, dir_fd=folder))
    if not stat.S_ISREG(mode):
        return b""
    with open(os.open(name, os.O_RDONLY | _FILE, dir_fd=folder), "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _copy_file(name: str, source: int, target: int, status: os.stat_result) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FILE
    with (
        open(os.open(name, os.O_RDONLY | _FILE, dir_fd=source), "rb", buffering=0) as here,
        open(os.open(name, flags, 0o600, dir_fd=target), "wb", buffering=0) as there,
    ):
        _copy_data(here.fileno(), there.fileno(), status.st_size)
        _copy_attributes(here.fileno(), there.fileno(), status)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy a file's content; its holes stay holes, which need no space."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            at += os.pwrite(target, os.pread(source, min(end - at, _PART), at), at)
    os.truncate(target, size)


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    with suppress(OSError):  # a file system without extended attributes
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
