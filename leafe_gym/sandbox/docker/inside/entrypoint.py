"""Starts the supervisor in a new container; it communicates over standard input and output."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

from leafe_gym.sandbox.docker.inside.container_supervisor import make_supervisor
from leafe_gym.sandbox.embedded.inside.wire import Channel, packed


class StdioChannel(Channel):
    """A channel over two pipes."""

    def __init__(self) -> None:
        self._in, self._out = 0, 1

    def send(
        self, message: dict[str, Any], blob: bytes = b"", *, fd: int = -1, seconds: float = 30.0
    ) -> None:
        """See `Channel.send`; has no time limit."""
        data = memoryview(packed(message, blob))
        while data:
            data = data[os.write(self._out, data) :]

    def fileno(self) -> int:
        """See `Channel.fileno`."""
        return self._in

    def _part(self, size: int, extras: bool, seconds: float | None) -> bytes:
        if seconds is not None and not select.select([self._in], [], [], seconds)[0]:
            raise TimeoutError(f"nothing for {seconds:g} s")
        return os.read(self._in, min(size, 2**20))


def main(settings: dict[str, Any]) -> None:
    """Handle requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    host = StdioChannel()
    supervisor = make_supervisor(settings, host)
    supervisor.serve()
    while True:  # the host program is gone; the container will be removed
        time.sleep(3600)
