"""The adapters' own logic, with stand-ins for the libraries."""

from __future__ import annotations

import random
import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.errors import MissingExtra, UsageError


class Kind(Enum):
    PROMPT = 0
    PLAYER_ACTION = 1
    GAME_ADMIN = 2
    GAME_BOARD = 3


class Dice:
    """In the manner of TextArena: throw until the sum is 12; more than 15 loses."""

    def __init__(self, limit: int = 9) -> None:
        self.limit = limit

    def reset(self, num_players: int, seed: int | None = None) -> None:
        assert num_players == self.players, f"needs {self.players}"
        random.seed(seed)
        self.sum = self.turn = 0
        self.rewards: dict[int, float] | None = None
        self.about: dict[int, dict[str, Any]] = {0: {}}
        self.news = [(-1, "Throw [die] to 12.", Kind.PROMPT)]

    players = 1

    def step(self, action: str) -> tuple[bool, dict[str, Any]]:
        self.news.append((0, action, Kind.PLAYER_ACTION))
        self.turn += 1
        if action == "[cheat]":
            return self.end(1.0, "Invalid Move", invalid_move=True)
        if action != "[die]":
            self.news.append((-1, "No such move.", Kind.GAME_ADMIN))
            return False, {}
        self.sum += random.randint(1, 6)
        self.news.append((-1, f"Sum {self.sum}", Kind.GAME_BOARD))
        if self.sum >= 12:
            return self.end(float(self.sum <= 15), "Over.")
        return self.end(0.5, "The turn limit.") if self.turn >= self.limit else (False, {})

    def end(self, reward: float, reason: str, **more: Any) -> tuple[bool, dict[str, Any]]:
        self.rewards, self.about = {0: reward}, {0: {"reason": reason, **more}}
        return True, {}

    def get_observation(self) -> tuple[int, list[Any]]:
        news, self.news = self.news, []
        return 0, news

    def close(self) -> tuple[Any, Any]:
        return self.rewards, self.about


class Duel(Dice):
    players = 2


class Boxed:
    """In the manner of GEM: say heads until it is, five times at most."""

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        random.seed(seed)
        self.turns = 0
        return "Call heads.", {"suffix": "Turn 0"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turns += 1
        suffix = {"suffix": f"Turn {self.turns}"}
        if action != "\\boxed{heads}":
            return "Bad format", -0.1, True, False, suffix
        if random.random() < 0.2:
            return "Congratulations!", 1.0, True, False, suffix
        late = self.turns >= 5
        return "Tails", 0.0, late, late, suffix


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    arena: Any = ModuleType("textarena")
    games = {"Dice-v0-raw": Dice, "Duel-v0": Duel}
    arena.make = lambda name, **kwargs: games[name](**kwargs)
    arena.ObservationType = Kind
    gem: Any = ModuleType("gem")
    gem.make = lambda name: Boxed()
    known = {arena: dict(games), gem: {"game:Coin-v0": Boxed}}
    for library, registry in known.items():
        monkeypatch.setitem(sys.modules, library.__name__, library)
        name = f"{library.__name__}.envs.registration"
        monkeypatch.setitem(sys.modules, f"{library.__name__}.envs", ModuleType("envs"))
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(ENV_REGISTRY=registry))


def arena(game: str = "Dice-v0", **kwargs: Any) -> gym.Env[Any, Any]:
    return gym.make("leafe/TextArena-v0", game=game, **kwargs).unwrapped


@pytest.mark.usefixtures("libraries")
def test_textarena_in_words() -> None:
    env = arena()
    observation, info = env.reset(seed=3)
    assert (observation, info["instruction"]) == ("The game begins.", "Throw [die] to 12.")
    assert "admissible_commands" not in info
    dice, total = random.Random(3), 0
    while total < 12:
        total += dice.randint(1, 6)
        observation, reward, terminated, truncated, info = env.step("die")
    assert observation == f"Sum {total}\nOver."
    assert (reward, terminated, truncated) == (float(total <= 15), True, False)
    assert (info["won"], info["score"]) == (total <= 15, reward)


@pytest.mark.usefixtures("libraries")
def test_textarena_endings() -> None:
    env = arena(limit=1, render_mode="ansi")
    env.reset(seed=0)
    observation, _, terminated, truncated, info = env.step("[coin]")
    assert (terminated, truncated, info["feedback"]) == (False, False, "No such move.")
    assert env.render() == observation == "No such move."
    assert env.step("die")[2:4] == (False, True)
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step("cheat")
    assert (reward, terminated, info["won"], info["feedback"]) == (1.0, True, False, "Invalid Move")


@pytest.mark.usefixtures("libraries")
def test_gem_in_words() -> None:
    env = gym.make("leafe/Gem-v0", game="game:Coin-v0").unwrapped
    endings = set()
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        assert (observation, info["instruction"]) == ("Turn 0", "Call heads.")
        terminated = truncated = False
        while not (terminated or truncated):
            observation, _, terminated, truncated, info = env.step("heads")
        assert observation.endswith(f"Turn {env.unwrapped._env.turns}")  # type: ignore[attr-defined]
        assert info["won"] == terminated
        endings.add((terminated, truncated))
    assert endings == {(True, False), (False, True)}
    env.reset()
    assert env.step("\\boxed{edge}")[1:3] == (-0.1, True)


@pytest.mark.usefixtures("libraries")
def test_rollback_keeps_the_luck_of_each() -> None:
    envs = [lg.RollbackWrapper(gym.make("leafe/TextArena-v0", game="Dice-v0")) for _ in range(3)]
    marks = []
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        marks.append(env.snapshot())
    first = [[env.step("die")[0] for env in envs] for _ in range(2)]
    for env, mark in zip(envs, marks, strict=True):
        env.restore(mark)
        random.random()
    assert [[env.step("die")[0] for env in envs] for _ in range(2)] == first


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("env_id", "game", "said"),
    [
        ("leafe/TextArena-v0", "Dise-v0", "did you mean"),
        ("leafe/TextArena-v0", "?", r"see textarena\.envs"),
        ("leafe/TextArena-v0", "Duel-v0", "not for one player: needs 2"),
        ("leafe/Gem-v0", "game:Coins-v0", "did you mean game:Coin-v0"),
        ("leafe/Gem-v0", "?", r"see gem\.print_envs"),
    ],
)
def test_wrong_games(env_id: str, game: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gym.make(env_id, game=game).unwrapped.reset(seed=0)


@pytest.mark.parametrize(
    ("env_id", "module", "extra"),
    [("leafe/TextArena-v0", "textarena", "textarena"), ("leafe/Gem-v0", "gem", "gem")],
)
def test_missing(monkeypatch: pytest.MonkeyPatch, env_id: str, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'leafe-gym\[{extra}\]'"):
        gym.make(env_id)
