"""The host's side of an embedded sandbox: starting it, sending requests, ending it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from leafe_gym.errors import SandboxUnavailable, UsageError
from leafe_gym.sandbox.embedded.diagnose import explain
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken
from leafe_gym.sandbox.embedded.memory_cgroup import make_memory_cgroup
from leafe_gym.sandbox.supervisor_client import SupervisorClient

_START_S = 30.0
_PACKAGES = ("leafe_gym", "leafe_gym.sandbox", "leafe_gym.sandbox.embedded")
RESERVED = ("proc", "dev", "tmp")
"""Folders in the root of a sandbox that are its own, so that the host's cannot be seen there."""
_ROOT = Path(__file__).resolve().parents[3]

_ENVIRON = {
    "PYTHONHASHSEED": "0",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Registers the packages as empty modules, so that importing the code that runs inside does not
# run their `__init__` files. Their folder is sent, as code can read command line and environment.
_BOOT = f"""
import os, sys, types
top = os.fsdecode(os.read(0, 4096))
for name in {_PACKAGES!r}:
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [top + "/" + name.replace(".", "/")]
from leafe_gym.sandbox.embedded.inside.bootstrap import main
main(sys.argv[1:])
"""


@cache
def interpreter() -> Path:
    """The base interpreter of this one, outside any virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_exec_prefix) / "bin" / name
    return own if own.is_file() else Path(sys.executable).resolve()


class HostClient(SupervisorClient):
    """Starts a sandbox and holds the connection to its supervisor.

    Args:
        settings: see `Supervisor`; `folders` are the host's folders that code may read, in
            addition to the system's and the interpreter's.

    Raises:
        SandboxUnavailable: if the host does not permit what the sandbox needs.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(Channel(ours))
        owner = os.pidfd_open(os.getpid())
        python = interpreter()
        given = dict(settings, path=f"{python.parent}:/usr/local/bin:/usr/bin:/bin")
        given["folders"] = [sys.base_prefix, sys.base_exec_prefix, *settings["folders"]]
        self._cgroup = make_memory_cgroup()
        given["cgroup"] = fds = [*self._cgroup.fds] if self._cgroup else []
        command = [str(python), "-s", "-S", "-P", "-c", _BOOT]
        try:
            self._child = subprocess.Popen(
                [*command, str(theirs.fileno()), str(owner)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRON,
                pass_fds=(theirs.fileno(), owner, *fds),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(owner)
            if self._cgroup:
                self._cgroup.close_files()
        try:
            assert self._child.stdin is not None
            with suppress(BrokenPipeError), self._child.stdin as top:
                top.write(os.fsencode(_ROOT))
            self._channel.send(given)
            response, _ = self._channel.receive(_START_S)
        except ChannelBroken as error:
            self.close()
            raise SandboxUnavailable(explain(f"start ({error})", 0)) from error
        if "failed" in response:
            self.close()
            raise SandboxUnavailable(explain(str(response["failed"]), int(response["errno"])))
        self.files = str(response["files"])

    @property
    def pid(self) -> int | None:
        """Process id of the outermost process, which ends with the sandbox; None once it ended.

        After a fork, None in the child, which is not its parent.
        """
        if self._guard.foreign:
            return None
        return self._child.pid if self._child.poll() is None else None

    def close(self) -> None:
        """Kill all processes of the sandbox; after a fork only close the child's socket."""
        super().close()
        if self._guard.foreign:
            return
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            self._child.wait()
        if self._cgroup:
            self._cgroup.close()


def readable_folders(folders: Sequence[str | Path]) -> list[str]:
    """Absolute paths of the host's folders that code may read.

    Raises:
        UsageError: if one is not a folder, or its path is one that the sandbox uses itself.
    """
    if isinstance(folders, str) or not isinstance(folders, Sequence):
        raise UsageError(f"readable={folders!r}: expected a sequence of folders")
    if not all(isinstance(one, str | Path) for one in folders):
        raise UsageError(f"readable={folders!r}: expected paths")
    try:
        real = [Path(one).resolve() for one in folders]
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"readable={folders!r}: {error}") from error
    for one in real:
        if not one.is_dir():
            raise UsageError(f"readable: {one} is not a folder")
        if one == Path("/") or one.parts[1] in RESERVED:
            raise UsageError(
                f"readable: /{'/'.join(one.parts[1:2])} cannot be shared: the sandbox has its own"
            )
    return [str(one) for one in real]
