"""Connection to a container's first process: its standard input and output, through the engine.

This needs no port, shared folder or socket of the host. The engine holds the connection, so no
connection exists inside the container when a checkpoint is taken.
"""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from leafe_gym.errors import SandboxError
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken
from leafe_gym.sandbox.supervisor_client import SupervisorClient

_START_S = 60.0
_FRAME = struct.Struct(">BxxxI")
_ERRORS = 2
_MOST_ERRORS = 4096
_PACKAGE = "leafe_gym.sandbox"
_EMPTY = ("leafe_gym", _PACKAGE, f"{_PACKAGE}.embedded", f"{_PACKAGE}.docker")
_INSIDE = (f"{_PACKAGE}.embedded.inside", f"{_PACKAGE}.docker.inside")

BOOT = """
import json, os, struct, sys
from importlib.machinery import ModuleSpec
def exactly(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part: sys.exit(3)
        data += part
    return data
given = json.loads(exactly(sum(struct.unpack("!II", exactly(8)))))
class _SentModules:
    def find_spec(self, name, path=None, target=None):
        if name in given["sources"]:
            return ModuleSpec(name, self, is_package=name in given["packages"])
    def create_module(self, spec): return None
    def exec_module(self, module):
        module.__file__ = f"<{module.__name__}>"
        text = given["sources"][module.__name__]
        exec(compile(text, module.__file__, "exec"), module.__dict__)
sys.meta_path.insert(0, _SentModules())
from leafe_gym.sandbox.docker.inside.entrypoint import main
del sys.meta_path[0]
main(dict(given["settings"], path=os.environ["PATH"]))
"""
"""Program with which the container's interpreter starts; it receives all other code."""


class AttachedChannel(Channel):
    """A channel to an attached container, whose output arrives in the engine's frames.

    Attributes:
        errors: the last part of its standard error.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(getattr(stream, "_sock", stream))
        self._stream = stream
        self.errors = b""
        self._left = 0

    def close(self) -> None:
        """See `Channel.close`; also closes the underlying HTTP response."""
        with suppress(AttributeError, OSError, ValueError):  # it is in use, or already closed
            self._stream._response.close()
        self._stream.close()
        super().close()

    def _part(self, size: int, extras: bool, seconds: float | None) -> bytes:
        deadline = time.monotonic() + (3600.0 if seconds is None else seconds)
        while not self._left:
            kind, length = _FRAME.unpack(self._raw(_FRAME.size, deadline, whole=True))
            if kind == _ERRORS:
                text = self._raw(length, deadline, whole=True)
                self.errors = (self.errors + text)[-_MOST_ERRORS:]
            else:
                self._left = length
        part = self._raw(min(size, self._left), deadline)
        self._left -= len(part)
        return part

    def _raw(self, size: int, deadline: float, *, whole: bool = False) -> bytes:
        data = b""
        while not data or (whole and len(data) < size):
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            part = self.sock.recv(min(size - len(data), 2**20))
            if not part:
                said = self.errors.decode("utf-8", "replace").splitlines()[-1:]
                raise OSError(": ".join(["the container or its engine ended", *said])[:300])
            data += part
        return data


class ContainerClient(SupervisorClient):
    """Sends requests to the supervisor in a container.

    Args:
        stream: attached to the container.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(AttachedChannel(stream))

    def boot(self, modules: dict[str, str], settings: dict[str, Any]) -> None:
        """Send the code of the supervisor and its settings.

        Args:
            modules: source text by module name.
            settings: see `ContainerSupervisor`.

        Raises:
            SandboxError: if the supervisor does not start.
        """
        packages = [*_EMPTY, *_INSIDE]
        given = {"sources": modules, "packages": packages, "settings": settings}
        try:
            self._channel.send(given)
            response, _ = self._channel.receive(_START_S, 4096)
        except ChannelBroken as error:
            self.close()
            raise SandboxError(
                f"the container's session does not start: {error}; its image needs Python 3.11 "
                "or newer as python3, with the standard library"
            ) from error
        if response.get("ready") is not True:
            raise SandboxError("the container's session sent a malformed response")


@cache
def sources() -> dict[str, str]:
    """Source text of the modules that run in a container, by module name."""
    found = dict.fromkeys(_EMPTY, "")
    for package in _INSIDE:
        folder = Path(__file__).parents[3].joinpath(*package.split("."))
        for file in folder.glob("*.py"):
            name = package if file.stem == "__init__" else f"{package}.{file.stem}"
            found[name] = file.read_text()
    return found
