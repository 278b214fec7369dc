"""Global random generators, lent to one environment at a time.

Games that draw from `random` or `numpy.random` share their luck with everything else in the
process: a copy of such a game goes on otherwise than the original, and two games that take turns
move each other. Here the states of both generators belong to the environment. They are put in
place around each call into the game, and what stood there before is put back afterwards, so such
an environment copies, pickles, interleaves with others and leaves the caller's luck alone.

Not covered: another thread that draws from the global generators during such a call.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_LENT = threading.RLock()


class Luck:
    """The luck of one environment; a plain value, so it is copied and pickled with it."""

    def __init__(self) -> None:
        self._states: tuple[Any, Any] | None = None

    @contextmanager
    def lent(self, seed: int | None = None) -> Iterator[None]:
        """Put this luck in place of the process's; `seed` begins it anew."""
        with _LENT:
            outside = random.getstate(), np.random.get_state()
            try:
                if seed is not None:
                    random.seed(seed)
                    np.random.seed(seed % 2**32)
                elif self._states is not None:
                    _put(self._states)
                yield
            finally:
                self._states = random.getstate(), np.random.get_state()
                _put(outside)


def _put(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])


class Borrower:
    """Keeps a `Luck` in step with an environment's `np_random`.

    The game's draws come from its own luck, begun by the seed of the reset. Where somebody seeds
    the environment's `np_random` in the middle of an episode, to go on with other luck, the game's
    is drawn anew from it.
    """

    def __init__(self) -> None:
        self._luck = Luck()
        self._mark: Any = None

    @contextmanager
    def begin(self, seed: int | None, generator: np.random.Generator) -> Iterator[None]:
        """Around the game's reset."""
        drawn = int(generator.integers(2**32))
        self._mark = generator.bit_generator.state
        with self._luck.lent(drawn if seed is None else seed):
            yield

    @contextmanager
    def go_on(self, generator: np.random.Generator) -> Iterator[None]:
        """Around any later call into the game."""
        seed = None
        if generator.bit_generator.state != self._mark:
            seed = int(generator.integers(2**32))
            self._mark = generator.bit_generator.state
        with self._luck.lent(seed):
            yield
