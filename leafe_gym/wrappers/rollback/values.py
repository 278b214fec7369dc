"""Copying and comparing what environments take and return: text, numbers, arrays, containers."""

from __future__ import annotations

import copy
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from types import FunctionType, MethodDescriptorType, ModuleType
from typing import Any

import numpy as np

from leafe_gym.wrappers.rollback.digests import (
    STATELESS,
    NoDigest,
    by_identity,
    encode,
    raw_state,
    tensor_array,
)

ATOMS = frozenset(
    {
        *(str, int, float, bool, bytes, complex, type(None), type(Ellipsis), range, type),
        *(FunctionType, MethodDescriptorType, ModuleType),
        *(np.bool_, np.int32, np.int64, np.float32, np.float64, np.dtype),
    }
)
"""Types whose values never change, so that a reference is as good as a copy.

Not built-in functions: `generator.integers` is one, and refers to the generator."""

_CONTAINERS = frozenset({list, dict, tuple, np.ndarray})


def private_copy(value: Any) -> Any:
    """A copy of `value` that later changes to the original do not affect.

    Text and numbers are returned as they are, and so are objects without any state, which may be
    compared by identity. An object that can be neither copied nor pickled (an open handle in an
    `info`) is kept by reference, since refusing it would refuse the environment.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is dict:
        made = value.copy()
        nested = False
        for key, part in value.items():
            if type(part) not in ATOMS:
                if nested or not _is_flat(part):
                    return _copy(value, {})
                made[key] = part.copy()
                nested = True
        return made
    return value.copy() if _is_flat(value) else _copy(value, {})


def _is_flat(value: Any) -> bool:
    """Whether it is a list of constants or an array of numbers, which `copy` copies whole."""
    kind = type(value)
    if kind is list:
        return ATOMS.issuperset(map(type, value))
    return kind is np.ndarray and not value.dtype.hasobject


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    """Like `private_copy`; parts that occur twice occur twice in the copy, too."""
    kind = type(value)
    if kind in ATOMS:
        return value
    if id(value) in memo:
        return memo[id(value)]
    made: Any
    if kind is dict:
        made = memo[id(value)] = {}
        made.update((_copy(k, memo), _copy(v, memo)) for k, v in value.items())
    elif kind is list:
        made = memo[id(value)] = []
        made.extend([v if type(v) in ATOMS else _copy(v, memo) for v in value])
    elif kind is tuple:
        made = memo[id(value)] = tuple([_copy(v, memo) for v in value])
    elif kind is np.ndarray and not value.dtype.hasobject:
        made = memo[id(value)] = value.copy()
    elif kind is np.ndarray and value.dtype.names is not None:
        made = memo[id(value)] = value.copy()
        fields = [value[name] for name in value.dtype.names]
        memo.setdefault(id(memo), []).extend(fields)  # kept alive: the memo knows them by their id
        for name, field in zip(value.dtype.names, fields, strict=True):
            made[name] = _copy(field, memo)
    else:
        made = memo[id(value)] = _copy_object(value, memo)
    return made


def _copy_object(value: Any, memo: dict[int, Any]) -> Any:
    if by_identity(type(value)) and raw_state(value) == STATELESS:
        return value
    try:
        made = copy.deepcopy(value, memo)
        if not _copies_itself(type(value)) or same(made, value):
            return made
        return value  # gymnasium.utils.EzPickle, for one, copies the constructor's arguments only
    except Exception:  # noqa: BLE001 - any type may refuse in any way
        pass
    try:
        if hasattr(value, "detach"):  # a tensor in a graph can be cloned but not deep-copied
            return value.detach().clone()
        return pickle.loads(pickle.dumps(value))
    except Exception:  # noqa: BLE001
        return value


def _copies_itself(kind: Any) -> bool:
    """Whether the class decides what a copy holds, and is not one known to be right."""
    if kind.__module__.partition(".")[0] in ("builtins", "numpy", "collections", "datetime"):
        return False
    own = ("__reduce__", "__reduce_ex__", "__getstate__")
    return hasattr(kind, "__deepcopy__") or any(
        getattr(kind, name) is not getattr(object, name) for name in own
    )


def separate(value: Any) -> Any:
    """A copy of a built-in container or array, anything else as it is.

    What an environment is given must not be an object that its caller changes later. Objects of
    other types are passed on, because an environment may recognise them by identity.
    """
    return private_copy(value) if type(value) in _CONTAINERS else value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, with NaN equal to NaN and arrays compared whole.

    Objects that do not call themselves equal, such as a dataclass with an array, are compared by
    their attributes. Never raises.
    """
    if left is right:
        return True
    if type(left) is str and type(right) is str:
        return left == right
    try:
        return _same(left, right, set())
    except Exception:  # noqa: BLE001 - foreign comparisons raise anything, cycles RecursionError
        return False


