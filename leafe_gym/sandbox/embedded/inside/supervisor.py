"""The first process of a sandbox: keeps the session, its saved states and its files.

Only this process has rights in the namespaces. What it does for the host program: `exec`, `run`,
`write`, `read`, `snapshot`, `restore`, `drop`, `fresh`, `differs`, `replace`. The session may be
hostile: it is believed nothing but what it prints.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leafe_gym.sandbox.embedded.inside import calls, processes
from leafe_gym.sandbox.embedded.inside.drop import drop_rights, set_limits
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.layers import (
    TOP,
    Busy,
    Chain,
    difference,
    digest,
    make_layers,
)
from leafe_gym.sandbox.embedded.inside.programs import Output, run_program
from leafe_gym.sandbox.embedded.inside.wire import Broken, Channel
from leafe_gym.sandbox.embedded.inside.worker import Worker

_WORK = f"/jail{HOME}/work"
_SPLIT_S = 20.0
"""Longest a session may take to become two."""

_SETTLE_S = 2.0
_CHANNEL = 3
Answer = tuple[dict[str, Any], tuple[bytes, ...]]


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


class Supervisor:
    """See the module.

    Args:
        settings: limits, the search path for programs, how to keep files.
        host: channel to the host program.
        owner: handle of the host program's process.
    """

    def __init__(self, settings: dict[str, Any], host: Channel, owner: int) -> None:
        self._settings = settings
        self._host = host
        self._owner = owner
        os.environ["PATH"] = settings["path"]
        self._layers = make_layers(settings["disk_mb"], settings["files"])
        self._empty = self._layers.freeze()
        self._pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._saved: dict[int, Saved] = {}
        self._at: int | None = None
        self._count = 0
        self._pipes = [os.pipe(), os.pipe()]
        for read, _ in self._pipes:
            os.set_blocking(read, False)
        self._live: Process | None = None
        self._new_session()

    def serve(self) -> None:
        """Answer until the host program is gone."""
        self._host.send({"ready": True, "files": type(self._layers).__name__})
        waiting = select.poll()
        waiting.register(self._host.sock, select.POLLIN)
        waiting.register(self._owner, select.POLLIN)
        while True:
            ready = {fd for fd, _ in waiting.poll()}
            if self._owner in ready:
                return
            try:
                message, blob = self._host.receive(60.0)
                answer, blobs = self._answer(message, blob)
                self._host.send({**answer, "sizes": [len(one) for one in blobs]}, b"".join(blobs))
            except Broken:
                return
            self._tidy()

    def _answer(self, message: dict[str, Any], blob: bytes) -> Answer:
        try:
            return getattr(self, f"_do_{message['do']}")(message, blob)  # type: ignore[no-any-return]
        except Failed as failed:
            return {"failed": failed.kind, "text": str(failed)}, ()
        except calls.Refused as error:
            return {"failed": "sandbox", "text": f"{error.what}: {error.strerror}"}, ()
        except OSError as error:
            return {"failed": "sandbox", "text": str(error)}, ()

    # What the host program asks for.

    def _do_exec(self, order: dict[str, Any], code: bytes) -> Answer:
        began = time.monotonic()
        self._revive()
        guard, temporary = self._guard()
        live = self._session()
        self._drain()
        processes.allow(live.pid, self._settings["processes"] + self._held())
        outputs = [Output(read, order["output_bytes"]) for read, _ in self._pipes]
        why, error = "", ""
        try:
            live.channel.send({"do": "exec", "code": code.decode("utf-8", "replace")})
            why, error = self._cell(live, outputs, began + order["limit"])
        except Broken:
            why = "ended"
        answer: dict[str, Any] = {"error": error, "why": why, "guarded": guard is not None}
        if why:
            self._kill_session()
            if guard is not None:
                self._come_back(guard)
                answer["back"] = True
        else:
            self._at = None
            self._settle(live)
        if temporary and guard is not None:
            self._forget(guard)
            if why:
                self._at = None
        answer["truncated"] = any(one.more for one in outputs)
        answer["seconds"] = time.monotonic() - began
        return answer, tuple(bytes(one.data) for one in outputs)

    def _do_run(self, order: dict[str, Any], stdin: bytes) -> Answer:
        self._at = None
        known = {1, *self._known()}
        watch = processes.watcher(order["memory_mb"], known)
        ended, out, err = run_program(
            order, stdin, self._settings["path"], self._pid_namespace, self._held() + 1, watch
        )
        if "failed" in ended:
            raise Failed("sandbox", f"the program could not be started: {ended['failed']}")
        return ended, (out, err)

    def _do_write(self, order: dict[str, Any], data: bytes) -> Answer:
        self._at = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        with open(self._open(order["path"], flags, 0o644), "wb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Failed("usage", f"{order['path']!r} is no plain file")
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        return {}, ()

    def _do_read(self, order: dict[str, Any], _: bytes) -> Answer:
        fd = self._open(order["path"], os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Failed("absent", order["path"])
        with open(fd, "rb", buffering=0) as file:
            data = bytearray()
            while len(data) < order["limit"]:
                part = file.read(order["limit"] - len(data))
                if not part:
                    break
                data += part
        return {}, (bytes(data),)

    def _do_snapshot(self, _: dict[str, Any], __: bytes) -> Answer:
        self._revive()
        number = self._save()
        saved = self._saved[number]
        assert saved.process is not None
        size = processes.fork_bytes(saved.process.pid) + self._layers.nbytes(saved.chain)
        return {"id": number, "nbytes": size}, ()

    def _do_restore(self, order: dict[str, Any], _: bytes) -> Answer:
        self._come_back(order["id"])
        return {}, ()

    def _do_drop(self, order: dict[str, Any], _: bytes) -> Answer:
        self._forget(order["id"])
        return {}, ()

    def _do_alive(self, _: dict[str, Any], __: bytes) -> Answer:
        """Which saved states still have their process."""
        return {"ids": [number for number in self._saved if self._waiting(number)]}, ()

    def _do_fresh(self, _: dict[str, Any], __: bytes) -> Answer:
        """A session without variables in an empty work folder."""
        self._kill_session()
        self._layers.go_back(self._empty)
        self._at = None
        self._new_session()
        return {}, ()

    def _do_replace(self, order: dict[str, Any], _: bytes) -> Answer:
        """Take the current session for a saved one that lost its process, if it is the same."""
        number, other = order["id"], self._save()
        lost, made = self._saved[number], self._saved.pop(other)
        assert made.process is not None
        made.mark = made.mark or self._fingerprint(made.process)
        where = difference(self._layers.look(lost.chain), TOP)
        if where or not lost.mark or lost.mark != made.mark:
            made.process.end()
            self._at = None
            what = f"the file {where!r}" if where else "its variables"
            raise Failed("lost", f"made again it differs in {what}")
        self._saved[number] = Saved(made.process, lost.chain, made.mark)
        self._at = number
        return {}, ()

    def _do_proof(self, order: dict[str, Any], _: bytes) -> Answer:
        """Fingerprints of a saved state's variables and files."""
        number = order["id"]
        if number not in self._saved:
            raise Failed("lost", "the snapshot was dropped")
        saved = self._saved[number]
        if self._waiting(number) and not saved.mark and saved.process is not None:
            saved.mark = self._fingerprint(saved.process)
        return {"mark": saved.mark, "files": digest(self._layers.look(saved.chain))}, ()

    # How.

    def _revive(self) -> None:
        """Come back to the current state where the session was ended from outside."""
        live = self._live
        if live is not None and not select.select([live.channel.sock], [], [], 0)[0]:
            return
        if self._at is None or not self._waiting(self._at):
            self._kill_session()
            raise Failed("dead", "the session's interpreter was ended from outside")
        self._come_back(self._at)

    def _guard(self) -> tuple[int | None, bool]:
        """(a saved state equal to the current one, whether it was made just now)."""
        if self._at is not None and self._waiting(self._at):
            return self._at, False
        try:
            return self._save(), True
        except Failed:
            return None, False

    def _save(self) -> int:
        live = self._session()
        if processes.threads(live.pid) > 1:
            raise Failed("sandbox", "the session runs threads, which no snapshot can hold")
        try:
            new = self._split(live)
        except Broken as error:
            raise Failed("sandbox", f"the session cannot be saved: {error}") from error
        try:
            chain = self._layers.freeze()
        except Busy:
            new.end()
            raise Failed(
                "sandbox", "a file of the work folder is mapped for writing; close it first"
            ) from None
        self._live = new
        self._count += 1
        self._saved[self._count] = Saved(live, chain, live.mark)
        self._at = self._count
        return self._count

    def _come_back(self, number: int) -> None:
        if number not in self._saved:
            raise Failed("lost", "the snapshot was dropped")
        saved = self._saved[number]
        if not self._waiting(number) or saved.process is None:
            raise Failed("gone", "the process that held the snapshot is gone")
        self._kill_session()
        self._layers.go_back(saved.chain)
        try:
            self._live = self._split(saved.process)
        except Broken as error:
            self._lose(saved)
            raise Failed("gone", f"the process that held the snapshot: {error}") from error
        self._at = number

    def _waiting(self, number: int) -> bool:
        """Whether a saved state still has its process; takes its fingerprint on the way."""
        saved = self._saved[number]
        if saved.process is None:
            return False
        channel = saved.process.channel
        saved.mark = saved.mark or saved.process.mark
        try:
            while select.select([channel.sock], [], [], 0)[0]:
                message, _ = channel.receive(1.0, 4096)
                saved.mark = saved.mark or str(message.get("mark", ""))
        except Broken:
            self._lose(saved)
            return False
        return True

    def _fingerprint(self, process: Process) -> str:
        try:
            message, _ = process.channel.receive(_SPLIT_S, 4096)
        except Broken:
            return ""
        return str(message.get("mark", ""))

    def _lose(self, saved: Saved) -> None:
        if saved.process is not None:
            saved.process.end()
            saved.process = None

    def _forget(self, number: int) -> None:
        saved = self._saved.pop(number, None)
        if saved is not None:
            self._lose(saved)
        if self._at == number:
            self._at = None

    def _split(self, process: Process) -> Process:
        """Have a process become two; the new one."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel = Channel(ours)
        try:
            processes.allow(process.pid, self._settings["processes"] + self._held() + 1)
            process.channel.send({"do": "split"}, fd=theirs.fileno(), seconds=_SPLIT_S)
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

    def _new_session(self) -> None:
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
            null = os.open("/jail/dev/null", os.O_RDWR)
            files = (null, *(write for _, write in self._pipes), sock.fileno())
            # Far above first, so that no number is taken before it was copied.
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in files]
            for number, fd in enumerate(high):
                os.dup2(fd, number, inheritable=number < _CHANNEL)
            os.closerange(_CHANNEL + 1, 2**20)
            os.chroot("/jail")
            os.chdir(f"{HOME}/work")
            os.setsid()
            settings = self._settings
            set_limits(settings["memory_mb"], settings["disk_mb"], settings["processes"] + 4)
            drop_rights("/home")
            worker = Worker(Channel(socket.socket(fileno=_CHANNEL)), settings["output_bytes"])
            worker.serve()
        finally:
            os._exit(1)

    def _session(self) -> Process:
        if self._live is None:
            raise Failed("dead", "the session's interpreter is gone")
        return self._live

    def _cell(self, live: Process, outputs: list[Output], deadline: float) -> tuple[str, str]:
        """(why the cell was stopped, "" if it was not; its traceback)."""
        watch = processes.watcher(self._settings["memory_mb"], {1, *self._known()} - {live.pid})
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
                while any([one.take() for one in outputs]):
                    pass
                return "", str(message.get("error", ""))
            if not ready and (why := watch()):
                return why, ""

    def _settle(self, live: Process) -> None:
        """End what the cell started and left behind."""
        if not processes.end_others({1, *self._known()}, _SETTLE_S):
            self._end_all()

    def _kill_session(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.end()
        if not processes.end_others({1, *self._known()}, _SETTLE_S):
            self._end_all()

    def _end_all(self) -> None:
        """Processes that multiply faster than they are ended go together with all saved states."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        for saved in self._saved.values():
            self._lose(saved)
        self._live = None

    def _known(self) -> list[int]:
        live = [] if self._live is None else [self._live.pid]
        return live + [one.process.pid for one in self._saved.values() if one.process is not None]

    def _held(self) -> int:
        """Processes of this user id that are not the session's: ours, and saved states."""
        return 3 + len(self._known())

    def _drain(self) -> None:
        for read, _ in self._pipes:
            one = Output(read, 0)
            while one.take():
                pass

    def _tidy(self) -> None:
        """What need not be done before the answer."""
        self._layers.keep([self._empty, *(one.chain for one in self._saved.values())])
        processes.reap()

    def _open(self, path: str, flags: int, mode: int = 0) -> int:
        folder = os.open(_WORK, os.O_PATH | os.O_CLOEXEC)
        try:
            return calls.open_beneath(folder, path, flags, mode)
        except calls.Refused as error:
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise Failed("usage", f"{path!r} leads out of the work folder") from error
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
                raise Failed("absent", path) from error
            raise
        finally:
            os.close(folder)
