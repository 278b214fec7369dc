"""The backend `fork` on an environment whose state is memory of a C library.

Right: random walks over snapshots and restores, every outcome compared with an untouched twin.
Time: a snapshot, a restore and the step after it, with a small host.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import time
from typing import Any

import gymnasium as gym
from _harness import Report, main, median

import leafe_gym as lg

CASES = 60
SAMPLES = 200


class InC(gym.Env[str, str]):
    """A counter and a random stream, both kept by the C library."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self) -> None:
        self.lib = ctypes.CDLL(None)
        self.lib.malloc.restype = ctypes.c_void_p
        self.lib.nrand48.restype = ctypes.c_long
        memory = ctypes.c_void_p(self.lib.malloc(64))
        self.state = ctypes.cast(memory, ctypes.POINTER(ctypes.c_ushort))
        self.count = ctypes.cast(memory.value + 32, ctypes.POINTER(ctypes.c_long))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Seed the stream; the count is 0."""
        super().reset(seed=seed)
        for place, word in enumerate(self.np_random.integers(0, 2**16, 3)):
            self.state[place] = int(word)
        self.count[0] = 0
        return "0", {"instruction": "Say add or draw.", "admissible_commands": ["add", "draw"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Add one, or draw a number."""
        self.count[0] += 1
        drawn = self.lib.nrand48(self.state) % 1000 if action == "draw" else 0
        return f"{self.count[0]} {drawn}", 0.0, False, False, {"won": False}


def measure() -> Report:
    """Check, then time."""
    gym.register("bench/InC-v0", InC)
    env = lg.RollbackWrapper(gym.make("bench/InC-v0"), "fork")
    env.reset(seed=1)
    env.step("draw")
    began = time.perf_counter()
    env.release(env.snapshot())
    first = time.perf_counter() - began
    wrong = sum(not continues(env, seed) for seed in range(CASES))
    times = [time_once(env) for _ in range(SAMPLES)]
    refused = lg.check_rollback(InC, backends=["pickle", "deepcopy"])
    env.close()
    saved, restored, stepped = (1e3 * median(column) for column in zip(*times, strict=True))
    return Report(
        figures={
            "wrong": wrong,
            "cases": CASES,
            "snapshot_ms": saved,
            "restore_ms": restored,
            "step_ms": stepped,
            "first_snapshot_ms": 1e3 * first,
            "others": {v.backend: v.outcome for v in refused.verdicts},
        },
        goals={"wrong": ("<=", 0), "restore_ms": ("<=", 5)},
        meta={"samples": SAMPLES, "first_snapshot": "starts the host and proves the backend"},
    )


def continues(env: lg.RollbackWrapper, seed: int) -> bool:
    """Whether what follows a restore is what followed the snapshot, twice, in random play."""
    rng = random.Random(seed)
    env.reset(seed=seed)
    for _ in range(rng.randint(0, 12)):
        env.step(rng.choice(["add", "draw"]))
    mark = env.snapshot()
    actions = [rng.choice(["add", "draw"]) for _ in range(8)]
    expected = [env.step(action)[0] for action in actions]
    again = []
    for _ in range(2):
        env.restore(mark)
        again.append([env.step(action)[0] for action in actions])
    env.release(mark)
    return again == [expected, expected]


def time_once(env: lg.RollbackWrapper) -> tuple[float, float, float]:
    """Seconds of a snapshot, a restore, a step."""
    marks = [time.perf_counter()]
    mark = env.snapshot()
    marks.append(time.perf_counter())
    env.restore(mark)
    marks.append(time.perf_counter())
    env.step("draw")
    marks.append(time.perf_counter())
    env.release(mark)
    saved, restored, stepped = (b - a for a, b in itertools.pairwise(marks))
    return saved, restored, stepped


if __name__ == "__main__":
    main(measure)
