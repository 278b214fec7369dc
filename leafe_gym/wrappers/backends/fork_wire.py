"""Messages between a program and the processes that run environments for it.

A message is eight bytes of length and a pickle, over a unix stream socket. Both ends belong to this
package and to the same user, so a pickle is as safe as the program itself. File descriptors are
sent with a byte of their own, right after the message that announces them.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import time
from typing import Any

import cloudpickle

from leafe_gym.errors import BackendError

MAX_BYTES = 256 * 2**20
"""Longest message; an outcome beyond this is a fault, not an observation."""

_HEAD = struct.Struct(">Q")


class ConnectionClosed(EOFError):
    """The other end has closed the connection, or its process ended."""


class Unreadable(Exception):
    """A whole message arrived, but an object in it cannot be loaded in this process."""


def send(sock: socket.socket, value: Any, seconds: float | None = None) -> None:
    """Send one message.

    Args:
        sock: to the other end.
        value: anything pickle or cloudpickle can write.
        seconds: give up after so many; None to wait for ever.

    Raises:
        BackendError: if it is longer than `MAX_BYTES`.
        ConnectionClosed: if the other end is closed.
        TimeoutError: if the other end did not take it in time.
    """
    data = _dump(value)
    if len(data) > MAX_BYTES:
        raise BackendError(
            f"a message of {len(data)} bytes to or from the environment's process is longer than "
            f"{MAX_BYTES} allowed; make observations and infos smaller"
        )
    sock.settimeout(seconds)
    try:
        sock.sendall(_HEAD.pack(len(data)) + data)
    except (BrokenPipeError, ConnectionError) as error:
        raise ConnectionClosed(str(error)) from error


def _dump(value: Any) -> bytes:
    try:
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - lambdas and local classes; cloudpickle's own error counts
        return bytes(cloudpickle.dumps(value))
    # The program's own script is another module at the other end: cloudpickle sends its classes.
    return bytes(cloudpickle.dumps(value)) if b"__main__" in data else data


def receive(sock: socket.socket, seconds: float | None = None) -> Any:
    """The next message, whole within `seconds` (None: no deadline).

    Raises:
        BackendError: if it announces more than `MAX_BYTES`.
        ConnectionClosed: if the connection ends before it is complete.
        TimeoutError: if it is not complete in time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    (length,) = _HEAD.unpack(_read(sock, _HEAD.size, deadline))
    if length > MAX_BYTES:
        raise BackendError(
            f"the environment's process announced a message of {length} bytes; at most "
            f"{MAX_BYTES} are allowed"
        )
    data = _read(sock, length, deadline)
    try:
        return pickle.loads(data)
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def _read(sock: socket.socket, length: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        try:
            part = sock.recv(min(length - len(parts), 2**20))
        except ConnectionError as error:
            raise ConnectionClosed(str(error)) from error
        if not part:
            raise ConnectionClosed("end of stream")
        parts += part
    return bytes(parts)


def send_socket(sock: socket.socket, passed: socket.socket) -> None:
    """Send a connection; `passed` stays open in this process until its owner closes it.

    Raises:
        ConnectionClosed: if the other end is closed.
    """
    try:
        socket.send_fds(sock, [b"f"], [passed.fileno()])
    except (BrokenPipeError, ConnectionError) as error:
        raise ConnectionClosed(str(error)) from error


def receive_socket(sock: socket.socket) -> socket.socket:
    """The connection sent by `send_socket`.

    Raises:
        ConnectionClosed: if the other end went away in between.
    """
    sock.settimeout(None)
    _, passed, _, _ = socket.recv_fds(sock, 1, 1)
    if not passed:
        raise ConnectionClosed("no connection came")
    return socket.socket(fileno=passed[0])


def wait_readable(sock: socket.socket, watched: int | None) -> bool:
    """Wait for a message; False if the process behind the descriptor `watched` ended first."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if watched is not None:
        poll.register(watched, select.POLLIN)
    found = {number for number, _ in poll.poll()}
    return sock.fileno() in found or watched not in found
