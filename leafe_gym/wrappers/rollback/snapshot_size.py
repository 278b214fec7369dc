"""How much memory a snapshot's data takes, estimated often and measured now and then."""

from __future__ import annotations

import gc
import math
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_MOST_OBJECTS = 100_000
_GROWTH = math.log(1.3)
_USES = 64
_NOT_OWNED = (type, ModuleType, FunctionType, BuiltinFunctionType)


class SnapshotSizer:
    """Sizes of one environment's snapshots.

    A state may grow with its episode, so a measured size stands for episodes up to 1.3 times as
    long, and for no more than some uses.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}

    def size(self, data: Any, length: int) -> int:
        """Bytes of `data`, saved after `length` actions; within a factor of 2 or so."""
        bucket = _BUCKETS[length] if length < len(_BUCKETS) else _bucket(length)
        nbytes, left = self._known.get(bucket, (0, 0))
        if left == 0:
            nbytes, left = measure(data), _USES
        self._known[bucket] = nbytes, left - 1
        return nbytes


def _bucket(length: int) -> int:
    return int(math.log1p(length) / _GROWTH)


_BUCKETS = [_bucket(length) for length in range(512)]


def measure(data: Any) -> int:
    """Bytes of a pickle of `data`; of the objects it is made of, where it cannot be pickled."""
    try:
        return len(pickle.dumps(data, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001 - states hold anything
        return _walk(data)


def _walk(data: Any) -> int:
    total = 0
    seen: set[int] = set()
    todo = [data]
    while todo and len(seen) < _MOST_OBJECTS:
        one = todo.pop()
        if id(one) in seen or isinstance(one, _NOT_OWNED):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one, 0)
        todo.extend(gc.get_referents(one))
    return total
