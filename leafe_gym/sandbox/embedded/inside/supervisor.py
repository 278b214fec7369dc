"""The first process of a sandbox: keeps the session, its saved states and its files.

Only this process has privileges in the namespaces. The host program's requests are `run_cell`,
`run_program`, `write_file`, `read_file`, `snapshot`, `restore`, `drop`, `reset`, `replace`,
`digests` and `current_digests`. The session may be compromised: only its output is used, and
nothing that it claims. Between requests it is stopped.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import Any

from leafe_gym.sandbox.embedded.inside import processes, syscalls
from leafe_gym.sandbox.embedded.inside.programs import WORK, ProgramContext, run_program
from leafe_gym.sandbox.embedded.inside.session_manager import RequestFailed, SessionManager
from leafe_gym.sandbox.embedded.inside.template import ProgramTemplate, TemplateFailed
from leafe_gym.sandbox.embedded.inside.trees import digest
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken

Answer = tuple[dict[str, Any], tuple[bytes, ...]]
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG)


class Supervisor:
    """Keeps session, saved states and files, and answers the host program.

    Args:
        host: channel to the host program.
        owner: descriptor that becomes readable when the host program ends.
        session: the session and its saved states.
        context: environment of programs.
        template: process that prepared programs are forked from; None if there is none.
    """

    def __init__(
        self,
        host: Channel,
        owner: int,
        session: SessionManager,
        context: ProgramContext,
        template: ProgramTemplate | None = None,
    ) -> None:
        self._host = host
        self._owner = owner
        self._session = session
        self._context = context
        self._template = template
        if template is not None:
            session.others.add(template.pid)

    def serve(self) -> None:
        """Handle requests until the host program ends."""
        self._host.send({"ready": True, "files": type(self._session.layers).__name__})
        waiting = select.poll()
        waiting.register(self._host, select.POLLIN)
        waiting.register(self._owner, select.POLLIN)
        while True:
            ready = {fd for fd, _ in waiting.poll()}
            if self._owner in ready:
                return
            try:
                message, blob = self._host.receive(60.0)
                answer, blobs = self._answer(message, blob)
                self._session.pause()
                self._host.send({**answer, "sizes": [len(one) for one in blobs]}, b"".join(blobs))
            except ChannelBroken:
                return
            self._session.release_unused()

    def _answer(self, message: dict[str, Any], blob: bytes) -> Answer:
        try:
            return getattr(self, f"_do_{message['do']}")(message, blob)  # type: ignore[no-any-return]
        except RequestFailed as failed:
            return {"failed": failed.kind, "text": str(failed)}, ()
        except syscalls.SyscallError as error:
            return {"failed": "sandbox", "text": f"{error.what}: {error.strerror}"}, ()
        except Exception as error:  # noqa: BLE001 - no request may end the supervisor
            return {"failed": "sandbox", "text": f"{type(error).__name__}: {error}"}, ()

    # Requests of the host program.

    def _do_run_cell(self, request: dict[str, Any], code: bytes) -> Answer:
        began = time.monotonic()
        result, outputs = self._session.run_cell(
            code.decode("utf-8", "replace"), request["limit"], request["output_bytes"]
        )
        result["truncated"] = any(one.more for one in outputs)
        result["seconds"] = time.monotonic() - began
        return result, tuple(bytes(one.data) for one in outputs)

    def _do_run_program(self, request: dict[str, Any], blob: bytes) -> Answer:
        stdin, files = split_blob(request, blob)
        if files is None:
            self._session.current_id = None
        known = {1, *self._session.own_pids()}
        template = self._template if request["prepared"] else None
        try:
            ended, outputs = run_program(request, stdin, files, self._context, known, template)
        except TemplateFailed:  # a cell may have killed it
            self._template = None
            self._session.others.clear()
            self._session.kill_leftovers()  # the template and what it may still have started
            ended, outputs = run_program(request, stdin, files, self._context, known)
        if "failed" in ended:
            raise RequestFailed("sandbox", f"the program could not be started: {ended['failed']}")
        return ended, outputs

    def _do_write_file(self, request: dict[str, Any], data: bytes) -> Answer:
        self._session.current_id = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        with open(self._open(request["path"], flags, 0o644), "wb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RequestFailed("usage", f"{request['path']!r} is not a regular file")
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        return {}, ()

    def _do_read_file(self, request: dict[str, Any], _: bytes) -> Answer:
        fd = self._open(request["path"], os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise RequestFailed("absent", request["path"])
        with open(fd, "rb", buffering=0) as file:
            data = bytearray()
            while len(data) < request["limit"]:
                part = file.read(request["limit"] - len(data))
                if not part:
                    break
                data += part
        return {}, (bytes(data),)

    def _do_snapshot(self, _: dict[str, Any], __: bytes) -> Answer:
        session = self._session
        session.ensure_alive()
        memory = processes.fork_bytes(session.live_process().pid)
        number = session.save()
        size = memory + session.layers.nbytes(session.saved[number].chain)
        return {"id": number, "nbytes": size}, ()

    def _do_restore(self, request: dict[str, Any], _: bytes) -> Answer:
        self._session.restore(request["id"])
        return {}, ()

    def _do_drop(self, request: dict[str, Any], _: bytes) -> Answer:
        self._session.drop(request["id"])
        return {}, ()

    def _do_reset(self, _: dict[str, Any], __: bytes) -> Answer:
        self._session.reset()
        return {}, ()

    def _do_replace(self, request: dict[str, Any], _: bytes) -> Answer:
        self._session.replace(request["id"])
        return {}, ()

    def _do_digests(self, request: dict[str, Any], _: bytes) -> Answer:
        """Digests of a saved state's variables and files."""
        session, number = self._session, request["id"]
        if number not in session.saved:
            raise RequestFailed("lost", "the snapshot was dropped")
        folder = session.layers.view(session.saved[number].chain)
        return {"variables": session.digest(number), "files": digest(folder)}, ()

    def _do_current_digests(self, _: dict[str, Any], __: bytes) -> Answer:
        """Digests of the session's variables and files as they are now."""
        variables = self._session.current_digest()
        return {"variables": variables, "files": digest(f"{self._session.root}{WORK}")}, ()

    def _open(self, path: str, flags: int, mode: int = 0) -> int:
        folder = os.open(
            f"{self._session.root}{WORK}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        try:
            return syscalls.open_beneath(folder, path, flags, mode)
        except syscalls.SyscallError as error:
            if error.errno in (errno.EXDEV, errno.ELOOP):
                text = f"{path!r} leads out of the work folder or through a link"
                raise RequestFailed("usage", text) from error
            if error.errno in _ABSENT:
                raise RequestFailed("absent", path) from error
            raise
        finally:
            os.close(folder)


def split_blob(request: dict[str, Any], blob: bytes) -> tuple[bytes, dict[str, bytes] | None]:
    """(standard input, files of the program's own work folder or None) from a request's bytes."""
    at = request["stdin"]
    if request["files"] is None:
        return blob[:at], None
    stdin, files = blob[:at], {}
    for name, size in request["files"]:
        files[name] = blob[at : at + size]
        at += size
    return stdin, files
