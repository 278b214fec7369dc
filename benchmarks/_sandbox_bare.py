"""Baseline session: its snapshots are forked processes, without namespaces, files or filter.

It uses the same worker and messages as the embedded sandbox, without a supervisor in between.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from leafe_gym.sandbox.embedded.inside.wire import Channel

ROOT = Path(__file__).resolve().parent.parent
START = """
import socket, sys, types
for name in ("leafe_gym", "leafe_gym.sandbox", "leafe_gym.sandbox.embedded"):
    shell = sys.modules[name] = types.ModuleType(name)
    shell.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
from leafe_gym.sandbox.embedded.inside.wire import Channel
from leafe_gym.sandbox.embedded.inside.worker import SessionWorker
SessionWorker(Channel(socket.socket(fileno=int(sys.argv[2]))), 2**20).serve()
"""


class Process:
    """A session, or a saved state of one."""

    def __init__(self, channel: Channel, pid: int) -> None:
        self.channel = channel
        self.pid = pid


class BareFork:
    """See the module."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        python = Path(sys.base_exec_prefix) / "bin" / "python3"
        fd = theirs.fileno()
        self._first = subprocess.Popen(
            [str(python), "-s", "-S", "-P", "-c", START, str(ROOT), str(fd)],
            pass_fds=(fd,),
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._live = Process(Channel(ours), self._first.pid)
        self._live.channel.receive(30.0)
        self._pids = [self._first.pid]

    def run_cell(self, code: str) -> str:
        """Run a cell; its traceback."""
        self._live.channel.send({"do": "run_cell", "code": code})
        return str(_answer(self._live.channel, "error"))

    def snapshot(self) -> Process:
        """Pause the process; a forked copy continues."""
        saved, self._live = self._live, self._fork(self._live, digest=True)
        return saved

    def restore(self, saved: Process) -> None:
        """Kill the session and continue from a saved state."""
        os.kill(self._live.pid, signal.SIGKILL)
        self._live.channel.close()
        self._live = self._fork(saved)

    def drop(self, saved: Process) -> None:
        """Release a saved state."""
        os.kill(saved.pid, signal.SIGKILL)
        saved.channel.close()

    def close(self) -> None:
        """Kill all processes."""
        self._live.channel.close()
        for pid in self._pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._first.wait()

    def _fork(self, process: Process, digest: bool = False) -> Process:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        process.channel.send({"do": "fork", "digest": digest}, fd=theirs.fileno())
        theirs.close()
        channel = Channel(ours)
        channel.receive(30.0, extras=True)
        self._pids.append(channel.pid)
        return Process(channel, channel.pid)


def _answer(channel: Channel, key: str) -> Any:
    while True:
        message, _ = channel.receive(60.0)
        if key in message:
            return message[key]
