"""Calls into Java over a socket: the part of Py4J's protocol that a game needs.

Py4J's own client retries when the process is lost, logs to the root logger, and cleans up in
finalizers, which close the parent's connection in a forked child.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from typing import NamedTuple

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_BACK = {escaped: plain for plain, escaped in _ESCAPES.items()}
_PLAIN = re.compile(r"[\\\n\r]")
_ESCAPED = re.compile(r"\\[\\nr]")


class JavaRef(NamedTuple):
    """An object in Java; kept alive there until it is released."""

    id: str


JavaValue = str | int | float | bool | JavaRef | None


class JavaError(Exception):
    """An exception in Java."""


class Py4JClient:
    """A connection; not thread-safe.

    Args:
        port: of the server on this machine.
        token: authentication token.
        timeout: seconds after which a call fails.

    Raises:
        OSError: from every call, if the server is gone or does not answer.
    """

    def __init__(self, port: int, token: str, timeout: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._ask(f"A\n{token}\n")

    def call(self, target: JavaRef, method: str, *arguments: JavaValue) -> JavaValue:
        """Call a method of an object.

        Raises:
            JavaError: if it throws.
            OSError: see the class.
        """
        return self._call("c", target.id, method, arguments)

    def static(self, name: str, method: str, *arguments: JavaValue) -> JavaValue:
        """Call a static method of a class; raises as `call`."""
        return self._call("c", f"z:{name}", method, arguments)

    def new(self, name: str, *arguments: JavaValue) -> JavaRef:
        """A new object of a class; raises as `call`."""
        return as_ref(self._call("i", name, None, arguments))

    def forget(self, *things: JavaRef) -> None:
        """Release objects; raises as `call`."""
        for one in things:
            self._ask(f"m\nd\n{one.id}\ne\n")

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        with suppress(OSError):
            self._answers.close()
            self._socket.close()

    def disown(self) -> None:
        """In a forked child: close the shared socket without shutting down the connection."""
        os.close(self._socket.detach())

    def _call(
        self, verb: str, target: str, method: str | None, arguments: tuple[JavaValue, ...]
    ) -> JavaValue:
        parts = [verb, target, *([method] if method else []), *map(_encoded, arguments), "e"]
        return self._ask("\n".join(parts) + "\n")

    def _ask(self, command: str) -> JavaValue:
        self._socket.sendall(command.encode("utf-8"))
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        answer = line.decode("utf-8")[1:-1]
        value = _decoded(answer[1:])
        if answer[0] == "y":
            return value
        if isinstance(value, JavaRef):
            message = self.call(value, "toString")
            self.forget(value)
            raise JavaError(str(message))
        raise JavaError(str(value).partition("\n")[0])


def as_ref(value: JavaValue) -> JavaRef:
    """The value, which must be an object."""
    assert isinstance(value, JavaRef)
    return value


def _encoded(value: JavaValue) -> str:
    if value is None:
        return "n"
    if isinstance(value, JavaRef):
        return f"r{value.id}"
    if isinstance(value, bool):
        return f"b{value}"
    if isinstance(value, int):
        return f"{'i' if -(2**31) <= value < 2**31 else 'L'}{value}"
    if isinstance(value, float):
        return f"d{value!r}"
    return "s" + _PLAIN.sub(lambda found: _ESCAPES[found[0]], value)


def _decoded(text: str) -> JavaValue:
    kind, rest = text[:1], text[1:]
    if kind == "s":
        return _ESCAPED.sub(lambda found: _BACK[found[0]], rest)
    if kind in ("i", "L"):
        return int(rest)
    if kind == "d":
        return float(rest)
    if kind == "b":
        return rest.lower() == "true"
    if kind in ("", "n", "v"):
        return None
    return JavaRef(rest)
