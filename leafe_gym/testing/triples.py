"""Random (prefix, rollback point, continuation) triples, each against an untouched environment."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym

from leafe_gym.types import INFO_KEYS
from leafe_gym.wrappers.rollback.values import private_copy, same
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

AnyEnv = gym.Env[Any, Any]
_WRONG = "sing a song"


class Difference(NamedTuple):
    """A triple after which the restored environment differs from the untouched one.

    Attributes:
        seed: of the reset.
        prefix: actions before the restore.
        tau: how many of them were kept.
        continuation: actions after it, up to the one whose outcome differs.
        got: its outcome.
        expected: the outcome in the untouched environment.
    """

    seed: int
    prefix: tuple[str, ...]
    tau: int
    continuation: tuple[str, ...]
    got: Any
    expected: Any


def triples(
    make_env: Callable[[], AnyEnv],
    count: int,
    *,
    backend: str = "auto",
    longest: int = 12,
    seeds: int = 4,
    seed: int = 0,
) -> list[Difference]:
    """Play random triples; give those that differ in observation, reward, end or info.

    Actions are drawn from `admissible_commands`; now and then one is not.

    Args:
        make_env: makes the environment, without a RollbackWrapper.
        count: of triples.
        backend: that restores.
        longest: most actions of a prefix and of a continuation, >= 1.
        seeds: the resets take turns with so many seeds, from 0.
        seed: of the draws.
    """
    rng = random.Random(seed)
    env, untouched = RollbackWrapper(make_env(), backend, factory=make_env), make_env()
    found = (
        _triple(env, untouched, rng, number % seeds, longest) for number in range(max(0, count))
    )
    differences = [one for one in found if one is not None]
    env.close()
    untouched.close()
    return differences


def _triple(
    env: RollbackWrapper, untouched: AnyEnv, rng: random.Random, seed: int, longest: int
) -> Difference | None:
    _, info = env.reset(seed=seed)
    tau, length = sorted((rng.randint(0, longest), rng.randint(0, longest)))
    snapshot = env.snapshot()
    prefix: list[str] = []
    kept = 0
    for number in range(length):
        action = _draw(rng, info)
        _, _, terminated, truncated, info = env.step(action)
        prefix.append(action)
        if terminated or truncated:
            break
        if number + 1 == tau:
            env.release(snapshot)
            snapshot, kept = env.snapshot(), tau
    now, info = env.restore(snapshot)
    expected, known = untouched.reset(seed=seed)
    for action in prefix[:kept]:
        expected, _, _, _, known = untouched.step(action)
    done: list[str] = []
    got, wanted = (now, _kept(info)), (expected, _kept(known))
    for _ in range(rng.randint(1, longest)):
        if not same(got, wanted):
            break
        done.append(_draw(rng, info))
        outcome, reference = env.step(done[-1]), untouched.step(done[-1])
        info = outcome[4]
        got, wanted = _shown(outcome), _shown(reference)
        if outcome[2] or outcome[3]:
            break
    env.release(snapshot)
    if same(got, wanted):
        return None
    return Difference(seed, tuple(prefix), kept, tuple(done), got, wanted)


def _draw(rng: random.Random, info: dict[str, Any]) -> str:
    commands = info.get("admissible_commands")
    return str(rng.choice(commands)) if commands and rng.random() < 0.9 else _WRONG


def _shown(outcome: tuple[Any, ...]) -> Any:
    observation, reward, terminated, truncated, info = outcome
    return private_copy(observation), float(reward), terminated, truncated, _kept(info)


def _kept(info: dict[str, Any]) -> dict[str, Any]:
    """The parts of an info that count, but for `won`, which a RollbackWrapper may add."""
    return {key: info[key] for key in INFO_KEYS if key in info}
