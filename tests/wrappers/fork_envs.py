"""Environments for the tests of backend `fork`; imported by its processes, too."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from toy_envs import Counter


class InC(Counter):
    """Keeps its number in memory of the C library and draws from a generator of the C library."""

    def __init__(self, goal: int = 40) -> None:
        self.lib = ctypes.CDLL(None)
        self.lib.malloc.restype = ctypes.c_void_p
        self.lib.lrand48.restype = ctypes.c_long
        place = ctypes.c_void_p(self.lib.malloc(8))
        self.cell = ctypes.cast(place, ctypes.POINTER(ctypes.c_long))
        super().__init__(goal)

    @property
    def value(self) -> int:
        return int(self.cell[0])

    @value.setter
    def value(self, value: int) -> None:
        self.cell[0] = value

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.lib.srand48(seed or 0)
        return super().reset(seed=seed, options=options)

    def chance(self) -> int:
        return int(self.lib.lrand48()) % 100


class AllLuck(InC):
    """Draws from every generator there is."""

    def chance(self) -> int:
        drawn = random.randrange(100), int(np.random.randint(100)), int(self.np_random.integers(9))
        return super().chance() + sum(drawn)


class Sick(Counter):
    """Can be made to fail in every way."""

    def step(self, action: str) -> Any:
        text, reward, over, cut, info = super().step(action)
        if action == "raise":
            raise LookupError("no such door", 7)
        if action == "odd":
            raise Odd("x", 1, 2)
        if action == "die":
            os.abort()
        if action == "sleep":
            time.sleep(60)
        if action == "handle":
            info["handle"] = threading.Lock()
        if action == "modules":
            text = f"torch {'torch' in sys.modules}, threads {len(os.listdir('/proc/self/task'))}"
        if action == "pid":
            text = str(os.getpid())
        return text, reward, over, cut, info

    def render(self) -> Any:
        return f"drawn {self.value}"


class Odd(Exception):
    """Cannot be pickled back."""

    def __init__(self, one: str, two: int, three: int) -> None:
        super().__init__(f"{one} is odd")


class Holds(Counter):
    """Holds something, from its reset or construction on, but not in the tests' process."""

    def __init__(self, what: str = "", early: bool = False) -> None:
        super().__init__()
        self.what, self.early = what, early
        self.elsewhere = os.environ["FORK_TEST_PROCESS"] != str(os.getpid())
        self.held: Any = self.hold() if early and self.elsewhere else None

    def reset(self, **kwargs: Any) -> Any:
        if self.held is None and self.elsewhere:
            self.held = self.hold()
        return super().reset(**kwargs)

    def hold(self) -> Any:
        if self.what == "thread":
            thread = threading.Thread(target=time.sleep, args=(600,), daemon=True, name="ticker")
            thread.start()
            return thread
        if self.what == "socket":
            return socket.socketpair()
        if self.what == "pipe":
            return os.pipe()
        if self.what == "subprocess":
            return subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
        if self.what == "memory":
            return mmap.mmap(-1, 4096)
        return tempfile.NamedTemporaryFile("w")


class Reader(Counter):
    """Its luck are the lines of a file that it holds open."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - held on purpose

    def reset(self, **kwargs: Any) -> Any:
        self.file.seek(0)
        return super().reset(**kwargs)

    def chance(self) -> int:
        return self.file.read(1)[0]

    def close(self) -> None:
        self.file.close()
