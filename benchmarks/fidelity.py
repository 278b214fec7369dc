"""Is a copy of a game the same game? `copy.deepcopy` against RollbackWrapper on the same games.

From one point the same 6 to 10 actions are played twice: in the original and in what was copied or
restored. A case is wrong if any observation, reward or ending differs. Ours also with 8
environments that take turns; there both passes must equal the one played alone.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from _harness import Report, main
from _peers import TEXT

SEEDS = range(30)
TOGETHER = 8
Play = tuple[Any, ...]


@dataclass(frozen=True)
class Game:
    """One game, as its library makes it and as this package does."""

    library: str
    name: str
    words: tuple[str, ...]
    before: int

    @property
    def key(self) -> str:
        """Its name in the report."""
        return f"{self.library}:{self.name}"

    def actions(self, seed: int) -> tuple[list[str], list[str]]:
        """(actions before the copy, actions after it); the same for everybody."""
        dice = random.Random(f"{self.key} {seed}")
        words = [dice.choice(self.words) for _ in range(self.before + 6 + seed % 5)]
        return words[: self.before], words[self.before :]


CELLS = tuple(f"[{row} {column}]" for row in range(8) for column in range(8))
MINES = tuple(f"\\boxed{{reveal {row} {column}}}" for row in range(5) for column in range(5))
MOVES = ("up", "down", "left", "right")
GAMES = (
    # Two moves in a row that change nothing end TextArena's 2048: only one before the copy.
    Game("textarena", "2048-v0", tuple(f"[{word}]" for word in MOVES), 1),
    # Mines are laid at the first move: the copy is made before it.
    Game("textarena", "Minesweeper-v0", CELLS, 0),
    Game("textarena", "Blackjack-v0", ("[hit]", "[stand]"), 2),
    Game("textarena", "Bandit-v0", ("[red]", "[blue]", "[green]", "[yellow]", "[purple]"), 2),
    Game("gem", "game:Game2048-v0-hard", tuple(f"\\boxed{{{word}}}" for word in MOVES), 3),
    Game("gem", "game:Minesweeper-v0-easy", MINES, 0),
)


def measure() -> Report:
    """Play every game with every seed."""
    games: dict[str, Any] = {}
    for game in GAMES:
        alone = [_ours(game, seed) for seed in SEEDS]
        together = [
            one
            for first in range(0, len(SEEDS), TOGETHER)
            for one in _ours_together(game, list(SEEDS)[first : first + TOGETHER])
        ]
        expected = [first for first, _ in alone]
        games[game.key] = {
            "cases": len(SEEDS),
            "deepcopy_wrong": sum(_theirs(game, seed) for seed in SEEDS),
            "ours_wrong": sum(first != again for first, again in alone),
            "ours_together_wrong": sum(
                first != again or first != alone_
                for (first, again), alone_ in zip(together, expected, strict=True)
            ),
            "backend": _wrapped(game, 0).backend_report.chosen,
        }
    return Report(
        figures={
            "ours_wrong": sum(g["ours_wrong"] + g["ours_together_wrong"] for g in games.values()),
            "deepcopy_wrong": sum(g["deepcopy_wrong"] for g in games.values()),
            "cases": sum(g["cases"] for g in games.values()),
            "games": games,
        },
        goals={"ours_wrong": ("<=", 0)},
        meta={
            "samples": len(SEEDS) * len(GAMES),
            "actions": "6 to 10 after the copy",
            "ours_cases": "each once alone and once with 8 environments taking turns",
        },
    )


def _theirs(game: Game, seed: int) -> bool:
    """Whether a deep copy goes on otherwise than its original."""
    env, step = (_textarena if game.library == "textarena" else _gem)(game.name, seed)
    before, after = game.actions(seed)
    _play(lambda action: step(env, action), before)
    twin = copy.deepcopy(env)
    first = _play(lambda action: step(env, action), after)
    return first != _play(lambda action: step(twin, action), after)


def _textarena(name: str, seed: int) -> tuple[Any, Callable[[Any, str], Play]]:
    import textarena

    env = textarena.make(name)
    env.reset(num_players=1, seed=seed)
    env.get_observation()

    def step(env: Any, action: str) -> Play:
        done, _ = env.step(action)
        seen = env.get_observation()
        return (done, str(seen), str(env.close()[0]) if done else "")

    return env, step


def _gem(name: str, seed: int) -> tuple[Any, Callable[[Any, str], Play]]:
    import gem

    env = gem.make(name)
    env.reset(seed=seed)

    def step(env: Any, action: str) -> Play:
        seen, reward, terminated, truncated, info = env.step(action)
        return (bool(terminated or truncated), seen, float(reward), info["suffix"])

    return env, step


def _play(step: Callable[[str], Play], actions: Sequence[str]) -> list[Play]:
    """What came of the actions, up to the end of the game."""
    played = []
    for action in actions:
        played.append(step(action))
        if played[-1][0]:
            break
    return played


def _wrapped(game: Game, seed: int) -> Any:
    """Our environment at the point where the copy is made."""
    import gymnasium as gym

    import leafe_gym as lg

    env_id = "leafe/TextArena-v0" if game.library == "textarena" else "leafe/Gem-v0"
    env = lg.RollbackWrapper(gym.make(env_id, game=game.name))
    env.reset(seed=seed)
    _play(lambda action: _step(env, action), game.actions(seed)[0])
    env.release(env.snapshot())
    return env


def _step(env: Any, action: str) -> Play:
    observation, reward, terminated, truncated, info = env.step(action)
    return (terminated or truncated, observation, reward, terminated, info["won"])


def _ours(game: Game, seed: int) -> tuple[list[Play], list[Play]]:
    """The same actions before and after a restore."""
    env = _wrapped(game, seed)
    after = game.actions(seed)[1]
    mark = env.snapshot()
    first = _play(lambda action: _step(env, action), after)
    env.restore(mark)
    return first, _play(lambda action: _step(env, action), after)


def _ours_together(game: Game, seeds: list[int]) -> list[tuple[list[Play], list[Play]]]:
    """The same with all seeds taking turns, action by action, in both passes."""
    envs = [_wrapped(game, seed) for seed in seeds]
    marks = [env.snapshot() for env in envs]
    first = _turns(envs, [game.actions(seed)[1] for seed in seeds])
    for env, mark in zip(reversed(envs), reversed(marks), strict=True):
        env.restore(mark)
    again = _turns(envs, [game.actions(seed)[1] for seed in seeds])
    return list(zip(first, again, strict=True))


def _turns(envs: Sequence[Any], actions: Sequence[Sequence[str]]) -> list[list[Play]]:
    played: list[list[Play]] = [[] for _ in envs]
    for turn in range(max(map(len, actions))):
        for env, words, plays in zip(envs, actions, played, strict=True):
            if turn < len(words) and not (plays and plays[-1][0]):
                plays.append(_step(env, words[turn]))
    return played


if __name__ == "__main__":
    main(measure, peer=TEXT)
