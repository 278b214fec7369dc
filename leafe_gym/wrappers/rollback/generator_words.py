"""States of NumPy generators, read again only where a generator has moved.

Reading and setting `bit_generator.state` builds and parses integers of 128 bits, a third of what a
cheap restore costs. Few environments draw at every step, so most states are equal to the last one.
The memory of a PCG64, Gymnasium's generator, tells: it is read where its layout is the expected
one (checked at import, against the documented way). Other generators are always read in full.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

_MOST = 256


class GeneratorState(NamedTuple):
    """The state of one bit generator.

    Attributes:
        kind: its class.
        state: as `bit_generator.state` returns it.
        words: its memory in that state; None where it is not read.
    """

    kind: Any
    state: Any
    words: bytes | None = None


class _Memory:
    """The memory of one PCG64: state and increment, then the half of a number kept for later.

    Holds the generator, so that its address belongs to no other one.
    """

    __slots__ = ("_bits", "_half", "_numbers", "last")

    def __init__(self, bits: Any) -> None:
        address = bits.ctypes.state_address
        inner = ctypes.c_void_p.from_address(address).value
        if inner is None:
            raise ValueError("no state")
        self._bits = bits
        self._numbers = (ctypes.c_char * 32).from_address(inner)
        self._half = (ctypes.c_char * 8).from_address(address + ctypes.sizeof(ctypes.c_void_p))
        self.last = GeneratorState(type(bits), None)

    @property
    def words(self) -> bytes:
        """All that a draw changes."""
        return self._numbers.raw + self._half.raw


_known: dict[int, _Memory] = {}


def read_generator(bits: Any) -> GeneratorState:
    """The state of a bit generator."""
    if type(bits) is not np.random.PCG64 or not _FAST:
        return GeneratorState(type(bits), bits.state)
    memory = _known.get(id(bits)) or _learn(bits)
    words = memory.words
    if memory.last.words != words:
        memory.last = GeneratorState(np.random.PCG64, bits.state, words)
    return memory.last


def set_generator(bits: Any, saved: GeneratorState) -> None:
    """Put a bit generator of the class `saved.kind` into a state that was read."""
    if saved.words is not None and _FAST:
        memory = _known.get(id(bits)) or _learn(bits)
        if memory.words == saved.words:
            return
        memory.last = saved
    bits.state = saved.state


def _learn(bits: Any) -> _Memory:
    if len(_known) >= _MOST:
        _known.clear()
    return _known.setdefault(id(bits), _Memory(bits))


def _layout_holds() -> bool:
    """Whether the memory of a PCG64 is laid out as this module expects."""
    trial = np.random.Generator(np.random.PCG64(5))
    memory = _Memory(trial.bit_generator)
    for _ in range(4):
        state: Any = trial.bit_generator.state
        numbers = state["state"]["state"], state["state"]["inc"]
        half = state["has_uint32"], state["uinteger"]
        expected = b"".join(n.to_bytes(16, "little") for n in numbers)
        if memory.words != expected + b"".join(n.to_bytes(4, "little") for n in half):
            return False
        trial.integers(0, 100, dtype=np.uint32)
    return True


def _check() -> bool:
    try:
        return _layout_holds()
    except Exception:  # noqa: BLE001 - whatever is different, the documented way works
        return False


_FAST = _check()
