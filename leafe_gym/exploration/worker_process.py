"""The main program of a worker process: a link over a socket that it inherited.

It ends when the driver says so, and when the driver is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from leafe_gym.exploration.worker_end import WorkerEnd

PATIENCE = 2.0
"""Seconds for environments to close once the driver is gone."""


def main(descriptor: int) -> None:
    """Serve the driver at the other end of an inherited socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends this
    os.dup2(2, 1)  # what an environment prints must not mix with the driver's output
    link = Connection(descriptor)
    sending = threading.Lock()

    def send(data: bytes) -> None:
        try:
            with sending:
                link.send_bytes(data)
        except OSError:  # the driver is gone; the reader below ends this process
            pass

    try:
        worker = WorkerEnd(link.recv_bytes(), send)
    except EOFError:
        return
    try:
        while worker.receive(link.recv_bytes()):
            pass
    except (EOFError, OSError):
        pass
    worker.close(PATIENCE)
    sys.stderr.flush()
    os._exit(0)  # threads of environments may hang
