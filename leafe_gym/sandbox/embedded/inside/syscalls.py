"""System calls that Python does not provide; errors name the call."""

from __future__ import annotations

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_HOLDING_GIL = ctypes.PyDLL(None, use_errno=True)

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
SECCOMP_MODE_FILTER = 2

MS_REC, MS_PRIVATE = 0x4000, 0x40000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _CLOEXEC = 1, 0o2000000
_RESOLVE_BENEATH, _NO_SYMLINKS, _NO_MAGICLINKS, _NO_XDEV = 0x08, 0x04, 0x02, 0x01

# Equal on all architectures.
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MACHINES = tuple(_PIVOT_ROOT)


class SyscallError(OSError):
    """Raised when a system call failed; names it."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.what = what


def _done(what: str, result: int) -> int:
    if result < 0:
        raise SyscallError(what, ctypes.get_errno())
    return result


def syscall(what: str, number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; `what` describes it in the error."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _done(what, _LIBC.syscall(ctypes.c_long(number), *given))


def fork() -> int:
    """`fork(2)` without Python's handlers, for a process of one thread.

    With `os.fork`, handlers run in the copy: those of the standard library seed `random` anew and
    replace locks, and code can register its own. The copy of a session must not differ from it.
    """
    return _done("fork", _HOLDING_GIL.fork())


def prctl(option: int, *arguments: int) -> int:
    """`prctl(2)`; missing arguments are 0."""
    given = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    return _done(f"prctl {option}", _LIBC.prctl(option, *given))


def adopts_orphans() -> bool:
    """Whether orphaned descendants become children of this process."""
    found = ctypes.c_int()
    prctl(PR_GET_CHILD_SUBREAPER, ctypes.addressof(found))
    return bool(found.value)


def unshare(flags: int, what: str) -> None:
    """Create namespaces for this process; a process namespace applies to its children."""
    _done(what, _LIBC.unshare(ctypes.c_int(flags)))


def setns(descriptor: int, kind: int) -> None:
    """Enter a namespace."""
    _done("setns", _LIBC.setns(descriptor, kind))


def sethostname(name: bytes) -> None:
    """Set the host name in the current namespace."""
    _done("sethostname", _LIBC.sethostname(name, ctypes.c_size_t(len(name))))


def capset_none() -> None:
    """Drop all capabilities."""
    header, data = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _done("capset", _LIBC.capset(header, data))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """`mount(2)`."""
    names = [one.encode() for one in (source, target, kind)]
    result = _LIBC.mount(*names, ctypes.c_ulong(flags), data.encode())
    _done(f"mount of {kind or 'propagation'} on {target}", result)


def unmount(target: str) -> None:
    """Unmount lazily: the mount disappears now and is freed when it is no longer used."""
    _done(f"umount of {target}", _LIBC.umount2(target.encode(), MNT_DETACH))


def open_tree(path: str) -> int:
    """Clone the mount at a path without attaching it; returns a descriptor."""
    flags = _OPEN_TREE_CLONE | _CLOEXEC | _AT_RECURSIVE
    return syscall(f"open_tree of {path}", _OPEN_TREE, _AT_FDCWD, path.encode(), flags)


def move_mount(tree: int, target: str, attributes: int) -> None:
    """Attach a mount cloned by `open_tree` at a path, with additional attributes."""
    given = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    syscall(f"attributes of {target}", _MOUNT_SETATTR, tree, b"", flags, given, len(given))
    syscall(f"mount of {target}", _MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), 4)


def make_read_only(target: str, closed: bool = True) -> None:
    """Make a mount read-only; fails with EBUSY while a file in it is open for writing.

    Args:
        target: the mount point.
        closed: False to make it writable again.
    """
    given = struct.pack("=QQQQ", *((ATTR_RDONLY, 0) if closed else (0, ATTR_RDONLY)), 0, 0)
    syscall(f"read-only {target}", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), 0, given, len(given))


def pivot_root(new: str, old: str) -> None:
    """Replace the root folder of this mount namespace."""
    syscall("pivot_root", _PIVOT_ROOT[os.uname().machine], new.encode(), old.encode())


def open_beneath(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a file below a folder; no part of the path may be a symbolic link or a mount."""
    resolve = _RESOLVE_BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | _NO_XDEV
    how = struct.pack("=QQQ", flags | _CLOEXEC, mode, resolve)
    return syscall(f"open of {path!r}", _OPENAT2, folder, os.fsencode(path), how, len(how))
