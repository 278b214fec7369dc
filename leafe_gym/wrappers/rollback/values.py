"""Copying, comparing and hashing what environments return: text, numbers, arrays, containers."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any

import numpy as np

ATOMS = frozenset(
    {
        *(str, int, float, bool, bytes, complex, type(None), type(Ellipsis), range, type),
        *(FunctionType, BuiltinFunctionType, MethodDescriptorType, ModuleType),
        *(np.bool_, np.int32, np.int64, np.float32, np.float64, np.dtype),
    }
)
"""Types whose values never change, so that a reference is as good as a copy."""


def private_copy(value: Any) -> Any:
    """A copy of `value` that later changes to the original do not reach.

    Text and numbers come back as they are. A value that cannot be copied at all (an open handle
    in an `info`) is kept by reference, since refusing it would refuse the environment.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is dict:
        return {k: v if type(v) in ATOMS else private_copy(v) for k, v in value.items()}
    if kind is list:
        return [v if type(v) in ATOMS else private_copy(v) for v in value]
    if kind is tuple:
        return tuple([v if type(v) in ATOMS else private_copy(v) for v in value])
    if kind is np.ndarray and value.dtype != object:
        return value.copy()
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - any type may refuse in any way
        return value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, with NaN equal to NaN and arrays compared whole."""
    if left is right:
        return True
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return _same_arrays(left, right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float | np.floating) and isinstance(right, float | np.floating):
        return bool(left == right or (math.isnan(left) and math.isnan(right)))
    try:
        if bool(left == right):
            return True
    except (TypeError, ValueError):
        pass
    return _same_pickles(left, right)


def _same_arrays(left: Any, right: Any) -> bool:
    a, b = np.asarray(left), np.asarray(right)
    if a.shape != b.shape:
        return False
    if a.dtype == object or b.dtype == object:
        return all(map(same, a.ravel().tolist(), b.ravel().tolist()))
    if np.issubdtype(a.dtype, np.inexact) and np.issubdtype(b.dtype, np.inexact):
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(np.array_equal(a, b))


_IDENTITY: Any = object.__eq__


def _same_pickles(left: Any, right: Any) -> bool:
    """Last resort for objects that compare by identity only."""
    if type(left) is not type(right) or getattr(type(left), "__eq__", None) is not _IDENTITY:
        return False
    try:
        return pickle.dumps(left) == pickle.dumps(right)
    except Exception:  # noqa: BLE001 - any type may refuse in any way
        return False


def show(value: Any, limit: int = 120) -> str:
    """One short line of text for an error message; at most `limit` characters and a mark."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def difference(left: Any, right: Any) -> str:
    """Where two values that are not `same` part, in words for an error message."""
    if isinstance(left, str) and isinstance(right, str) and min(len(left), len(right)) > 60:
        pairs = enumerate(zip(left, right, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
        begin = max(0, at - 20)
        return (
            f"expected ...{show(left[begin : at + 40])}, got ...{show(right[begin : at + 40])} "
            f"(first differing character: {at})"
        )
    return f"expected {show(left)}, got {show(right)}"


def chain_digest(previous: bytes, record: tuple[Any, ...]) -> bytes:
    """16 bytes that stand for everything hashed into `previous` and then `record`."""
    return hashlib.blake2b(previous + canonical(record), digest_size=16).digest()


def canonical(value: Any) -> bytes:
    """Bytes that are equal for equal values, in any process; not meant to be read back."""
    if type(value) is str:
        return b"s%d:" % len(value) + value.encode("utf-8", "surrogatepass")
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return b"o" + canonical(value.tolist())
        return f"a{value.dtype.str}{value.shape}:".encode() + value.tobytes()
    if isinstance(value, np.generic):
        return canonical(value.item())
    if isinstance(value, Mapping):
        parts = sorted(canonical(key) + canonical(item) for key, item in value.items())
        return b"d%d:" % len(parts) + b"".join(parts)
    if isinstance(value, list | tuple):
        return b"l%d:" % len(value) + b"".join(map(canonical, value))
    if type(value) in ATOMS:
        return b"r" + repr(value).encode("utf-8", "surrogatepass") + b";"
    # An object's repr may hold its address, which differs between processes.
    return b"t" + f"{type(value).__module__}.{type(value).__qualname__};".encode()
