"""Trying things out without bothering the user with what an environment warns about."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium as gym

_LOCK = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """Ignore warnings; the user sees them where the environment is really used.

    Python's warning filters belong to the process, so only one thread at a time may change and
    put them back.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def close_quietly(env: gym.Env[Any, Any]) -> None:
    """Close an instance made for a trial; what its close raises changes no result."""
    with suppress(Exception):
        env.close()
