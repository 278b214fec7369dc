"""Explains why a host cannot run the embedded sandbox, and what to change."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

NEEDS = (5, 14)
"""Oldest supported kernel: from this version on, process limits count per user namespace."""

_ANYWAY = "to run code with your own rights instead, pass allow_unsandboxed=True"
_SETTINGS = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("user/max_pid_namespaces", "0", "sysctl user.max_pid_namespaces=10000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for Python "
        "with the rule 'userns,'",
    ),
)


def unsupported() -> str:
    """Why this system cannot run it whatever its settings; "" if no such reason is known."""
    if not hasattr(os, "pidfd_open") or platform.system() != "Linux":
        return f"the embedded sandbox needs Linux, this is {platform.system()}; {_ANYWAY}"
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"the embedded sandbox has no system-call filter for {platform.machine()}; {_ANYWAY}"
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < NEEDS:
        wanted = ".".join(map(str, NEEDS))
        return f"the embedded sandbox needs Linux {wanted} or newer, this is {release}; {_ANYWAY}"
    return ""


def explain(what: str, number: int, proc: Path = Path("/proc")) -> str:
    """What the host refused, the likely cause, and the remedy.

    Args:
        what: the step that failed.
        number: its errno; 0 if there was none.
        proc: mount point of /proc.
    """
    said = f": {os.strerror(number)}" if number else ""
    advice = [
        f"{name.replace('/', '.')} is {value}: {todo}"
        for name, value, todo in _SETTINGS
        if _read(proc / "sys" / name) == value
    ]
    if not advice and "proc" in what:
        advice.append(
            "an outer container hides parts of /proc: start it with systempaths=unconfined"
        )
    if not advice and number in (errno.EPERM, errno.EACCES, errno.ENOSYS) and _filtered(proc):
        advice.append(
            "this process has a system-call filter, as in a container: start the container with "
            "--security-opt seccomp=unconfined, or with a profile that allows unshare, mount and "
            "pivot_root"
        )
    if not advice and number == errno.ENOSPC:
        advice.append("the limits user.max_*_namespaces are reached: raise them")

    if not advice:
        advice.append("allow namespaces to ordinary users, or use another sandbox")
    return f"this host refuses the embedded sandbox ({what}{said}). {'; '.join(advice)}; {_ANYWAY}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _filtered(proc: Path) -> bool:
    lines = _read(proc / "self" / "status").splitlines()
    return any(line.split() == ["Seccomp:", "2"] for line in lines)
