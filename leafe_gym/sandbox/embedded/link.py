"""The host program's side of a sandbox: starting it, asking it, ending it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from leafe_gym.errors import SandboxError, SandboxUnavailable, SnapshotLost, UsageError
from leafe_gym.sandbox.embedded.inside.wire import Broken, Channel
from leafe_gym.sandbox.embedded.refusal import explain

_START_S = 30.0
_PACKAGES = ("leafe_gym", "leafe_gym.sandbox", "leafe_gym.sandbox.embedded")
_OWN = ("proc", "dev", "tmp")
_ROOT = Path(__file__).resolve().parents[3]

# The packages as empty shells, so that nothing but what runs inside is imported.
_SHELLS = f"""
import sys, types
for name in {_PACKAGES!r}:
    shell = sys.modules[name] = types.ModuleType(name)
    shell.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from leafe_gym.sandbox.embedded.inside.main import main
main(sys.argv[2:])
"""


@cache
def interpreter() -> Path:
    """The interpreter that this one was made from, outside any virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_exec_prefix) / "bin" / name
    return own if own.is_file() else Path(sys.executable).resolve()


class Link:
    """A running sandbox.

    Args:
        settings: see `Supervisor`; `folders` is what of the host is shown beside the system.

    Raises:
        SandboxUnavailable: if this host refuses something it needs.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._lock = threading.Lock()
        owner = os.pidfd_open(os.getpid())
        python = interpreter()
        given = dict(settings, path=f"{python.parent}:/usr/local/bin:/usr/bin:/bin")
        given["folders"] = [sys.base_prefix, sys.base_exec_prefix, *settings["folders"]]
        command = [str(python), "-s", "-S", "-P", "-c", _SHELLS, str(_ROOT), json.dumps(given)]
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
        except Broken as error:
            self.close()
            raise SandboxUnavailable(explain(f"start ({error})", 0)) from error
        if "failed" in told:
            self.close()
            raise SandboxUnavailable(explain(str(told["failed"]), int(told["errno"])))
        self.files = str(told["files"])

    def ask(
        self, what: str, blob: bytes = b"", *, seconds: float = 60.0, **order: Any
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Have something done.

        Args:
            what: a request of `Supervisor`.
            blob: bytes that go with it.
            seconds: after which the sandbox is given up.
            order: the request's arguments.

        Raises:
            SandboxError: if it cannot be done, or the sandbox is gone.
            SnapshotLost: if a snapshot is gone for good.
            UsageError: if a path leads out of the work folder.
            FileNotFoundError: if there is no such file.
        """
        with self._lock:
            try:
                self._channel.send({"do": what, **order}, blob)
                answer, data = self._channel.receive(seconds)
            except Broken as error:
                self.close()
                raise SandboxError(f"the sandbox is gone: {error}") from error
        if "failed" in answer:
            raise _error(str(answer["failed"]), str(answer.get("text")))
        parts, start = [], 0
        for size in answer["sizes"]:
            parts.append(data[start : start + size])
            start += size
        return answer, parts

    @property
    def pid(self) -> int | None:
        """The process that the sandbox ends with; None once it has."""
        return self._child.pid if self._child.poll() is None else None

    def close(self) -> None:
        """End all its processes; again does nothing."""
        self._channel.close()
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            self._child.wait()


class Gone(SandboxError):
    """A saved state lost its process; it can be made again."""


class Dead(SandboxError):
    """The session's interpreter was ended from outside; it can be made again."""


def _error(kind: str, text: str) -> Exception:
    kinds: dict[str, type[Exception]] = {
        "usage": UsageError,
        "absent": FileNotFoundError,
        "lost": SnapshotLost,
        "gone": Gone,
        "dead": Dead,
    }
    return kinds.get(kind, SandboxError)(text)


def shown(folders: Sequence[str | Path]) -> list[str]:
    """Folders of the host that code may read, checked.

    Raises:
        UsageError: if one is no folder, or lies where the sandbox has something of its own.
    """
    real = [Path(one).resolve() for one in folders]
    for one in real:
        if not one.is_dir():
            raise UsageError(f"readable: {one} is no folder")
        if one == Path("/") or one.parts[1] in _OWN:
            raise UsageError(f"readable: /{'/'.join(one.parts[1:2])} in the sandbox is its own")
    return [str(one) for one in real]
