"""Games of TextArena and GEM: seeds, copies and turns within one process."""

from __future__ import annotations

import random
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.errors import UsageError

GAMES = [
    ("leafe/TextArena-v0", "2048-v0", ["up", "left", "[Down]", "right"]),
    ("leafe/TextArena-v0", "Minesweeper-v0", ["3 3", "0 0", "7 7", "0 7", "7 0"]),
    ("leafe/TextArena-v0", "Blackjack-v0", ["hit", "stand"]),
    ("leafe/TextArena-v0", "Bandit-v0", ["red", "blue", "green", "yellow", "purple"] * 3),
    ("leafe/Gem-v0", "game:Game2048-v0-easy", ["up", "left", "\\boxed{down}", "right"]),
    ("leafe/Gem-v0", "game:Minesweeper-v0-easy", ["reveal 2 2", "reveal 0 0", "reveal 4 4"]),
    ("leafe/Gem-v0", "game:Sokoban-v0-easy", ["up", "left", "down", "right"]),
]
LIBRARY = {"leafe/TextArena-v0": "textarena", "leafe/Gem-v0": "gem"}
each = pytest.mark.parametrize(("env_id", "game", "actions"), GAMES, ids=[g[1] for g in GAMES])


def needs(env_id: str) -> None:
    if find_spec(LIBRARY[env_id]) is None:
        name = LIBRARY[env_id]
        pytest.skip(f"{name} is not installed: pip install 'leafe-gym[{name}]'")


@each
def test_contracts(env_id: str, game: str, actions: list[str]) -> None:
    needs(env_id)
    check_env(gym.make(env_id, game=game).unwrapped, skip_render_check=True)
    report = lg.check_rollback(env_id, actions=actions, make_kwargs={"game": game})
    report.raise_for_failures()
    assert not report.unproved, str(report)
    assert report.verdict("pickle").outcome == "right", str(report)


@each
def test_rollback_while_others_play(env_id: str, game: str, actions: list[str]) -> None:
    needs(env_id)
    envs = [lg.RollbackWrapper(gym.make(env_id, game=game)) for _ in range(4)]
    marks = []
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        env.step(actions[0])
        marks.append(env.snapshot())

    def play() -> list[Any]:
        seen: list[Any] = []
        live = set(range(len(envs)))
        for action in actions * 2:
            for number in sorted(live):
                outcome = envs[number].step(action)
                seen.append((number, outcome[:4]))
                live -= {number} if outcome[2] or outcome[3] else set()
        return sorted(seen, key=lambda one: one[0])

    first = play()
    for env, mark in reversed(list(zip(envs, marks, strict=True))):
        env.restore(mark)
        random.random()
    assert play() == first


@pytest.mark.parametrize(
    ("env_id", "wrong", "said"),
    [
        ("leafe/TextArena-v0", "2048-v9", "did you mean 2048-v0"),
        ("leafe/TextArena-v0", "TicTacToe-v0", "not for one player"),
        ("leafe/Gem-v0", "game:Sokoban-v0-eazy", "did you mean game:Sokoban-v0-easy"),
    ],
)
def test_wrong_games_are_refused(env_id: str, wrong: str, said: str) -> None:
    needs(env_id)
    with pytest.raises(UsageError, match=said):
        gym.make(env_id, game=wrong).reset(seed=0)
