"""A live Python interpreter in a child process that runs cells and returns their output.

Each cell and its result is one JSON line over dedicated pipes, so nothing that a cell prints is
taken for a result. The child may be compromised: lines are bounded, and a malformed one ends the
session.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.errors import SandboxError
from leafe_gym.sandbox.base import CellResult, SandboxLimits
from leafe_gym.sandbox.limited_process import end_group, set_limits

WORKER = r"""
import ast, io, json, os, sys, traceback
request_fd, result_fd, most = map(int, sys.argv[1:])
request_fd, result_fd = os.fdopen(request_fd, "r"), os.fdopen(result_fd, "w")
space = {"__name__": "__main__", "__builtins__": __builtins__}
sys.argv = [""]

def run(code):
    tree = ast.parse(code, "<cell>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
        if value is not None:
            print(repr(value))

for line in request_fd:
    code = json.loads(line)
    out, err, error = io.StringIO(), io.StringIO(), ""
    sys.stdout, sys.stderr = out, err
    try:
        run(code)
    except BaseException as raised:
        frames = traceback.extract_tb(raised.__traceback__)
        frames = [one for one in frames if one.filename != "<string>"]
        lines = traceback.format_exception_only(type(raised), raised)
        if frames and not isinstance(raised, SyntaxError):
            lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *lines]
        error = "".join(lines)
    shown = [text[:most] for text in (out.getvalue(), err.getvalue(), error)]
    long = any(len(text) > most for text in (out.getvalue(), err.getvalue(), error))
    result_fd.write(json.dumps([*shown, long]) + "\n")
    result_fd.flush()
"""


class InterpreterProcess:
    """An interpreter process.

    Args:
        folder: working directory.
        limits: of memory and output.
        environ: environment variables.
    """

    def __init__(self, folder: Path, limits: SandboxLimits, environ: Mapping[str, str]) -> None:
        self._guard = ProcessGuard("an interpreter process")
        self._most = limits.output_bytes
        request_fd, self._requests = os.pipe()
        self._results, result_fd = os.pipe()
        self._buffer = bytearray()
        self._closed = False
        try:
            self._child = subprocess.Popen(
                [
                    "python3",
                    "-s",
                    "-P",
                    "-c",
                    WORKER,
                    str(request_fd),
                    str(result_fd),
                    str(self._most),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=dict(environ),
                pass_fds=(request_fd, result_fd),
                start_new_session=True,
                preexec_fn=lambda: set_limits(limits),
            )
        finally:
            os.close(request_fd)
            os.close(result_fd)

    def run_cell(self, code: str, timeout: float) -> CellResult:
        """Run a cell; after a timeout the process must be closed.

        Args:
            code: Python source.
            timeout: seconds.

        Raises:
            ForkedUse: after a fork, in the child.
            SandboxError: if the interpreter ended or sent a malformed result.
        """
        self._guard.check()
        began = time.monotonic()
        try:
            data = (json.dumps(code) + "\n").encode()
            while data:
                data = data[os.write(self._requests, data) :]
            response = self._receive(began + timeout)
        except TimeoutError:
            return CellResult(timed_out=True, seconds=time.monotonic() - began)
        except OSError as error:
            raise SandboxError(f"the session's interpreter has ended: {error}") from error
        stdout, stderr, failed, truncated = response
        return CellResult(
            stdout=str(stdout),
            stderr=str(stderr),
            error=str(failed),
            truncated=bool(truncated),
            seconds=time.monotonic() - began,
        )

    def close(self) -> None:
        """Kill the interpreter and its children; after a fork only close the child's pipes."""
        if self._closed:
            return
        self._closed = True
        os.close(self._requests)
        os.close(self._results)
        if not self._guard.foreign:
            end_group(self._child.pid)
            self._child.wait()

    def _receive(self, deadline: float) -> list[Any]:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select(
                [self._results], [], [], max(0.0, deadline - time.monotonic())
            )
            if not ready:
                raise TimeoutError
            data = os.read(self._results, 65536)
            self._buffer += data
            if not data or len(self._buffer) > 8 * self._most + 65536:
                raise SandboxError("the session's interpreter ended, or its result is too long")
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            result = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SandboxError("the session's interpreter sent a malformed result") from error
        if not isinstance(result, list) or len(result) != 4:
            raise SandboxError("the session's interpreter sent a malformed result")
        return result
