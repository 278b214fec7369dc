"""What the parts of the restore benchmark share."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Sequence

import leafe_gym as lg


def wander(env: lg.RollbackWrapper, seed: int, depth: int, not_this: str) -> list[str]:
    """Reset and take `depth` random admissible commands, never the one that ends the episode."""
    rng = random.Random(0)
    _, info = env.reset(seed=seed)
    commands: list[str] = []
    for _ in range(depth):
        commands.append(rng.choice([one for one in info["admissible_commands"] if one != not_this]))
        _, _, terminated, truncated, info = env.step(commands[-1])
        if terminated or truncated:
            raise RuntimeError(f"the episode of seed {seed} ended: use another seed")
    return commands


def replay(reset: Callable[[], object], step: Callable[[str], object], way: Sequence[str]) -> None:
    """Begin an episode and do these commands."""
    reset()
    for command in way:
        step(command)


def held_kb(env: lg.RollbackWrapper, seed: int, commands: Sequence[str]) -> float:
    """Kilobytes a held snapshot takes: an episode with one after each command, less one without.

    What states share is shared here, too.
    """
    _grown(env, seed, commands[:2], hold=True)
    with_them, without = (_grown(env, seed, commands, hold=hold) for hold in (True, False))
    return (with_them - without) / len(commands) / 1e3


def _grown(env: lg.RollbackWrapper, seed: int, commands: Sequence[str], *, hold: bool) -> int:
    """Bytes that an episode leaves behind at its end, with or without its snapshots."""
    env.reset(seed=seed)
    gc.collect()
    tracemalloc.start()
    kept = []
    for command in commands:
        env.step(command)
        if hold:
            kept.append(env.snapshot())
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for mark in kept:
        env.release(mark)
    return grown
