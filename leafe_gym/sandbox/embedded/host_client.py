"""The host program's side of a sandbox: starting it, asking it, ending it."""

from __future__ import annotations

import json
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
from leafe_gym.sandbox.supervisor_client import SupervisorClient

_START_S = 30.0
_PACKAGES = ("leafe_gym", "leafe_gym.sandbox", "leafe_gym.sandbox.embedded")
_RESERVED = ("proc", "dev", "tmp")
_ROOT = Path(__file__).resolve().parents[3]

# Empty packages, so that nothing but what runs inside is imported.
_BOOT = f"""
import sys, types
for name in {_PACKAGES!r}:
    shell = sys.modules[name] = types.ModuleType(name)
    shell.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from leafe_gym.sandbox.embedded.inside.bootstrap import main
main(sys.argv[2:])
"""


@cache
def interpreter() -> Path:
    """The interpreter that this one was made from, outside any virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_exec_prefix) / "bin" / name
    return own if own.is_file() else Path(sys.executable).resolve()


class HostClient(SupervisorClient):
    """A running sandbox.

    Args:
        settings: see `Supervisor`; `folders` is what of the host is readable_folders beside the system.

    Raises:
        SandboxUnavailable: if this host refuses something it needs.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(Channel(ours))
        owner = os.pidfd_open(os.getpid())
        python = interpreter()
        given = dict(settings, path=f"{python.parent}:/usr/local/bin:/usr/bin:/bin")
        given["folders"] = [sys.base_prefix, sys.base_exec_prefix, *settings["folders"]]
        command = [str(python), "-s", "-S", "-P", "-c", _BOOT, str(_ROOT), json.dumps(given)]
        try:
            self._child = subprocess.Popen(
                [*command, str(theirs.fileno()), str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                pass_fds=(theirs.fileno(), owner),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(owner)
        try:
            told, _ = self._channel.receive(_START_S)
        except ChannelBroken as error:
            self.close()
            raise SandboxUnavailable(explain(f"start ({error})", 0)) from error
        if "failed" in told:
            self.close()
            raise SandboxUnavailable(explain(str(told["failed"]), int(told["errno"])))
        self.files = str(told["files"])

    @property
    def pid(self) -> int | None:
        """The process that the sandbox ends with; None once it has."""
        return self._child.pid if self._child.poll() is None else None

    def close(self) -> None:
        """End all its processes; again does nothing."""
        super().close()
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            self._child.wait()


def readable_folders(folders: Sequence[str | Path]) -> list[str]:
    """Folders of the host that code may read, checked.

    Raises:
        UsageError: if one is no folder, or lies where the sandbox has something of its own.
    """
    real = [Path(one).resolve() for one in folders]
    for one in real:
        if not one.is_dir():
            raise UsageError(f"readable: {one} is no folder")
        if one == Path("/") or one.parts[1] in _RESERVED:
            raise UsageError(f"readable: /{'/'.join(one.parts[1:2])} in the sandbox is its own")
    return [str(one) for one in real]
