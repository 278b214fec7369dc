"""Runs untrusted code and returns the results of calls to its functions as plain data.

The process receives the code and the calls, but not the expected results. Whatever the code does to
this process, the other side only reads data and compares it elsewhere; the code can at most return
other data.
"""

from __future__ import annotations

import builtins
import json
import linecache
import os
import sys
import traceback
from typing import Any

from leafe_gym.envs.code.harness.codec import decode, encode

FILE = "solution.py"
MAX_TEXT = 2000


def main() -> None:
    """Read the request from standard input; write one line per result to standard output."""
    request = json.loads(sys.stdin.read())
    channel = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    nonce = request["nonce"]

    def answer(**what: Any) -> None:
        data = (nonce + json.dumps(what) + "\n").encode()
        while data:
            data = data[os.write(channel, data) :]

    lines = request["code"].splitlines(keepends=True)
    linecache.cache[FILE] = (len(request["code"]), None, lines, FILE)
    space: dict[str, Any] = {"__name__": "solution", "__builtins__": builtins}
    for part in ("prelude", "code", "setup"):
        try:
            exec(compile(request[part], FILE if part == "code" else part, "exec"), space)
        except BaseException as error:  # noqa: BLE001 - includes SystemExit: the code is untrusted
            answer(failed=part, error=type(error).__name__[:80], text=shown(error))
            os._exit(0)
    answer(loaded=True)
    for number, call in enumerate(request["calls"]):
        try:
            if isinstance(call, str):
                value = eval(compile(call, "test", "eval"), space)
            else:
                arguments, keywords = decode(call)
                value = space[request["entry"]](*arguments, **keywords)
            answer(call=number, value=encode(value))
        except BaseException as error:  # noqa: BLE001 - includes SystemExit: the code is untrusted
            answer(call=number, error=type(error).__name__[:80], text=shown(error))
    answer(done=True)
    os._exit(0)


def shown(error: BaseException) -> str:
    """The traceback, starting with the solution's own lines."""
    try:
        if isinstance(error, SyntaxError) and error.__traceback__ is not None:
            text = "".join(traceback.format_exception_only(type(error), error))
        else:
            frames = traceback.extract_tb(error.__traceback__)[1:]
            head = [*traceback.format_list(frames)]
            text = "".join([*head, *traceback.format_exception_only(type(error), error)])
        return text if len(text) <= MAX_TEXT else f"...{text[-MAX_TEXT:]}"
    except BaseException:  # noqa: BLE001 - formatting an exception may raise anything
        return type(error).__name__[:80]
