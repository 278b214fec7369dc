"""Asking a supervisor, which may be hostile: bounded answers, and errors by their kind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from leafe_gym.errors import SandboxError, SnapshotLost, UsageError
from leafe_gym.sandbox.embedded.inside.wire import MAX_MESSAGE, Channel, ChannelBroken


class SupervisorClient:
    """Questions to a supervisor, one at a time.

    Args:
        channel: to it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()

    def ask(
        self,
        what: str,
        blob: bytes = b"",
        *,
        seconds: float = 60.0,
        most: int = MAX_MESSAGE,
        **order: Any,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Have something done.

        Args:
            what: a request of `Supervisor`.
            blob: bytes that go with it.
            seconds: after which the sandbox is given up.
            most: bytes of the largest answer that is taken.
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
                answer, data = self._channel.receive(seconds, most)
            except ChannelBroken as error:
                self.close()
                raise SandboxError(f"the sandbox is gone: {error}") from error
        if "failed" in answer:
            raise _error(str(answer["failed"]), str(answer.get("text")))
        try:
            return answer, _parts(data, answer["sizes"])
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise SandboxError("the sandbox answered nonsense") from error

    def close(self) -> None:
        """Ask nothing any more."""
        self._channel.close()


def _parts(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return parts


class SnapshotProcessLost(SandboxError):
    """A saved state lost its process; it can be made again."""


class SessionDied(SandboxError):
    """The session's interpreter was ended from outside; it can be made again."""


def _error(kind: str, text: str) -> Exception:
    kinds: dict[str, type[Exception]] = {
        "usage": UsageError,
        "absent": FileNotFoundError,
        "lost": SnapshotLost,
        "gone": SnapshotProcessLost,
        "dead": SessionDied,
    }
    return kinds.get(kind, SandboxError)(text)
