"""The global random generators, for environments that draw from them.

An environment declares it with `metadata = {"global_rng": True}`; use that is not declared is
noticed (see `EnvGlobalRandom`) and treated as if it were. Each such environment has a state of
`random` and `numpy.random` of its own, seeded at every reset, put in place before each of its calls and
taken away after it. So environments in one process and thread do not disturb each other, nor the
program's own numbers. A lock keeps calls in several threads apart; code of the program that draws
from the global generators in another thread at the same moment is beyond it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium as gym
import numpy as np

Globals = tuple[Any, Any]

_LOCK = threading.RLock()
_PLACE = threading.local()
_FOUND: set[type] = set()
_WATCHED: dict[type, int] = {}
_WATCHED_CALLS = 32

Watch = Literal["first", "always", "never"]
"""Whether to look out for undeclared use: in the first calls to a class, in all, in none."""


def declares_globals(env: gym.Env[Any, Any]) -> bool:
    """Whether the bare environment says that it draws from global generators."""
    return bool((env.unwrapped.metadata or {}).get("global_rng"))


def uses_globals(env: gym.Env[Any, Any]) -> bool:
    """Whether the bare environment says so, or one of its class was seen to."""
    return declares_globals(env) or type(env.unwrapped) in _FOUND


def found_global_use(env: gym.Env[Any, Any]) -> None:
    """Remember, for all instances in this process, that this class draws from them undeclared."""
    _FOUND.add(type(env.unwrapped))


def undeclared(env: gym.Env[Any, Any]) -> bool:
    """Whether the environment was seen to draw from global generators and does not say so."""
    return type(env.unwrapped) in _FOUND and not declares_globals(env)


def seed_globals(env: gym.Env[Any, Any], seed: int) -> None:
    """Seed both global generators from `seed` if the environment uses them.

    Also wherever no other environment can notice: between `EnvGlobalRandom.around` and in processes
    that run one environment only.
    """
    if getattr(_PLACE, "own", False) or uses_globals(env):
        random.seed(seed)
        np.random.seed(seed % 2**32)


def own_process() -> None:
    """Say that the global generators of this process belong to one environment."""
    _PLACE.own = True


def save_globals() -> Globals:
    """States of both global generators."""
    return random.getstate(), np.random.get_state()


def load_globals(states: Globals) -> None:
    """Put both global generators back."""
    random.setstate(states[0])
    np.random.set_state(states[1])


@contextmanager
def globals_kept() -> Iterator[None]:
    """The program's own random numbers are not to change because of a trial."""
    with _LOCK:
        states = save_globals()
        try:
            yield
        finally:
            load_globals(states)


class EnvGlobalRandom:
    """The state of the global generators that belongs to one environment.

    The first calls to a class are watched even where nothing is declared: seeded and kept apart
    as if it were, so that an environment that turns out to draw from the global generators has
    been treated rightly from its first reset on. Watched calls take turns, like all that go
    through `around`, so there are only so many of them per class and process.

    Args:
        env: the environment.
        watch: whether to look out for use that is not declared.

    Attributes:
        used: whether the environment draws from them, as far as is known.
        state: the environment's own; None before its first reset.
    """

    def __init__(self, env: gym.Env[Any, Any], *, watch: Watch = "first") -> None:
        self._watch = watch
        self.used = declares_globals(env) if watch == "never" else uses_globals(env)
        self.state: Globals | None = None
        calls = _WATCHED.get(type(env.unwrapped), 0)
        self._watching = watch == "always" or (watch == "first" and calls < _WATCHED_CALLS)

    @property
    def active(self) -> bool:
        """Whether calls have to go through `around`."""
        return self.used or self._watching

    def refresh(self, env: gym.Env[Any, Any]) -> None:
        """Take in what other instances of the same class have shown since."""
        if self._watch != "never" and not self.used and uses_globals(env):
            self.used = True
            self.state = self.state or save_globals()

    @contextmanager
    def around(
        self, env: gym.Env[Any, Any], seed: int | None = None, *, watch: bool = False
    ) -> Iterator[None]:
        """Put the environment's state in place for one call.

        Args:
            env: the environment, for what is found out.
            seed: of a reset; None for any other call, which goes on where the last one ended.
            watch: whether a change of the global generators is the environment's doing.
        """
        with _LOCK:
            outside = save_globals()
            nested, _PLACE.own = getattr(_PLACE, "own", False), True
            try:
                if seed is not None:
                    random.seed(seed)
                    np.random.seed(seed % 2**32)
                elif self.state is not None:
                    load_globals(self.state)
                before = save_globals() if watch and not self.used else None
                yield
                self.state = save_globals()
                if before is not None:
                    self._count(type(env.unwrapped))
                    if not equal_globals(before, self.state):
                        self.used = True
                        found_global_use(env)
            finally:
                _PLACE.own = nested
                load_globals(outside)

    def stop_watching(self) -> None:
        """What was not seen to draw so far counts as not drawing."""
        self._watching = False

    def _count(self, cls: type) -> None:
        calls = _WATCHED[cls] = _WATCHED.get(cls, 0) + 1
        self._watching = self._watch == "always" or calls < _WATCHED_CALLS


def equal_globals(left: Globals, right: Globals) -> bool:
    """Whether two saved states are the same."""
    if left[0] != right[0] or left[1][2:] != right[1][2:]:
        return False
    return bool(np.array_equal(left[1][1], right[1][1]))
