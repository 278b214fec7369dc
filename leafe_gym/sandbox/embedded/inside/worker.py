"""The Python session: runs cells, and forks a copy of itself to save its state.

The original process pauses in its current state; the copy continues. Neither holds files of the
work folder open while the layers below are exchanged: they are closed, and reopened at the same
position in the new layers.
"""

from __future__ import annotations

import ast
import linecache
import os
import random
import select
import signal
import site
import socket
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.state_digest import digest_steps
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken

_WORK = f"{HOME}/work"
_RESERVED_FDS = 4
"""Descriptors kept free of the cell's use, as forking a copy needs some."""


class CannotFork(Exception):
    """Raised when the state cannot be saved; says why."""


class SessionWorker:
    """A session.

    Args:
        channel: to the supervisor.
        most: longest traceback, in characters.
    """

    def __init__(self, channel: Channel, most: int) -> None:
        self._channel = channel
        self._most = most
        self._cells = 0
        self._main = types.ModuleType("__main__")
        self._files: list[tuple[int, str, int, int, bool]] = []
        self._folder = ""
        self._holding = False
        self._handler: Any = signal.SIG_DFL
        self._digesting: Iterator[str] | None = None
        self._out, self._err = _stream(1), _stream(2)

    def serve(self) -> None:
        """Handle requests until the supervisor closes the connection."""
        self._prepare()
        self._send({"here": True})
        while True:
            if (
                self._digesting is not None
                and not select.select([self._channel.sock], [], [], 0)[0]
            ):
                self._digest_step()
                continue
            try:
                message, _ = self._channel.receive(None, extras=True)
            except ChannelBroken:
                os._exit(0)
            if message.get("do") == "run_cell":
                self._reopen_files()
                self._send({"error": self._run_cell(message["code"])})
            else:
                self._fork(bool(message.get("digest")))

    def _prepare(self) -> None:
        sys.stdin = os.fdopen(0)
        sys.stdout = vars(sys)["__stdout__"] = self._out
        sys.stderr = vars(sys)["__stderr__"] = self._err
        sys.argv = [""]
        for name in [one for one in sys.modules if one.partition(".")[0] == "leafe_gym"]:
            del sys.modules[name]
        sys.modules["__main__"] = self._main
        random.seed(0)
        site.main()

    def _digest_step(self) -> None:
        """Compute a part of the state digest while the process is paused and idle."""
        assert self._digesting is not None
        if done := next(self._digesting, "?"):
            self._digesting = None
            with suppress(ChannelBroken):
                self._channel.send({"digest": done})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except ChannelBroken:
            os._exit(0)

    def _run_cell(self, code: str) -> str:
        """Run a cell; its traceback, or "" if it raised nothing."""
        self._cells += 1
        error = ""
        reserved: list[int] = []
        with suppress(OSError):
            reserved += [os.dup(self._channel.fileno()) for _ in range(_RESERVED_FDS)]
        try:
            self._execute(code)
        except BaseException as raised:  # noqa: BLE001 - a cell may raise anything
            error = _described(raised)
        for fd in reserved:
            with suppress(OSError):
                os.close(fd)
        for stream in (sys.stdout, sys.stderr, self._out, self._err):
            with suppress(Exception):
                stream.flush()
        return error[: self._most]

    def _execute(self, code: str) -> None:
        name = "<cell>"
        tree = ast.parse(code, name)
        lines = code.splitlines(keepends=True)
        linecache.cache[name] = (len(code), None, lines, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        space = self._main.__dict__
        exec(compile(tree, name, "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), space)
            sys.displayhook(value)

    def _fork(self, digest: bool) -> None:
        """Fork: this process pauses, the copy continues on the socket that was passed."""
        try:
            new = self._channel.passed()
            if not self._folder:
                self._release_files()
            rng_state = random.getstate()  # a forked process is reseeded
            child = os.fork()
        except (OSError, CannotFork, ChannelBroken) as error:
            self._send({"refused": str(error)})
            return
        if child:
            os.close(new)
            if not self._holding:
                self._holding = True
                if digest:
                    self._digesting = digest_steps(self._main.__dict__)
                self._handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            _reap_children()
            return
        random.setstate(rng_state)
        self._digesting = None
        self._channel.close()
        self._channel = Channel(socket.socket(fileno=new))
        self._send({"here": True})

    def _release_files(self) -> None:
        """Close the files of the work folder and leave it."""
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            folder = _WORK
        files = [one for one in map(_opened, os.listdir("/proc/self/fd")) if one is not None]
        os.chdir("/")
        for fd, *_ in files:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, fd)
            os.close(null)
        self._folder, self._files = folder, files

    def _reopen_files(self) -> None:
        """Reopen the files of the work folder and enter it."""
        if not self._folder:
            return
        self._digesting = None
        if self._holding:
            self._holding = False
            signal.signal(signal.SIGCHLD, self._handler)
        with suppress(OSError):
            os.chdir(_WORK)
            os.chdir(self._folder)
        for fd, path, flags, place, inherited in self._files:
            with suppress(OSError):
                again = os.open(path, flags)
                if place:
                    os.lseek(again, place, os.SEEK_SET)
                os.dup2(again, fd, inheritable=inherited)
                os.close(again)
        self._folder, self._files = "", []


def _reap_children() -> None:
    """Reap children that ended with their cell; the forked copy could not wait for them."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stream(fd: int) -> TextIO:
    return os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _opened(name: str) -> tuple[int, str, int, int, bool] | None:
    """(descriptor, path, flags, position, whether inheritable) of a file below `HOME`."""
    try:
        path = os.readlink(f"/proc/self/fd/{name}")
        if not path.startswith(HOME):
            return None
        if path.endswith(" (deleted)"):
            raise CannotFork(f"{path} is still open")
        with open(f"/proc/self/fdinfo/{name}") as file:
            info = dict(line.split(":", 1) for line in file)
        flags = int(info["flags"], 8) & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC)
        return int(name), path, flags, int(info["pos"]), os.get_inheritable(int(name))
    except (FileNotFoundError, KeyError, ValueError):
        return None


def _described(raised: BaseException) -> str:
    try:
        frames = traceback.extract_tb(raised.__traceback__)
        frames = traceback.StackSummary.from_list(
            [one for one in frames if one.filename != __file__]
        )
        lines = traceback.format_exception_only(type(raised), raised)
        if frames and not isinstance(raised, SyntaxError):
            lines = ["Traceback (most recent call last):\n", *frames.format(), *lines]
        return "".join(lines)
    except Exception:  # noqa: BLE001 - formatting the exception may raise anything
        return f"{type(raised).__name__}\n"
