"""Small environments for these tests: one that is right, and one for each way to be wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.envs.space import TextSpace

ACTIONS = ("add", "double", "draw", "wait")


class Counter(gym.Env[str, str]):
    """A number that actions change; `draw` adds a random one. Right in every way."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, goal: int = 40) -> None:
        self.goal = goal
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.value = 0
        self.trail: list[str] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.value = int(self.np_random.integers(1, 5)) + int((options or {}).get("plus", 0))
        self.trail = []
        return self.text(), {"instruction": "Choose: add, double, draw or wait."}

    def text(self) -> str:
        return f"value {self.value} after {len(self.trail)}"

    def chance(self) -> int:
        return int(self.np_random.integers(1, 100))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.trail.append(action)
        if action == "add":
            self.value += 1
        elif action == "double":
            self.value *= 2
        elif action == "draw":
            self.value += self.chance()
        over = self.value >= 1_000_000
        return self.text(), float(self.value == self.goal), over, False, {"score": self.value}


class Native(Counter):
    """The same with native snapshots; np_random is left to the wrapper."""

    def get_state(self) -> tuple[int, tuple[str, ...]]:
        return self.value, tuple(self.trail)

    def set_state(self, state: tuple[int, tuple[str, ...]]) -> None:
        self.value, self.trail = state[0], list(state[1])


class LiveState(Native):
    """Hands out its own list, so later steps change the snapshot."""

    def get_state(self) -> Any:
        return self.value, self.trail

    def set_state(self, state: Any) -> None:
        self.value, self.trail = state


class AdoptsState(Native):
    """Goes on in the list it was given, so a snapshot is good once."""

    def get_state(self) -> Any:
        return self.value, list(self.trail)

    def set_state(self, state: Any) -> None:
        self.value, self.trail = state


class ForgetsGenerator(Native):
    """Draws from a generator of its own that get_state leaves out."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self.own = np.random.default_rng(seed)
        return super().reset(seed=seed, options=options)

    def chance(self) -> int:
        return int(self.own.integers(1, 100))


class ForgetsLevel(Native):
    """Keeps what reset made of the seed out of its state."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        out = super().reset(seed=seed, options=options)
        self.level = int(self.np_random.integers(0, 10**6))
        return out

    def text(self) -> str:
        return f"{super().text()} on level {getattr(self, 'level', 0)}"


class OnlyHere(Native):
    """Its state is a note to itself, worthless in other instances."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self.notes: dict[int, Any] = getattr(self, "notes", {})
        return super().reset(seed=seed, options=options)

    def get_state(self) -> Any:
        self.notes[len(self.notes)] = super().get_state()
        return len(self.notes) - 1

    def set_state(self, state: Any) -> None:
        super().set_state(self.notes[state])


class Ez(Counter, gym.utils.EzPickle):
    """Pickles its constructor's arguments."""

    def __init__(self, goal: int = 40) -> None:
        gym.utils.EzPickle.__init__(self, goal)
        super().__init__(goal)


class Rebuilt(Counter):
    """Pickles into a new object."""

    def __reduce__(self) -> Any:
        return Rebuilt, (self.goal,)


class Forgetful(Counter):
    """Leaves its value out of its pickle."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "value": 0}


class Locked(Counter):
    """Cannot be pickled or copied."""

    def __init__(self, goal: int = 40) -> None:
        super().__init__(goal)
        self.lock = threading.RLock()


class LaterLocked(Counter):
    """Can be pickled until a wait."""

    def step(self, action: str) -> Any:
        if action == "wait":
            self.lock = threading.RLock()
        return super().step(action)


class IgnoresSeed(Counter):
    """Every episode is another one."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        return super().reset(seed=random.SystemRandom().randrange(2**31))


class GlobalRandom(Counter):
    """Draws from both global generators without saying so."""

    def chance(self) -> int:
        return random.randrange(1, 100) + int(np.random.randint(1, 100))


class DeclaredGlobal(GlobalRandom):
    """Says so."""

    metadata: dict[str, Any] = {"render_modes": [], "global_rng": True}  # noqa: RUF012


class OneInfo(Native):
    """Hands out one info dict, again and again."""

    def __init__(self, goal: int = 40) -> None:
        super().__init__(goal)
        self.info: dict[str, Any] = {}

    def step(self, action: str) -> Any:
        *rest, info = super().step(action)
        self.info.update(info, trail=self.trail)
        return *rest, self.info


class Deaf(Counter):
    """Nothing changes what is seen."""

    def text(self) -> str:
        return "nothing"


class Rewards(Native):
    """Whose rewards are what the option says."""

    reward: Any = 0.0

    def step(self, action: str) -> Any:
        text, _, terminated, truncated, info = super().step(action)
        return text, self.reward, terminated, truncated, info


class Crashes(Native):
    """Raises at `boom`."""

    def step(self, action: str) -> Any:
        if action == "boom":
            raise RuntimeError("boom")
        return super().step(action)


class Admissible(Native):
    """Lists what can be done and has its own `won`."""

    def step(self, action: str) -> Any:
        text, reward, over, cut, info = super().step(action)
        if action not in ACTIONS:
            raise ValueError(f"no action {action!r}")
        info.update(won=self.value == self.goal, admissible_commands=list(ACTIONS))
        return text, reward, over, cut, info

    def reset(self, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        text, info = super().reset(**kwargs)
        return text, {**info, "admissible_commands": list(ACTIONS)}


class SharesTrail(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Reads the list that the bare environment writes."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.trail: list[str] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        out = self.env.reset(**kwargs)
        self.trail = self.env.unwrapped.trail  # type: ignore[attr-defined]
        return out

    def step(self, action: Any) -> Any:
        text, *rest = self.env.step(action)
        return f"{text} seen {len(self.trail)}", *rest


def register(cls: Callable[..., Any], *, limit: int | None = 30, name: str = "") -> str:
    """Id of a class under test."""
    env_id = f"toy/{name or cls.__name__}-v0"
    if env_id not in gym.registry:
        gym.register(env_id, cls, max_episode_steps=limit)
    return env_id


def make(cls: Callable[..., Any], **kwargs: Any) -> gym.Env[Any, Any]:
    """An instance with all wrappers that `gymnasium.make` puts around it."""
    env: gym.Env[Any, Any] = gym.make(register(cls), **kwargs)
    return env
