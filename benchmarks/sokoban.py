"""Sokoban against GEM's: the same board, boxes and actions, in one run."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from _harness import Report, alternate, main, median, per_call, ratio
from _peers import TEXT

import leafe_gym as lg
from leafe_gym.envs.sokoban.env import SokobanEnv

GAME = "game:Sokoban-v0-easy"
SIZE, BOXES = 6, 2
SEED = 3
WORDS = ("up", "down", "left", "right")
SHORT, LONG = 5, 100
CALLS = 400
RESETS = 12
WARM = 40


def measure() -> Report:
    """Time saving and restoring, steps and resets."""
    board, words = _board(_gem()), _walk(_board(_gem()))
    wrapped = {taken: _wrapped(board, words[:taken]) for taken in (SHORT, LONG)}
    bare = {taken: _bare(board, words[:taken]) for taken in (SHORT, LONG)}
    theirs = _gem()
    for word in words[:SHORT]:
        theirs.step(f"\\boxed{{{word}}}")
    assert _board(theirs) == bare[SHORT].board.text, "the two do not play the same game"
    restores = alternate(
        {
            "gem": lambda: per_call(lambda: copy.deepcopy(theirs), CALLS),
            **{f"bare {n}": _timed(_round_trip(env)) for n, env in bare.items()},
            **{f"wrapped {n}": _timed(_there_and_back(env)) for n, env in wrapped.items()},
        }
    )
    steps = alternate(
        {
            "gem": lambda: _steps(copy.deepcopy(theirs), [f"\\boxed{{{w}}}" for w in words]),
            "bare": lambda: _steps(_bare(board, []), words),
            "wrapped": lambda: _steps(_wrapped(board, []), words),
        }
    )
    resets = alternate(
        {"gem": _resets(_gem()), "ours": _resets(SokobanEnv(size=SIZE, boxes=BOXES))}
    )
    mark = wrapped[LONG].snapshot()
    return Report(
        figures={
            "restore_vs_gem": ratio(restores[f"bare {SHORT}"], restores["gem"]),
            "wrapper_restore_vs_gem": ratio(restores[f"wrapped {SHORT}"], restores["gem"]),
            "restore_flat": ratio(restores[f"wrapped {LONG}"], restores[f"wrapped {SHORT}"]),
            "native_restore_flat": ratio(restores[f"bare {LONG}"], restores[f"bare {SHORT}"]),
            "steps_vs_gem": 1 / ratio(steps["bare"], steps["gem"]),
            "wrapper_steps_vs_gem": 1 / ratio(steps["wrapped"], steps["gem"]),
            "reset_vs_gem": ratio(resets["ours"], resets["gem"]),
            "snapshot_bytes": mark.nbytes,
            "state_bytes": len(pickle.dumps(bare[LONG].get_state())),
            "microseconds": {
                "gem_deepcopy": 1e6 * median(restores["gem"]),
                **{
                    f"{kind}_restore_at_{taken}": 1e6 * median(restores[f"{kind} {taken}"])
                    for kind in ("bare", "wrapped")
                    for taken in (SHORT, LONG)
                },
                **{f"{kind}_step": 1e6 * median(values) for kind, values in steps.items()},
                **{f"{kind}_reset": 1e6 * median(values) for kind, values in resets.items()},
            },
        },
        goals={
            "restore_vs_gem": ("<=", 0.25),
            "wrapper_restore_vs_gem": ("<=", 1),
            "restore_flat": ("<=", 1.2),
            "native_restore_flat": ("<=", 1.2),
            "steps_vs_gem": (">=", 5),
            "reset_vs_gem": ("<=", 0.2),
            "snapshot_bytes": ("<=", 2048),
        },
        meta={
            "samples": len(restores["gem"]),
            "calls_a_sample": CALLS,
            "resets_a_sample": RESETS,
            "board": f"{SIZE} by {SIZE}, {BOXES} boxes, GEM's level of seed {SEED}",
            "backend": wrapped[LONG].backend_report.chosen,
            "restore": "saving and restoring once; GEM: one deep copy, its only way",
            "warm": f"wrapped environments have done {WARM} episodes before",
            "reset": "each library's own generator, same size and number of boxes",
        },
    )


def _gem() -> Any:
    import gem

    env = gem.make(GAME, max_turns=10**9)
    env.reset(seed=SEED)
    return env


def _board(env: Any) -> str:
    """GEM's position in this package's symbols."""
    free = {1: "-", 2: ".", 3: "*", 4: "$"}
    rows = []
    for fixed, state in zip(env.room_fixed.tolist(), env.room_state.tolist(), strict=True):
        cells = zip(fixed, state, strict=True)
        rows.append("".join(_PLAYER[f] if s == 5 else free.get(s, "#") for f, s in cells))
    return "\n".join(rows)


_PLAYER = {1: "@", 2: "+"}


def _bare(board: str, words: list[str]) -> SokobanEnv:
    env = SokobanEnv(size=SIZE, boxes=BOXES, max_steps=10**9)
    env.reset(options={"board": board})
    for word in words:
        env.step(word)
    return env


def _wrapped(board: str, words: list[str]) -> Any:
    made = gym.make("leafe/Sokoban-v0", size=SIZE, boxes=BOXES, max_steps=10**9)
    env = lg.RollbackWrapper(made)
    for _ in range(WARM):  # a new wrapper watches its environment more closely at first
        env.reset(options={"board": board})
    env.reset(options={"board": board})
    for word in words:
        env.step(word)
    env.release(env.snapshot())  # chooses and proves the backend, once
    return env


def _walk(board: str) -> list[str]:
    """A random walk that does not win."""
    env, dice = _bare(board, []), random.Random(SEED)
    words: list[str] = []
    while len(words) < LONG:
        state, word = env.get_state(), dice.choice(WORDS)
        if env.step(word)[2]:
            env.set_state(state)
        else:
            words.append(word)
    return words


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    return lambda: per_call(call, CALLS)


def _round_trip(env: SokobanEnv) -> Callable[[], object]:
    return lambda: env.set_state(env.get_state())


def _there_and_back(env: Any) -> Callable[[], object]:
    return lambda: env.restore(env.snapshot())


def _steps(env: Any, words: list[str]) -> float:
    actions = iter(words)
    return per_call(lambda: env.step(next(actions)), len(words))


def _resets(env: Any) -> Callable[[], float]:
    def sample() -> float:
        seeds = iter(range(RESETS))
        return per_call(lambda: env.reset(seed=next(seeds)), RESETS)

    return sample


if __name__ == "__main__":
    main(measure, peer=TEXT)
