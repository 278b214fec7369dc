"""The processes of a session and of its saved states, as the supervisor sees them."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass

from leafe_gym.sandbox.embedded.inside.layers import Chain
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken

_DIGEST_S = 5.0
_SEND_S = 5.0
_MAX_UNSOLICITED = 8
"""Unsolicited messages accepted from a paused process; it sends one, its digest."""

_MAX_MESSAGE = 4096


@dataclass(slots=True)
class SessionProcess:
    """Process of the live session or of a saved state.

    Attributes:
        pid: its process id.
        channel: connection to it.
        socket: inode of its end of the connection.
        digest: of its variables; "" until it was sent.
        mark: what it computed from its state when it was forked, to compare copies with.
    """

    pid: int
    channel: Channel
    socket: int
    digest: str = ""
    mark: str = ""

    def go(self) -> None:
        """Let it run, whatever has stopped it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.channel.close()

    def is_alive(self) -> bool:
        """Whether it is alive; also receives its unsolicited messages, such as its digest."""
        try:
            for _ in range(_MAX_UNSOLICITED):
                if not select.select([self.channel.sock], [], [], 0)[0]:
                    return True
                self._receive(1.0)
        except ChannelBroken:
            pass
        return False

    def await_digest(self, request: str = "") -> str:
        """The digest of its variables; "" if it does not send one.

        Args:
            request: sent to it before.
        """
        with suppress(ChannelBroken):
            if request:
                self.channel.send({"do": request}, seconds=_SEND_S)
            if not self.digest:
                self._receive(_DIGEST_S)
        return self.digest

    def _receive(self, seconds: float) -> None:
        message, _ = self.channel.receive(seconds, _MAX_MESSAGE)
        self.digest = self.digest or str(message.get("digest", ""))


@dataclass(slots=True)
class SessionSnapshot:
    """A saved state.

    Attributes:
        process: its paused process; None once that has died.
        chain: its files.
        mark: that each restored copy of the process must have.
        digest: of its variables; "" until it was sent.
        asked: the process has been asked for its digest.
    """

    process: SessionProcess | None
    chain: Chain
    mark: str
    digest: str = ""
    asked: bool = False

    def is_held(self) -> bool:
        """Whether its process is alive; also receives the digest."""
        if self.process is not None and not self.process.is_alive():
            self.discard()
        if self.process is None:
            return False
        self.digest = self.digest or self.process.digest
        return True

    def ask_digest(self) -> None:
        """Have the paused process compute its digest, once."""
        if self.process is not None and not self.digest and not self.asked:
            self.asked = True
            with suppress(ChannelBroken):
                self.process.channel.send({"do": "digest_paused"}, seconds=_SEND_S)

    def await_digest(self) -> str:
        """Digest of the variables; "" if the process died before it was complete."""
        if self.is_held() and self.process is not None and not self.digest:
            self.ask_digest()
            self.digest = self.process.await_digest()
        return self.digest

    def discard(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.end()
            self.process = None
