"""Several processes on one folder: what one of them makes, the others wait for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leafe_gym._files import open_lock, take_lock


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`, and wait for it first where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_lock(path.with_name(f"{path.name}.lock"))) as lock:
        while take_lock(lock.fileno()) is not None:
            time.sleep(0.5)
        yield
