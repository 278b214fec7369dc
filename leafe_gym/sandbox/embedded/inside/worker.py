"""The Python session: runs cells, and forks a copy of itself to save its state.

The original process pauses in its current state; the copy continues. What both would share is set
aside before; see `kept_state`.
"""

from __future__ import annotations

import ast
import linecache
import os
import random
import select
import site
import socket
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO

from leafe_gym.sandbox.embedded.inside.kept_state import CannotKeep, KeptState
from leafe_gym.sandbox.embedded.inside.state_digest import digest_steps, quick_digest
from leafe_gym.sandbox.embedded.inside.syscalls import PR_SET_DUMPABLE, fork, prctl
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken

_RESERVED_FDS = 4
"""Descriptors kept free of the cell's use, as forking a copy needs some."""


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
        self._kept: KeptState | None = None
        self._holding = False
        self._token = ""
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
                self._resume()
                self._send({"error": self._run_cell(message["code"])})
            elif message.get("do") == "digest":
                self._resume()
                self._send({"digest": "".join(digest_steps(self._main.__dict__))})
            elif message.get("do") == "digest_paused":
                self._digesting = digest_steps(self._main.__dict__)
            else:
                self._fork(str(message.get("token", "")))

    def _resume(self) -> None:
        """Take up again what was released for a copy."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.resume()

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
        if more := os.environ.get("PYTHONPATH"):
            sys.path[:0] = more.split(":")

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

    def _fork(self, token: str) -> None:
        """Fork: this process pauses, the copy continues on the socket that was passed."""
        new = -1
        try:
            new = self._channel.passed()
            if self._kept is None:
                kept = KeptState.of_this_process()
                kept.release()
                self._kept = kept
            child = fork()
        except (OSError, CannotKeep, ChannelBroken) as error:
            self._send({"refused": str(error)})
            if new >= 0:
                os.close(new)  # after the refusal, which is otherwise taken for an end
            return
        if child:
            os.close(new)
            if not self._holding:
                self._holding = True
                prctl(PR_SET_DUMPABLE, 0)  # later cells must not read or change this process
                self._token = token
            return
        prctl(PR_SET_DUMPABLE, 1)
        self._digesting = None
        self._holding = False
        self._channel.close()
        self._channel = Channel(socket.socket(fileno=new))
        mark = f"{self._token or token}:{quick_digest(self._main.__dict__)}"
        self._token = ""
        self._send({"here": True, "mark": mark})


def _stream(fd: int) -> TextIO:
    return os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


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
