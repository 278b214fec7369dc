"""A live Python session in a child process: cells in, what they print out.

One JSON line per cell over pipes of its own, so what a cell prints cannot pass for an answer. The
other side may be hostile: lines are bounded, and whatever is no answer ends the session.
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

from leafe_gym.errors import SandboxError
from leafe_gym.sandbox.base import CellResult, SandboxLimits
from leafe_gym.sandbox.limited_process import end_group, set_limits

WORKER = r"""
import ast, io, json, os, sys, traceback
asked, told, most = map(int, sys.argv[1:])
asked, told = os.fdopen(asked, "r"), os.fdopen(told, "w")
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

for line in asked:
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
    told.write(json.dumps([*shown, long]) + "\n")
    told.flush()
"""


class InterpreterProcess:
    """One interpreter process.

    Args:
        folder: its work folder.
        limits: memory and output.
        environ: its environment variables.
    """

    def __init__(self, folder: Path, limits: SandboxLimits, environ: Mapping[str, str]) -> None:
        self._most = limits.output_bytes
        asked, self._ask = os.pipe()
        self._told, told = os.pipe()
        self._buffer = bytearray()
        try:
            self._child = subprocess.Popen(
                ["python3", "-s", "-P", "-c", WORKER, str(asked), str(told), str(self._most)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=dict(environ),
                pass_fds=(asked, told),
                start_new_session=True,
                preexec_fn=lambda: set_limits(limits),
            )
        finally:
            os.close(asked)
            os.close(told)

    def run_cell(self, code: str, timeout: float) -> CellResult:
        """Run a cell; after one that timed out the session is over.

        Raises:
            SandboxError: if the interpreter ended or answered nonsense.
        """
        began = time.monotonic()
        try:
            data = (json.dumps(code) + "\n").encode()
            while data:
                data = data[os.write(self._ask, data) :]
            answer = self._answer(began + timeout)
        except TimeoutError:
            return CellResult(timed_out=True, seconds=time.monotonic() - began)
        except OSError as error:
            raise SandboxError(f"the session's interpreter is gone: {error}") from error
        stdout, stderr, failed, truncated = answer
        return CellResult(
            stdout=str(stdout),
            stderr=str(stderr),
            error=str(failed),
            truncated=bool(truncated),
            seconds=time.monotonic() - began,
        )

    def close(self) -> None:
        """End the interpreter and whatever it started."""
        if self._child.returncode is None:
            end_group(self._child.pid)
            self._child.wait()
            os.close(self._ask)
            os.close(self._told)

    def _answer(self, deadline: float) -> list[Any]:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._told], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            data = os.read(self._told, 65536)
            self._buffer += data
            if not data or len(self._buffer) > 8 * self._most + 65536:
                raise SandboxError("the session's interpreter ended, or answers too much")
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SandboxError("the session's interpreter answered nonsense") from error
        if not isinstance(answer, list) or len(answer) != 4:
            raise SandboxError("the session's interpreter answered nonsense")
        return answer
