"""Trying things out without bothering the user with what an environment warns about."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