def _same(left: Any, right: Any, comparing: set[tuple[int, int]]) -> bool:
    if left is right:
        return True
    if hasattr(left, "detach") or hasattr(right, "detach"):
        return type(left) is type(right) and _same_tensors(left, right)
    if isinstance(left, np.ndarray | np.generic) or isinstance(right, np.ndarray | np.generic):
        return _same_arrays(left, right, comparing)
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    pair = (id(left), id(right))
    if pair in comparing:
        return True  # inside a cycle: decided by the parts around it
    comparing.add(pair)
    try:
        return _same_objects(left, right, comparing)
    finally:
        comparing.discard(pair)


def _same_objects(left: Any, right: Any, comparing: set[tuple[int, int]]) -> bool:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            return False
        equal = all(_same(left[key], right[key], comparing) for key in left)
        if isinstance(left, OrderedDict) and isinstance(right, OrderedDict):
            equal = equal and list(left) == list(right)
        return equal and _same_attributes(left, right, comparing)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        equal = len(left) == len(right) and all(
            _same(a, b, comparing) for a, b in zip(left, right, strict=True)
        )
        return equal and _same_attributes(left, right, comparing)
    equals = getattr(left, "equals", None)  # of data frames and the like
    if type(left) is type(right) and callable(equals) and equals(right) is True:
        return True
    try:
        if bool(left == right):
            return _same_attributes(left, right, comparing)
    except Exception:  # noqa: BLE001 - for example a dataclass that compares arrays
        pass
    return type(left) is type(right) and _same_state(left, right, comparing)


def _same_attributes(left: Any, right: Any, comparing: set[tuple[int, int]]) -> bool:
    """Whether two equal instances of one class that extends a built-in type have equal attributes.

    A class that defines `__eq__` itself has decided already.
    """
    kind = type(left)
    if kind is not type(right) or "__dict__" not in dir(kind) or _defines_equality(kind):
        return True
    return _same(vars(left), vars(right), comparing)


def _defines_equality(kind: type) -> bool:
    definer = next(cls for cls in kind.__mro__ if "__eq__" in vars(cls))
    return definer.__module__ != "builtins"


def _same_state(left: Any, right: Any, comparing: set[tuple[int, int]]) -> bool:
    """Last resort for instances of one class that are not equal to each other."""
    if hasattr(left, "__array__"):
        return _same_arrays(left, right, comparing)
    mine, theirs = raw_state(left), raw_state(right)
    if mine is not None and theirs is not None:
        return _same(mine, theirs, comparing)
    try:
        return encode(left) == encode(right)
    except NoDigest:
        return by_identity(type(left)) and pickle.dumps(left) == pickle.dumps(right)


def _same_arrays(left: Any, right: Any, comparing: set[tuple[int, int]]) -> bool:
    if isinstance(left, np.ma.MaskedArray) or isinstance(right, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(left)
        if not np.array_equal(hidden, np.ma.getmaskarray(right)):
            return False
        left, right = np.ma.getdata(left)[~hidden], np.ma.getdata(right)[~hidden]
    a, b = np.asarray(left), np.asarray(right)
    if a.shape != b.shape or a.dtype.names != b.dtype.names:
        return False
    if a.dtype.names is not None:
        return all(_same_arrays(a[name], b[name], comparing) for name in a.dtype.names)
    if a.dtype == object or b.dtype == object:
        pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
        return all(_same(one, other, comparing) for one, other in pairs)
    missing = a.dtype.kind in "fcmM" and b.dtype.kind in "fcmM"
    return bool(np.array_equal(a, b, equal_nan=missing))


def _same_tensors(left: Any, right: Any) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return _same_arrays(tensor_array(left), tensor_array(right), set())


def as_commands(value: Any) -> list[Any]:
    """`admissible_commands` as a list: of an array or another collection, or of None.

    Sets are sorted, because their order differs between processes.

    Raises:
        TypeError: if it is a text or no collection.
    """
    if type(value) is list:
        return value
    if value is None:
        return []
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda one: (str(type(one)), str(one)))
    if isinstance(value, np.ndarray):
        return list(value.ravel().tolist())
    if isinstance(value, str | bytes):
        raise TypeError("a text")
    return list(value)


def show(value: Any, limit: int = 120) -> str:
    """One short line of text for an error message; at most `limit` characters and a note."""
    try:
        text = repr(value).replace("\n", " ")
    except Exception as error:  # noqa: BLE001 - any type may refuse in any way
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def difference(left: Any, right: Any) -> str:
    """How two values that are not `same` differ, in words for an error message."""
    if isinstance(left, str) and isinstance(right, str) and min(len(left), len(right)) > 60:
        pairs = enumerate(zip(left, right, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
        begin = max(0, at - 20)
        return (
            f"expected ...{show(left[begin : at + 40])}, got ...{show(right[begin : at + 40])} "
            f"(first differing character: {at})"
        )
    return f"expected {show(left)}, got {show(right)}"
