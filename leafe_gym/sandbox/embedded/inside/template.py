"""Runs Python programs in copies of a process that has executed their common source.

To start an interpreter, import modules and compile takes longer than most programs run. The
template is forked when the sandbox starts, and receives limits and descriptors only. So a copy
holds nothing of the session, of other programs, or of their input.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from leafe_gym.sandbox.embedded.inside import seccomp, syscalls
from leafe_gym.sandbox.embedded.inside.program_cgroup import ProgramCgroup
from leafe_gym.sandbox.embedded.inside.programs import ENVIRON, NamespacedContext, run_first

START_S = 20.0
"""Time limit for the template to execute its source, and to fork a copy, in seconds."""

_MOST = 2**16
_FIRST_FD = 3
_FILE = "<string>"  # as with `python -c`


class TemplateFailed(Exception):
    """Raised when the template has ended or does not respond."""


class ProgramTemplate:
    """Starts the template and makes it fork copies.

    Args:
        source: Python source that defines `main`, by the sandbox's owner; it is executed with
            the supervisor's privileges, `main` without them.
        context: environment of programs.

    Raises:
        TemplateFailed: if the source raises an exception.

    Attributes:
        pid: of the template.
    """

    def __init__(self, source: str, context: NamespacedContext) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(START_S)
        self.pid = os.fork()
        if not self.pid:
            _become_template(theirs, context, source)
        theirs.close()
        self._response()

    def start(self, request: dict[str, Any], descriptors: Sequence[int], reserved: int) -> int:
        """Start a copy.

        Args:
            request: limits; see `run_program`.
            descriptors: standard input, output, error, and the pipe of its report.
            reserved: processes of this user that are not the program's.

        Returns:
            Process id of the program's parent.

        Raises:
            TemplateFailed: if it cannot be started.
        """
        kept = ("artifact", "cpu_s", "disk_mb", "memory_mb", "processes", "stack_mb")
        limits = {name: request[name] for name in kept}
        message = json.dumps({"request": limits, "reserved": reserved}).encode()
        try:
            os.kill(self.pid, signal.SIGCONT)  # a cell may have stopped it
            socket.send_fds(self._socket, [message], list(descriptors))
        except OSError as error:
            raise TemplateFailed(f"the prepared interpreter has ended: {error}") from error
        return int(self._response()["pid"])

    def reap(self, pid: int) -> None:
        """Wait for the end of a program's parent, which was killed."""
        try:
            self._socket.sendall(json.dumps({"reap": pid}).encode())
        except OSError as error:
            raise TemplateFailed(f"the prepared interpreter has ended: {error}") from error
        self._response()

    def _response(self) -> dict[str, Any]:
        try:
            data = self._socket.recv(_MOST)
        except OSError as error:
            raise TemplateFailed(f"the prepared interpreter does not respond: {error}") from error
        if not data:
            raise TemplateFailed("the prepared interpreter has ended")
        response: dict[str, Any] = json.loads(data)
        if "failed" in response:
            raise TemplateFailed(response["failed"])
        return response


def _become_template(sock: socket.socket, context: NamespacedContext, source: str) -> NoReturn:
    """Run the template in this new process."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        kept = [sock.fileno(), *context.descriptors]
        high = [os.dup2(fd, 100 + fd) for fd in kept]
        low = [os.dup2(fd, _FIRST_FD + n, inheritable=False) for n, fd in enumerate(high)]
        os.closerange(low[-1] + 1, 2**20)
        own, namespace, *cgroup = low
        context = NamespacedContext(context.path, namespace, ProgramCgroup(cgroup))
        server = _Template(socket.socket(fileno=own), context)
        server.prepare(source)
        server.serve()
    finally:
        os._exit(1)


class _Template:
    """The template's side; it ends with the supervisor.

    Args:
        sock: connection to the supervisor.
        context: environment of programs.
    """

    def __init__(self, sock: socket.socket, context: NamespacedContext) -> None:
        self._socket = sock
        self._context = context
        self._main = types.ModuleType("__main__")

    def prepare(self, source: str) -> None:
        """Execute the source, with the files of the jail: imports find the interpreter's there."""
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chroot("/jail")
        os.chdir("/")
        more = os.environ.get("PYTHONPATH", "")
        sys.path[:0] = more.split(":") if more else []
        sys.argv, sys.dont_write_bytecode = ["-c"], False
        usual = os.path.join(os.path.dirname(sys.executable), "python3")
        sys.executable = usual if os.path.exists(usual) else sys.executable
        sys.modules["__main__"] = self._main
        try:
            exec(compile(source, _FILE, "exec"), self._main.__dict__)
            answer: dict[str, Any] = {"ready": True}
        except Exception as error:  # noqa: BLE001 - reported
            answer = {"failed": f"the prepared source: {type(error).__name__}: {error}"[:1000]}
        os.fchdir(root)
        os.chroot(".")
        os.close(root)
        seccomp.program(os.uname().machine, ())  # kept for the copies
        gc.collect()
        gc.freeze()
        self._send(answer)

    def serve(self) -> None:
        """Fork copies until the supervisor closes the connection."""
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, _MOST, 4)
            if not data:
                os._exit(0)
            message = json.loads(data)
            if "reap" in message:
                with suppress(ChildProcessError):
                    os.waitpid(message["reap"], 0)
                self._send({})
            else:
                self._start(message, fds)

    def _start(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            pid = self._context.fork()
        except OSError as error:
            self._send({"failed": f"{getattr(error, 'what', 'fork')}: {error.strerror}"})
        else:
            if not pid:
                given, *writes = fds
                run_first(
                    message["request"], {}, self._context, given, writes, message["reserved"],
                    lambda: run_main(self._main, self._context.path),
                )  # fmt: skip
            self._send({"pid": pid})
        for fd in fds:
            os.close(fd)

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode())


def run_main(module: types.ModuleType, path: str) -> NoReturn:
    """Call the module's `main` as a new interpreter would."""
    main: Callable[[], object] = vars(module)["main"]
    for name in [one for one in sys.modules if one.partition(".")[0] == "leafe_gym"]:
        del sys.modules[name]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update({**ENVIRON, "PATH": path})
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth())
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException as error:  # noqa: BLE001 - shown as an interpreter shows it
        own = error.__traceback__
        traceback.print_exception(type(error), error, own and own.tb_next)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _depth() -> int:
    """The caller's frame and those below it, which a new interpreter does not have."""
    frame: types.FrameType | None = sys._getframe(1)
    depth = 0
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return depth
