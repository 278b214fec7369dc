"""Turns a new process into the first process of a sandbox.

An unprivileged user becomes the owner of new namespaces. Root first changes to an unused user id,
because process limits do not apply to root, and continues as an unprivileged user.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from leafe_gym.sandbox.embedded.inside import jail, syscalls
from leafe_gym.sandbox.embedded.inside.layers import make_layers
from leafe_gym.sandbox.embedded.inside.program_cgroup import ProgramCgroup
from leafe_gym.sandbox.embedded.inside.programs import ENVIRON, NamespacedContext
from leafe_gym.sandbox.embedded.inside.session_manager import SessionManager
from leafe_gym.sandbox.embedded.inside.supervisor import Supervisor
from leafe_gym.sandbox.embedded.inside.template import ProgramTemplate, TemplateFailed
from leafe_gym.sandbox.embedded.inside.wire import Channel

_INSIDE = 1000
_SETTINGS_S = 30.0
_NOBODYS = 0x70000000


def main(arguments: list[str]) -> None:
    """Start the sandbox.

    Args:
        arguments: descriptor of the socket to the host program, which sends the settings, and
            pidfd of the host program's process. The command line is visible to code.
    """
    host = Channel(socket.socket(fileno=int(arguments[0])))
    owner = int(arguments[1])
    settings, _ = host.receive(_SETTINGS_S)
    try:
        parts = None
        if os.geteuid() == 0:
            parts = jail.HostPaths(settings["folders"])
            soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
            with suppress(OSError, ValueError):  # programs may raise theirs up to this
                resource.setrlimit(resource.RLIMIT_STACK, (soft, resource.RLIM_INFINITY))
            _become_nobody()
        user, group = os.geteuid(), os.getegid()
        syscalls.unshare(syscalls.NEWUSER, "new user namespace")
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        _map("setgroups", "deny")
        _map("uid_map", f"{_INSIDE} {user} 1")
        _map("gid_map", f"{_INSIDE} {group} 1")
        flags = (
            syscalls.NEWNS | syscalls.NEWPID | syscalls.NEWNET | syscalls.NEWIPC | syscalls.NEWUTS
        )
        syscalls.unshare(flags | syscalls.NEWCGROUP, "new namespaces")
        _limit_watches()
        parts = parts or jail.HostPaths(settings["folders"])
        first = os.fork()
        if not first:
            _first(settings, host, owner, parts)
    except OSError as error:
        _report_failure(host, error)
        os._exit(1)
    host.close()
    _watch(first, owner)


_WATCHES = {"max_inotify_instances": 4, "max_inotify_watches": 4096}
"""Each instance holds up to 8 MB of events, which no process shows."""


def _limit_watches() -> None:
    """Leave the host's user most of the watches on files, and bound the memory of their events."""
    for name, most in _WATCHES.items():
        with suppress(OSError), open(f"/proc/sys/user/{name}", "w") as file:
            file.write(str(most))


def _become_nobody() -> None:
    user = _unused_id()
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as error:
        raise syscalls.SyscallError(f"becoming user {user}", error.errno or 0) from error
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def _unused_id() -> int:
    """A user id that no user has and, as it is derived from the process id, no other sandbox."""
    with open("/proc/self/uid_map") as file:
        spans = [tuple(map(int, line.split())) for line in file]
    wanted = _NOBODYS + os.getpid()
    if any(first <= wanted < first + count for first, _, count in spans):
        return wanted
    first, _, count = max(spans, key=lambda span: span[2])
    half = max(1, count // 2)
    return first + half + os.getpid() % half


def _map(name: str, text: str) -> None:
    try:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    except OSError as error:
        raise syscalls.SyscallError(f"writing {name}", error.errno or 0) from error


def _first(settings: dict[str, Any], host: Channel, owner: int, parts: jail.HostPaths) -> None:
    """Run the first process; all processes in the namespaces end with it."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.umask(0o022)
        syscalls.sethostname(b"box")
        jail.enter(parts)
        if settings["python_path"]:
            ENVIRON["PYTHONPATH"] = settings["python_path"]
        os.environ.update(ENVIRON, PATH=settings["path"])
        layers = make_layers(settings["disk_mb"], settings["files"])
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        context = NamespacedContext(settings["path"], own, ProgramCgroup(settings["cgroup"]))
        template = _template(settings["prepared"], context)
        session = SessionManager(settings, owner, layers)
        supervisor = Supervisor(host, owner, session, context, template)
    except OSError as error:
        _report_failure(host, error)
        os._exit(1)
    supervisor.serve()
    os._exit(0)


def _template(source: str, context: NamespacedContext) -> ProgramTemplate | None:
    """The template for programs with this source; None if there is none, or it fails."""
    with suppress(TemplateFailed):
        return ProgramTemplate(source, context) if source else None
    return None


def _report_failure(host: Channel, error: OSError) -> None:
    what = getattr(error, "what", error.filename or "start")
    host.send({"failed": str(what), "errno": error.errno or 0})


def _watch(first: int, owner: int) -> None:
    """Kill the sandbox when the host program ends; exit when the sandbox ends."""
    child = os.pidfd_open(first)
    waiting = select.poll()
    waiting.register(child, select.POLLIN)
    waiting.register(owner, select.POLLIN)
    waiting.poll()
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
