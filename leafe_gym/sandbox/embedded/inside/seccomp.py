"""Seccomp filter: the system calls that code in the sandbox may not make.

It refuses calls that need privileges, that reach kernel subsystems with a long history of
vulnerabilities, or that allocate memory that no limit counts. Calls newer than this list are
refused, too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from functools import cache

from leafe_gym.sandbox.embedded.inside.syscalls import (
    PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER,
    prctl,
)

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST = 452

# name: (x86_64, aarch64); None if the architecture has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "create_module": (174, None), "init_module": (175, 105), "delete_module": (176, 106),
    "finit_module": (313, 273), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    "lookup_dcookie": (212, 18), "personality": (135, 92), "vhangup": (153, 58),
    "nfsservctl": (180, 42), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # Memory that is not attributed to any process.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "io_setup": (206, 0),
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446), "seccomp": (317, 277),
    "setrlimit": (160, 164),
}  # fmt: skip

_CLONE, _CLONE3, _SOCKET, _IOCTL, _PRLIMIT, _KILL, _MMAP, _FCNTL, _MADVISE, _PRCTL = range(10)
_CHECKED = {
    "x86_64": (56, 435, 41, 16, 302, 62, 9, 72, 28, 157),
    "aarch64": (220, 435, 198, 29, 261, 129, 222, 25, 233, 167),
}
# A process may change its own priority and scheduling only, not those of saved copies of itself:
# setpriority, ioprio_set; sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr.
_PRIORITY = {"x86_64": 141, "aarch64": 140}
_IOPRIO = {"x86_64": 251, "aarch64": 30}
_SCHEDULING = {"x86_64": (142, 144, 203, 314), "aarch64": (118, 119, 122, 274)}
_SHARED, _ANONYMOUS, _LARGE_PAGES, _SET_PIPE_SIZE = 1, 0x20, 0x40000, 1031
_NOTIFY = 1026  # a watch on a folder, which a saved copy would lack
_LOST_AT_FORK = (10, 18)  # MADV_DONTFORK, MADV_WIPEONFORK
# kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_open: the target comes first.
_SIGNALS = {
    "x86_64": (62, 200, 234, 129, 297, 434),
    "aarch64": (129, 130, 131, 138, 240, 434),
}
_NAMESPACES = 0x7E020080
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_ARGUMENTS = 16


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value & 0xFFFFFFFF)


def _refuse(number: int = errno.EPERM) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _argument(index: int, high: bool = False) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * index + (4 if high else 0))


def _on(call: int, *steps: bytes) -> bytes:
    """Instructions for one call, followed by reloading the call's number."""
    return _step(_EQUAL, call, 0, len(steps) + 1) + b"".join(steps) + _step(_LOAD, 0)


def _own_only(call: int, kind: int) -> bytes:
    """Refuses a call of (kind, number, ...), but for this kind and number 0: the caller itself."""
    return _on(
        call,
        _argument(0),
        _step(_EQUAL, kind, 0, 2),
        _argument(1),
        _step(_EQUAL, 0, 1, 0),
        _refuse(),
    )


def _checks(machine: str) -> list[bytes]:
    """Instructions for the calls that some arguments are refused of."""
    checked = _CHECKED[machine]
    return [
        _on(checked[_CLONE], _argument(0), _step(_ANY_BIT, _NAMESPACES, 0, 1), _refuse()),
        _on(
            checked[_SOCKET],
            _argument(0),
            *(_step(_EQUAL, one, len(_FAMILIES) - n) for n, one in enumerate(_FAMILIES)),
            _refuse(errno.EAFNOSUPPORT),
        ),
        _on(
            checked[_IOCTL],
            _argument(1),
            _step(_EQUAL, _TIOCSTI, 1, 0),
            _step(_EQUAL, _TIOCLINUX, 0, 1),
            _refuse(),
        ),
        _on(
            checked[_PRLIMIT],  # reading is allowed, a pointer to new limits is not
            _argument(2),
            _step(_EQUAL, 0, 0, 2),
            _argument(2, high=True),
            _step(_EQUAL, 0, 1, 0),
            _refuse(),
        ),
        _on(checked[_KILL], _argument(0), _step(_EQUAL, -1, 0, 1), _refuse()),
        _on(  # shared memory without a file, which no limit counts
            checked[_MMAP],
            _argument(3),
            _step(_ANY_BIT, _ANONYMOUS, 0, 2),
            _step(_ANY_BIT, _SHARED, 0, 1),
            _refuse(errno.ENOMEM),
        ),
        _on(  # no process shows these pages as its memory
            checked[_MMAP],
            _argument(3),
            _step(_ANY_BIT, _LARGE_PAGES, 0, 1),
            _refuse(errno.ENOMEM),
        ),
        _on(  # memory that a saved copy would lack
            checked[_MADVISE],
            _argument(2),
            *(_step(_EQUAL, one, 1 - n, n) for n, one in enumerate(_LOST_AT_FORK)),
            _refuse(errno.EINVAL),
        ),
        _on(
            checked[_FCNTL],
            _argument(1),
            _step(_EQUAL, _SET_PIPE_SIZE, 1, 0),
            _step(_EQUAL, _NOTIFY, 0, 1),
            _refuse(),
        ),
        _on(checked[_PRCTL], _argument(0), _step(_EQUAL, PR_SET_SECCOMP, 0, 1), _refuse()),
        _own_only(_PRIORITY[machine], 0),  # PRIO_PROCESS
        _own_only(_IOPRIO[machine], 1),  # IOPRIO_WHO_PROCESS
        *(
            _on(one, _argument(0), _step(_EQUAL, 0, 1, 0), _refuse())
            for one in _SCHEDULING[machine]
        ),
    ]


@cache
def program(machine: str, protected: tuple[int, ...] = ()) -> bytes:
    """The filter in the kernel's format.

    Args:
        machine: "x86_64" or "aarch64".
        protected: processes that must not receive signals, nor the groups that they lead.
    """
    column = list(_ARCH).index(machine)
    checked = _CHECKED[machine]
    steps = [
        _step(_LOAD, 4),
        _step(_EQUAL, _ARCH[machine], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, 0),
        _step(_GREATER, _NEWEST, 0, 1),
        _refuse(errno.ENOSYS),
    ]
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, 0, 1), _refuse()]
    # Without `clone3`, whose flags a filter cannot inspect, C libraries use `clone` for threads.
    steps += [_step(_EQUAL, checked[_CLONE3], 0, 1), _refuse(errno.ENOSYS)]
    steps += _checks(machine)
    for call in _SIGNALS[machine] if protected else ():
        for target in [one for pid in protected for one in (pid, -pid)]:
            steps.append(_on(call, _argument(0), _step(_EQUAL, target, 0, 1), _refuse()))
    steps.append(_step(_RETURN, _ALLOW))
    return b"".join(steps)


def install(protected: Sequence[int] = ()) -> None:
    """Install the filter for this process and all its children; it cannot be removed."""
    data = ctypes.create_string_buffer(program(os.uname().machine, tuple(protected)))
    length = (len(data) - 1) // 8
    head = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", length, ctypes.addressof(data)))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(head))
