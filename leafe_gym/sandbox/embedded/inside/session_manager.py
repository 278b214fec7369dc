"""The live session and its saved states, as the supervisor manages them.

A saved state is a paused process and a chain of frozen layers. A session that is killed, or kills
itself, is restored to its previous state; processes that it left behind are killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from leafe_gym.sandbox.embedded.inside import processes, syscalls
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.layers import TOP, FilesBusy, Layers
from leafe_gym.sandbox.embedded.inside.privileges import drop_privileges, set_limits
from leafe_gym.sandbox.embedded.inside.programs import CappedOutput
from leafe_gym.sandbox.embedded.inside.saveable import obstacle
from leafe_gym.sandbox.embedded.inside.session_processes import SessionProcess, SessionSnapshot
from leafe_gym.sandbox.embedded.inside.trees import difference
from leafe_gym.sandbox.embedded.inside.usage import UsageWatcher
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken
from leafe_gym.sandbox.embedded.inside.worker import SessionWorker

_FORK_S = 20.0
"""Time limit for a session to fork a copy, in seconds."""

_KILL_S = 2.0
_SEND_S = 5.0
_POLL_MS = 20
_CHANNEL = 3


class RequestFailed(Exception):
    """Raised when a request fails; `kind` selects the exception in the host program."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class SessionManager:
    """Starts, forks and ends the processes of a session and of its saved states.

    Args:
        settings: limits.
        owner: descriptor that becomes readable when the host program ends.
        layers: stores the files.
    """

    root = "/jail"
    """Root folder of the session."""

    homes: tuple[str, ...] = ("/home",)
    """Folders that Landlock lets the session write."""

    def __init__(self, settings: dict[str, Any], owner: int, layers: Layers) -> None:
        self._settings = settings
        self._owner = owner
        self.layers = layers
        self._empty = self.layers.freeze()
        self.saved: dict[int, SessionSnapshot] = {}
        self.others: set[int] = set()
        self.current_id: int | None = None
        self._count = 0
        self._pipes = [os.pipe(), os.pipe()]
        for read, _ in self._pipes:
            os.set_blocking(read, False)
        self._live: SessionProcess | None = None
        self._start_worker()

    def run_cell(
        self, code: str, seconds: float, most: int
    ) -> tuple[dict[str, Any], list[CappedOutput]]:
        """Run a cell; a cell that is stopped leaves the session in its previous state.

        Args:
            code: the cell.
            seconds: wall-clock limit.
            most: bytes of standard output and standard error, each.

        Returns:
            Its traceback, why it was stopped, whether the session was restored; its outputs.
        """
        self.ensure_alive()
        guard, temporary = self.find_or_make_guard()
        if guard is not None and not temporary:
            self.digest(guard)  # the cell could kill the process before it sends its digest
        live = self.live_process()
        live.digest = ""
        self._drain()
        processes.set_process_limit(
            live.pid, self._settings["processes"] + self.reserved_processes()
        )
        outputs = [CappedOutput(read, most) for read, _ in self._pipes]
        deadline = time.monotonic() + seconds
        why, error = "", ""
        live.go()
        try:
            live.channel.send({"do": "run_cell", "code": code}, seconds=_SEND_S)
            why, error = self._cell(live, outputs, deadline)
        except ChannelBroken:
            why = "ended"
        back = why == ""
        if why:
            self.kill()
            if guard is not None:
                with suppress(RequestFailed):  # the cell may have killed it
                    self.restore(guard)
                    back = True
        else:
            self.current_id = None
            self.kill_leftovers()
        if temporary and guard is not None:
            self.drop(guard)
        return {"error": error, "why": why, "restored": back}, outputs

    def reset(self) -> None:
        """Start a session without variables in an empty work folder."""
        self.kill()
        self.layers.restore(self._empty)
        self.current_id = None
        self._start_worker()

    def replace(self, number: int) -> None:
        """Use the current session as the process of a saved state, if both are equal."""
        other = self.save()
        lost, made = self.saved[number], self.saved.pop(other)
        assert made.process is not None
        made.await_digest()
        where = difference(self.layers.view(lost.chain), TOP)
        if where or not lost.digest or lost.digest != made.digest:
            made.process.end()
            self.current_id = None
            what = f"the file {where!r}" if where else "its variables"
            raise RequestFailed("lost", f"the rebuilt session differs in {what}")
        self.saved[number] = SessionSnapshot(made.process, lost.chain, made.mark, made.digest)
        self.current_id = number

    def digest(self, number: int) -> str:
        """Digest of a saved state's variables; "" if its process died before it was complete."""
        return self.saved[number].await_digest()

    def current_digest(self) -> str:
        """Digest of the live session's variables, computed by the session."""
        self.ensure_alive()
        live = self.live_process()
        live.go()
        live.digest = ""
        if not (digest := live.await_digest("digest")):
            raise RequestFailed("dead", "the session does not respond")
        return digest

    def release_unused(self) -> None:
        """Clean up, and have digests computed; runs after each response."""
        for saved in self.saved.values():
            saved.ask_digest()
        self.layers.retain([self._empty, *(one.chain for one in self.saved.values())])
        processes.reap()

    def ensure_alive(self) -> None:
        """Restore the session to its current state if it was killed from outside."""
        live = self._live
        if live is not None and live.is_alive():
            return
        if self.current_id is None or not self.saved[self.current_id].is_held():
            self.kill()
            raise RequestFailed("dead", "the session's interpreter was killed from outside")
        self.restore(self.current_id)

    def find_or_make_guard(self) -> tuple[int | None, bool]:
        """(number of a saved state equal to the current one, whether it was created now)."""
        if self.current_id is not None and self.saved[self.current_id].is_held():
            return self.current_id, False
        try:
            return self.save(), True
        except RequestFailed:
            return None, False

    def save(self) -> int:
        """Save the session and its files; returns the number of the saved state."""
        live = self.live_process()
        self.require_saveable()
        try:
            new = self._receive_copy(live, self._start_copy(live))
        except ChannelBroken as error:
            raise RequestFailed("unsaved", f"the session cannot be saved: {error}") from error
        try:
            chain = self.layers.freeze()
        except FilesBusy as error:
            new.end()
            raise RequestFailed("unsaved", str(error)) from None
        self._live = new
        self._count += 1
        self.saved[self._count] = SessionSnapshot(live, chain, new.mark)
        self.current_id = self._count
        return self._count

    def restore(self, number: int) -> None:
        """Restore a saved state."""
        if number not in self.saved:
            raise RequestFailed("lost", "the snapshot was dropped")
        saved = self.saved[number]
        if not saved.is_held() or saved.process is None:
            raise RequestFailed("gone", "the process that held the snapshot has died")
        self.kill()
        try:
            try:
                started = self._start_copy(saved.process)
            finally:  # while the process forks
                self.layers.restore(saved.chain)
            new = self._receive_copy(saved.process, started)
            if new.mark != saved.mark:
                new.end()
                raise ChannelBroken("its state has changed")
        except ChannelBroken as error:
            saved.discard()
            raise RequestFailed(
                "gone", f"the process that held the snapshot failed: {error}"
            ) from error
        self._live = new
        self.current_id = number

    def drop(self, number: int) -> None:
        """Release a saved state."""
        saved = self.saved.pop(number, None)
        if saved is not None:
            saved.discard()
        if self.current_id == number:
            self.current_id = None

    def _start_copy(self, process: SessionProcess) -> tuple[Channel, int]:
        """Let a process fork a copy of itself; the channel to the copy, and its socket's inode."""
        ours, theirs = socket.socketpair()
        inode = os.fstat(theirs.fileno()).st_ino
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel = Channel(ours)
        try:
            processes.set_process_limit(
                process.pid, self._settings["processes"] + self.reserved_processes() + 1
            )
            process.go()
            request = {"do": "fork", "token": secrets.token_hex(8)}
            process.channel.send(request, fd=theirs.fileno(), seconds=_FORK_S)
        finally:
            theirs.close()
        return channel, inode

    def _receive_copy(
        self, process: SessionProcess, started: tuple[Channel, int]
    ) -> SessionProcess:
        """The copy that a process forked of itself."""
        channel, inode = started
        waiting = select.poll()
        waiting.register(channel, select.POLLIN)
        waiting.register(process.channel.sock, select.POLLIN)
        deadline = time.monotonic() + _FORK_S
        watcher = self._watcher(process)
        while time.monotonic() < deadline and not watcher.exceeded():
            ready = {fd for fd, _ in waiting.poll(_POLL_MS)}
            if process.channel.fileno() in ready:
                message, _ = process.channel.receive(_FORK_S, 4096)
                if "refused" in message:
                    raise ChannelBroken(str(message["refused"]))
                process.digest = process.digest or str(message.get("digest", ""))
            elif ready:
                message, _ = channel.receive(_FORK_S, 4096, extras=True)
                if channel.pid in self.own_pids() or processes.parent(channel.pid) != process.pid:
                    raise ChannelBroken("another process responds in its place")
                mark = str(message.get("mark", ""))
                return SessionProcess(channel.pid, channel, inode, mark=mark)
        raise ChannelBroken("it does not respond, or exceeds its memory")

    def require_saveable(self) -> None:
        """Raise `RequestFailed` if a copy of the session would not be independent of it."""
        live = self.live_process()
        if why := obstacle(live.pid, self._own_descriptors(live), self.root):
            raise RequestFailed("unsaved", f"the session holds {why}, which no snapshot can hold")

    def _own_descriptors(self, live: SessionProcess) -> set[str]:
        """Targets of the descriptors that each session has from the start."""
        own = {os.readlink(f"/proc/self/fd/{write}") for _, write in self._pipes}
        return own | {f"socket:[{live.socket}]"}

    def _watcher(self, process: SessionProcess) -> UsageWatcher:
        known = {1, *self.own_pids()} - {process.pid}
        return UsageWatcher(self._settings["memory_mb"], known)

    def pause(self) -> None:
        """Stop the session; nothing that it started runs until the next request."""
        if self._live is not None:
            with suppress(ProcessLookupError):
                os.kill(self._live.pid, signal.SIGSTOP)

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        inode = os.fstat(theirs.fileno()).st_ino
        pid = os.fork()
        if not pid:
            self._become_worker(theirs)
        theirs.close()
        channel = Channel(ours)
        try:
            channel.receive(_FORK_S, 4096)
        except ChannelBroken as error:
            raise syscalls.SyscallError(f"the session's start: {error}", errno.EIO) from error
        self._live = SessionProcess(pid, channel, inode)

    def _become_worker(self, sock: socket.socket) -> None:
        try:
            null = os.open(f"{self.root}/dev/null", os.O_RDWR)
            files = (null, *(write for _, write in self._pipes), sock.fileno())
            # Copy to high numbers first, so that no descriptor is overwritten before it is copied.
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
            drop_privileges(self.homes)
            worker = SessionWorker(
                Channel(socket.socket(fileno=_CHANNEL)), settings["output_bytes"]
            )
            worker.serve()
        finally:
            os._exit(1)

    def live_process(self) -> SessionProcess:
        """The session's process; raises `RequestFailed` if it has ended."""
        if self._live is None:
            raise RequestFailed("dead", "the session's interpreter has ended")
        return self._live

    def _cell(
        self, live: SessionProcess, outputs: list[CappedOutput], deadline: float
    ) -> tuple[str, str]:
        """(why the cell was stopped, "" if it was not; its traceback)."""
        watcher = self._watcher(live)
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
                    continue
                while any([one.take() for one in outputs]):
                    pass
                return "", str(message.get("error", ""))
            if why := watcher.exceeded():
                return why, ""

    def kill_leftovers(self) -> None:
        """Kill the processes that a cell left behind."""
        if not processes.kill_others({1, *self.own_pids()}, _KILL_S):
            self._end_all()

    def kill(self) -> None:
        """Kill the session and all its processes."""
        live, self._live = self._live, None
        if live is not None:
            live.end()
        if not processes.kill_others({1, *self.own_pids()}, _KILL_S):
            self._end_all()

    def _end_all(self) -> None:
        """Kill everything, saved states included, if processes fork faster than they are killed."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        self._live = None
        for saved in self.saved.values():
            saved.discard()

    def own_pids(self) -> list[int]:
        """Process ids of the session and of all saved states, and `others`."""
        live = [*self.others] if self._live is None else [*self.others, self._live.pid]
        return live + [one.process.pid for one in self.saved.values() if one.process is not None]

    def reserved_processes(self) -> int:
        """Number of this user's processes that are not the session's: ours and saved states.

        One or two more exist at times; the session's limit is then lower by that number.
        """
        return 1 + len(self.own_pids())

    def _drain(self) -> None:
        for read, _ in self._pipes:
            one = CappedOutput(read, 0)
            while one.take():
                pass
