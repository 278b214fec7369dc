"""The live session and its saved states, as the supervisor keeps them.

A saved state is a process that waits and a chain of frozen layers. A session that is killed, or
kills itself, is put in the place where it was; what it left behind is ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leafe_gym.sandbox.embedded.inside import calls, processes
from leafe_gym.sandbox.embedded.inside.drop import drop_rights, set_limits
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.layers import TOP, Busy, Chain, Layers, difference
from leafe_gym.sandbox.embedded.inside.programs import Output
from leafe_gym.sandbox.embedded.inside.wire import Broken, Channel
from leafe_gym.sandbox.embedded.inside.worker import Worker

_SPLIT_S = 20.0
"""Longest a session may take to become two."""

_MARK_S = 5.0
_SETTLE_S = 2.0
_MOST_WORDS = 8
"""Messages that a waiting process may send on its own; it has one to send."""

_SEND_S = 5.0
_CHANNEL = 3


class Failed(Exception):
    """A request that cannot be met; `kind` says how the host program is to see it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class Process:
    """The session, or a saved state of it."""

    pid: int
    channel: Channel
    mark: str = ""

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.channel.close()


@dataclass(slots=True)
class Saved:
    """A saved state: a waiting process, None once that was found gone, and the files."""

    process: Process | None
    chain: Chain
    mark: str = ""


