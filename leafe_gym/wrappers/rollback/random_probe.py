"""A cheap check whether numbers were drawn from `random` or `numpy.random`.

Saving the state of both takes 70 microseconds, ten times as long as a step of a small environment.
Both generators are Mersenne Twisters with a position in a block of 624 numbers. The position
changes with every draw, and the numbers beside it with every new block, so eight bytes of each
show whether anything was drawn. They are read from memory where the layout is the expected one
(checked at import, against the documented way), otherwise through the documented functions.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

States = tuple[Any, Any]
_HEAD = object.__basicsize__
_POSITION = 623 * 4
"""Offset in bytes of the last number of NumPy's block; the position follows it."""


_GAUSS = _HEAD + 64
"""Offset in a `RandomState` of the flag that says whether a second normal number is kept."""


class _Word:
    """The value of such a word, obtained through documented functions: for other interpreters."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read

    @property
    def value(self) -> Any:
        """Something that changes with every draw."""
        return self._read()


def _random_word(generator: random.Random) -> Any:
    return ctypes.c_uint64.from_address(id(generator) + _HEAD)


def _numpy_word(bits: Any) -> Any:
    return ctypes.c_uint64.from_address(bits.ctypes.state_address + _POSITION)


def _gauss_flag(state: Any) -> Any:
    return ctypes.c_int.from_address(id(state) + _GAUSS)


def _random_layout() -> bool:
    """Whether the position of `random.Random` is where this module expects it."""
    trial = random.Random(5)
    for _ in range(3):
        numbers = trial.getstate()[1]
        if _random_word(trial).value != numbers[-1] | numbers[0] << 32:
            return False
        trial.random()
    return True


def _numpy_layout() -> bool:
    trial = np.random.MT19937(5)
    for _ in range(3):
        state: Any = trial.state["state"]
        if _numpy_word(trial).value != int(state["key"][623]) | int(state["pos"]) << 32:
            return False
        trial.random_raw()
    return True


def _gauss_layout() -> bool:
    trial = np.random.RandomState(5)
    if type(trial).__basicsize__ < _GAUSS + 4:
        return False
    for _ in range(4):
        state: Any = trial.get_state(legacy=False)
        if _gauss_flag(trial).value != state["has_gauss"]:
            return False
        trial.randn()
    return True


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever is different, the documented functions work
        return False


_FAST_RANDOM = _holds(_random_layout)
_FAST_NUMPY = _holds(_numpy_layout)
_FAST_GAUSS = _holds(_gauss_layout)


def _global_numpy() -> Any:
    return np.random.mtrand._rand


def _slow_numpy() -> Any:
    state: Any = np.random.get_state(legacy=False)
    return repr(state["state"])


def _slow_flag() -> Any:
    state: Any = np.random.get_state(legacy=False)
    return state["has_gauss"]


class Probe:
    """The state of both generators when the program was last seen to have changed them.

    One for all environments of a process.

    Attributes:
        random_word: `value` changes with every draw from `random`.
        numpy_word: the same of `numpy.random`.
        random_seen: its value for `before`.
        numpy_seen: its value for `before`.
        before: the states of both generators.
        cached: whether a generator keeps a second normal number, which the next call returns
            without any change of the words.
    """

    _shared: Probe | None = None

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        numpy = _global_numpy()
        self._bits = numpy._bit_generator
        self._inner: Any = random._inst
        fast_bits = _FAST_NUMPY and type(self._bits) is np.random.MT19937
        self.random_word: Any = (
            _random_word(self._inner) if _FAST_RANDOM else _Word(random.getstate)
        )
        self.numpy_word: Any = _numpy_word(self._bits) if fast_bits else _Word(_slow_numpy)
        self._flag: Any = _gauss_flag(numpy) if _FAST_GAUSS else _Word(_slow_flag)
        self._lock = lock
        self.refresh()

    @classmethod
    def shared(cls, lock: AbstractContextManager[Any]) -> Probe:
        """The probe of this process; a new one where NumPy's global generator was replaced."""
        probe = cls._shared
        if probe is None or probe._bits is not _global_numpy()._bit_generator:
            probe = cls._shared = Probe(lock)
        return probe

    @classmethod
    def use_lock(cls, lock: AbstractContextManager[Any]) -> None:
        """Replace the lock, after a fork."""
        if cls._shared is not None:
            cls._shared._lock = lock

    def refresh(self) -> None:
        """Record the current state. Waits until no environment's own state is loaded."""
        with self._lock:
            self.before: States = (random.getstate(), np.random.get_state())
            self.random_seen = self.random_word.value
            self.numpy_seen = self.numpy_word.value
            self._kept = self._second_numbers()
            self.cached = self._kept != (None, 0)

    def moved(self) -> bool:
        """Whether anything was drawn since `before`."""
        if self.random_word.value != self.random_seen or self.numpy_word.value != self.numpy_seen:
            return True
        return self.cached and self._second_numbers() != self._kept

    def _second_numbers(self) -> tuple[Any, Any]:
        return self._inner.gauss_next, self._flag.value
