"""Runs functions in forked children and returns what they raised or returned."""

from __future__ import annotations

import os
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any


def in_child(*calls: Callable[[], Any], run_exit_handlers: bool = False) -> list[str]:
    """Fork once and make calls in the child.

    Args:
        calls: run one after the other, whatever they raise.
        run_exit_handlers: run all pending finalizers, as the interpreter does at exit.

    Returns:
        For each call, the name of the exception's class, or the text of its result.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tests may run threads
        pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, pickle.dumps([_outcome(call) for call in calls]))
        os.close(write)
        if run_exit_handlers:
            weakref.finalize._exitfunc()  # type: ignore[attr-defined]
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        outcomes: list[str] = pickle.loads(pipe.read())
    os.waitpid(pid, 0)
    return outcomes


def _outcome(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except BaseException as error:
        return type(error).__name__