class Session:
    """See the module.

    Args:
        settings: limits.
        owner: what can be read once the host program is gone.
        layers: what keeps the files.
    """

    root = "/jail"
    """What the session has for its root."""

    homes: tuple[str, ...] = ("/home",)
    """Folders it may write, as far as Landlock can say so."""

    def __init__(self, settings: dict[str, Any], owner: int, layers: Layers) -> None:
        self._settings = settings
        self._owner = owner
        self.layers = layers
        self._empty = self.layers.freeze()
        self.saved: dict[int, Saved] = {}
        self.at: int | None = None
        self._count = 0
        self._pipes = [os.pipe(), os.pipe()]
        for read, _ in self._pipes:
            os.set_blocking(read, False)
        self._live: Process | None = None
        self._begin()

    def exec(self, code: str, seconds: float, most: int) -> tuple[dict[str, Any], list[Output]]:
        """Run a cell; one that is stopped leaves the session as it was.

        Args:
            code: the cell.
            seconds: wall-clock limit.
            most: bytes of standard output and standard error, each.

        Returns:
            Its traceback, why it was stopped and whether the session is back; what it wrote.
        """
        self.revive()
        guard, temporary = self.guard()
        if guard is not None and not temporary:
            self.mark(guard)  # as the cell could kill the process before it was told
        live = self.current()
        live.mark = ""
        self._drain()
        processes.allow(live.pid, self._settings["processes"] + self.held())
        outputs = [Output(read, most) for read, _ in self._pipes]
        deadline = time.monotonic() + seconds
        why, error = "", ""
        try:
            live.channel.send({"do": "exec", "code": code}, seconds=_SEND_S)
            why, error = self._cell(live, outputs, deadline)
        except Broken:
            why = "ended"
        back = why == ""
        if why:
            self.kill()
            if guard is not None:
                with suppress(Failed):  # the cell may have killed it
                    self.come_back(guard)
                    back = True
        else:
            self.at = None
            self.settle()
        if temporary and guard is not None:
            self.forget(guard)
        return {"error": error, "why": why, "back": back}, outputs

    def fresh(self) -> None:
        """A session without variables in an empty work folder."""
        self.kill()
        self.layers.go_back(self._empty)
        self.at = None
        self._begin()

    def replace(self, number: int) -> None:
        """Take the current session for a saved one that lost its process, if it is the same."""
        other = self.save()
        lost, made = self.saved[number], self.saved.pop(other)
        assert made.process is not None
        made.mark = made.mark or self._await_mark(made.process)
        where = difference(self.layers.look(lost.chain), TOP)
        if where or not lost.mark or lost.mark != made.mark:
            made.process.end()
            self.at = None
            what = f"the file {where!r}" if where else "its variables"
            raise Failed("lost", f"made again it differs in {what}")
        self.saved[number] = Saved(made.process, lost.chain, made.mark)
        self.at = number

    def mark(self, number: int) -> str:
        """The fingerprint of a saved state; "" if its process was lost before it was made."""
        saved = self.saved[number]
        if self.waiting(number) and not saved.mark and saved.process is not None:
            saved.mark = self._await_mark(saved.process)
        return saved.mark

    def tidy(self) -> None:
        """What need not be done before an answer."""
        self.layers.keep([self._empty, *(one.chain for one in self.saved.values())])
        processes.reap()

    def revive(self) -> None:
        """Come back to the current state where the session was ended from outside."""
        live = self._live
        if live is not None and _hear(live):
            return
        if self.at is None or not self.waiting(self.at):
            self.kill()
            raise Failed("dead", "the session's interpreter was ended from outside")
        self.come_back(self.at)

    def guard(self) -> tuple[int | None, bool]:
        """(a saved state equal to the current one, whether it was made just now)."""
        if self.at is not None and self.waiting(self.at):
            return self.at, False
        try:
            return self.save(mark=False), True
        except Failed:
            return None, False

    def save(self, *, mark: bool = True) -> int:
        """Save the session and its files; the number of the saved state.

        Args:
            mark: have its fingerprint made, so that it can be made again.
        """
        live = self.current()
        if processes.threads(live.pid) > 1:
            raise Failed("sandbox", "the session runs threads, which no snapshot can hold")
        try:
            new = self._split(live, mark)
        except Broken as error:
            raise Failed("sandbox", f"the session cannot be saved: {error}") from error
        try:
            chain = self.layers.freeze()
        except Busy as error:
            new.end()
            raise Failed("sandbox", str(error)) from None
        self._live = new
        self._count += 1
        self.saved[self._count] = Saved(live, chain, live.mark)
        self.at = self._count
        return self._count

    def come_back(self, number: int) -> None:
        """Go on from a saved state."""
        if number not in self.saved:
            raise Failed("lost", "the snapshot was dropped")
        saved = self.saved[number]
        if not self.waiting(number) or saved.process is None:
            raise Failed("gone", "the process that held the snapshot is gone")
        self.kill()
        self.layers.go_back(saved.chain)
        try:
            self._live = self._split(saved.process)
        except Broken as error:
            self._lose(saved)
            raise Failed("gone", f"the process that held the snapshot: {error}") from error
        self.at = number

    def waiting(self, number: int) -> bool:
        """Whether a saved state still has its process; takes its fingerprint on the way."""
        saved = self.saved[number]
        if saved.process is None:
            return False
        if not _hear(saved.process):
            self._lose(saved)
            return False
        saved.mark = saved.mark or saved.process.mark
        return True

    def _await_mark(self, process: Process) -> str:
        try:
            message, _ = process.channel.receive(_MARK_S, 4096)
        except Broken:
            return ""
        return str(message.get("mark", ""))

    def _lose(self, saved: Saved) -> None:
        if saved.process is not None:
            saved.process.end()
            saved.process = None

    def forget(self, number: int) -> None:
        """Give a saved state up."""
        saved = self.saved.pop(number, None)
        if saved is not None:
            self._lose(saved)
        if self.at == number:
            self.at = None

    def _split(self, process: Process, mark: bool = False) -> Process:
        """Have a process become two; the new one."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel = Channel(ours)
        try:
            processes.allow(process.pid, self._settings["processes"] + self.held() + 1)
            process.channel.send(
                {"do": "split", "mark": mark}, fd=theirs.fileno(), seconds=_SPLIT_S
            )
        finally:
            theirs.close()
        waiting = select.poll()
        waiting.register(ours, select.POLLIN)
        waiting.register(process.channel.sock, select.POLLIN)
        deadline = time.monotonic() + _SPLIT_S
        while time.monotonic() < deadline:
            ready = {fd for fd, _ in waiting.poll(1000)}
            if ours.fileno() in ready:
                channel.receive(_SPLIT_S, 4096, extras=True)
                return Process(channel.pid, channel)
            if ready:
                message, _ = process.channel.receive(_SPLIT_S, 4096)
                if "trouble" in message:
                    raise Broken(str(message["trouble"]))
                process.mark = process.mark or str(message.get("mark", ""))
        raise Broken("it does not answer")

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            self._become_worker(theirs)
        theirs.close()
        channel = Channel(ours)
        try:
            channel.receive(_SPLIT_S, 4096)
        except Broken as error:
            raise calls.Refused(f"the session's start: {error}", errno.EIO) from error
        self._live = Process(pid, channel)

    def _become_worker(self, sock: socket.socket) -> None:
        try:
            null = os.open(f"{self.root}/dev/null", os.O_RDWR)
            files = (null, *(write for _, write in self._pipes), sock.fileno())
            # Far above first, so that no number is taken before it was copied.
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in files]
            for number, fd in enumerate(high):
                os.dup2(fd, number, inheritable=number < _CHANNEL)
            os.closerange(_CHANNEL + 1, 2**20)
            settings = self._settings
            if self.root:
                os.chroot(self.root)
            os.chdir(f"{HOME}/work")
            os.setsid()
            set_limits(settings["memory_mb"], settings["disk_mb"], settings["processes"] + 4)
            drop_rights(self.homes)
            worker = Worker(Channel(socket.socket(fileno=_CHANNEL)), settings["output_bytes"])
            worker.serve()
        finally:
            os._exit(1)

    def current(self) -> Process:
        """The session; fails if it is gone."""
        if self._live is None:
            raise Failed("dead", "the session's interpreter is gone")
        return self._live

    def _cell(self, live: Process, outputs: list[Output], deadline: float) -> tuple[str, str]:
        """(why the cell was stopped, "" if it was not; its traceback)."""
        watch = processes.watcher(self._settings["memory_mb"], {1, *self.known()} - {live.pid})
        waiting = select.poll()
        waiting.register(live.channel.sock, select.POLLIN)
        waiting.register(self._owner, select.POLLIN)
        for one in outputs:
            waiting.register(one.fd, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "time", ""
            ready = {fd for fd, _ in waiting.poll(min(left, 0.02) * 1000)}
            if self._owner in ready:
                os._exit(0)
            for one in outputs:
                if one.fd in ready:
                    one.take()
            if live.channel.sock.fileno() in ready:
                most = 8 * self._settings["output_bytes"] + 2**16
                message, _ = live.channel.receive(max(left, 0.1), most)
                if "error" not in message:
                    continue  # a fingerprint begun when a snapshot was refused
                while any([one.take() for one in outputs]):
                    pass
                return "", str(message.get("error", ""))
            if not ready and (why := watch()):
                return why, ""

    def settle(self) -> None:
        """End what the cell started and left behind."""
        if not processes.end_others({1, *self.known()}, _SETTLE_S):
            self._end_all()

    def kill(self) -> None:
        """End the session and all it started."""
        live, self._live = self._live, None
        if live is not None:
            live.end()
        if not processes.end_others({1, *self.known()}, _SETTLE_S):
            self._end_all()

    def _end_all(self) -> None:
        """Processes that multiply faster than they are ended go together with all saved states."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        for saved in self.saved.values():
            self._lose(saved)
        self._live = None

    def known(self) -> list[int]:
        """The session's process and those that wait."""
        live = [] if self._live is None else [self._live.pid]
        return live + [one.process.pid for one in self.saved.values() if one.process is not None]

    def held(self) -> int:
        """Processes of this user id that are not the session's: ours, and saved states.

        There can be one or two more, which come and go; the session then has as many fewer.
        """
        return 1 + len(self.known())

    def _drain(self) -> None:
        for read, _ in self._pipes:
            one = Output(read, 0)
            while one.take():
                pass


def _hear(process: Process) -> bool:
    """Take what a process said on its own, which can be its fingerprint; whether it is there."""
    try:
        for _ in range(_MOST_WORDS):
            if not select.select([process.channel.sock], [], [], 0)[0]:
                return True
            message, _ = process.channel.receive(1.0, 4096)
            process.mark = process.mark or str(message.get("mark", ""))
    except Broken:
        pass
    return False
