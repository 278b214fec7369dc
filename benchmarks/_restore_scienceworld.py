"""ScienceWorld: coming back to random steps against the library's reset and replay."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from statistics import mean
from typing import Any

import gymnasium as gym
from _harness import Report, per_call, ratio
from _worlds import held_kb, replay

import leafe_gym as lg

ENV, TASK, VARIATION, SEED = "leafe/ScienceWorld-v0", "melt", 3, 0
DEPTH, RESTORES, WARM = 30, 20, 5


def measure() -> Report:
    """`RESTORES` ways back, tau uniform in 1 to `DEPTH`, of one episode of random actions."""
    from scienceworld import ScienceWorldEnv

    env = lg.RollbackWrapper(
        gym.make(ENV, task=TASK, variation=VARIATION, max_steps=None), "native"
    )
    commands = _episode(env)
    theirs = ScienceWorldEnv(TASK, envStepLimit=10_000)
    theirs.load(TASK, VARIATION, "easy")
    rng = random.Random(1)
    taus = [rng.randint(1, DEPTH) for _ in range(WARM + RESTORES)]
    samples = _sample(env, theirs, commands, taus)
    theirs.close()
    figures = {
        "scienceworld_vs_replay": sum(samples["parked"]) / sum(samples["replay"]),
        "scienceworld_fast_vs_replay": sum(samples["fast"]) / sum(samples["replay"]),
        "scienceworld_fast_vs_replay_median": ratio(samples["fast"], samples["replay"]),
        "scienceworld_restore_ms": 1e3 * mean(samples["parked"]),
        "scienceworld_fast_ms": 1e3 * mean(samples["fast"]),
        "scienceworld_park_ms": 1e3 * mean(samples["hold"]),
        "scienceworld_replay_ms": 1e3 * mean(samples["replay"]),
        "scienceworld_snapshot_kb": held_kb(env, SEED, commands),
        "scienceworld_parked_mb": _parked_mb(env),
    }
    env.close()
    return Report(
        figures=figures,
        goals={
            "scienceworld_vs_replay": ("<=", 1 / 5),
            "scienceworld_fast_vs_replay": ("<=", 1 / 3),
        },
        meta={
            "scienceworld": {
                "task": TASK,
                "variation": VARIATION,
                "restores": RESTORES,
                "tau": sorted(taus[WARM:]),
                "version": version("scienceworld"),
            }
        },
    )


def _sample(
    env: lg.RollbackWrapper, theirs: Any, commands: Sequence[str], taus: Sequence[int]
) -> dict[str, list[float]]:
    """Seconds of each way back to each tau, one after another; the first `WARM` are dropped.

    A restore is followed by a question to the game, which makes up for what it puts off.
    """
    ours: Any = env.unwrapped
    marks, states = [], []
    for command in commands:
        env.step(command)
        marks.append(env.snapshot())
        states.append(ours.get_state())
    samples: dict[str, list[float]] = {name: [] for name in ("hold", "parked", "fast", "replay")}
    for tau in taus:
        back = partial(_back, env, marks[tau - 1])
        cases: dict[str, Callable[[], object]] = {
            "hold": partial(ours.hold, states[tau - 1]),
            "parked": back,
            "fast": back,
            "replay": partial(replay, theirs.reset, theirs.step, commands[:tau]),
        }
        for name, case in cases.items():
            _forget(ours)
            samples[name].append(per_call(case, 1))
        back()
        assert max(0, ours._points) == theirs.lastStepScore
    for mark in marks:
        env.release(mark)
    return {name: values[WARM:] for name, values in samples.items()}


def _episode(env: lg.RollbackWrapper) -> list[str]:
    """Random actions that do not end the episode."""
    rng = random.Random(0)
    _, info = env.reset(seed=SEED)
    commands: list[str] = []
    for _ in range(DEPTH):
        safe = [one for one in info["admissible_commands"] if not one.startswith("focus")]
        commands.append(rng.choice(safe))
        *_, terminated, _, info = env.step(commands[-1])
        if terminated:
            raise RuntimeError("the episode ended: use another variation")
    env.reset(seed=SEED)
    return commands


def _back(env: lg.RollbackWrapper, mark: lg.Snapshot) -> None:
    env.restore(mark)
    env.unwrapped._handle.game.ask("getNumMoves")


def _forget(ours: Any) -> None:
    """Have no game wait on the way by chance: what is not parked begins anew."""
    pool = ours._handle.pool()
    ours._handle.return_game()
    for game in pool._idle:
        if not game.held:
            game.scenario = None


def _parked_mb(env: lg.RollbackWrapper, number: int = 8) -> float:
    """Megabytes of Java's heap that a parked game takes."""
    ours: Any = env.unwrapped
    jvm, state = ours._handle.pool().jvm, ours.get_state()
    before = _heap(jvm)
    for _ in range(number):
        ours.hold(state)
    grown = _heap(jvm) - before
    ours.release_state(state)
    return grown / number / 1e6


def _heap(jvm: Any) -> int:
    with jvm.connection() as wire:
        wire.static("java.lang.System", "gc")
        runtime = wire.static("java.lang.Runtime", "getRuntime")
        return int(wire.call(runtime, "totalMemory")) - int(wire.call(runtime, "freeMemory"))
