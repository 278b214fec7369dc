"""Copies, comparisons and hashes of what environments return."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.wrappers.rollback.digests import chain_digest, encode
from leafe_gym.wrappers.rollback.values import (
    difference,
    private_copy,
    same,
    show,
)

NAN = float("nan")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


class Point:
    """Compares by identity, like most classes."""

    def __init__(self, x: int) -> None:
        self.x = x


class Grumpy:
    """Refuses to be compared, copied or pickled."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("no")

    def __reduce__(self) -> Any:
        raise TypeError("no")

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no")


@given(plain)
def test_copies_are_equal_and_hash_alike(value: Any) -> None:
    copied = private_copy(value)
    assert same(copied, value)
    assert encode(copied) == encode(value)


@given(plain, plain)
def test_different_values_hash_differently(one: Any, other: Any) -> None:
    if not same(one, other):
        assert encode(one) != encode(other) or one == other


ARRAY = np.array([1.0, NAN])
EQUAL = [
    (NAN, NAN),
    (np.float32(NAN), NAN),
    (ARRAY, ARRAY.copy()),
    ({"a": [ARRAY, 1]}, {"a": [ARRAY.copy(), 1]}),
    ((1, "x"), [1, "x"]),
    (1, np.int64(1)),
    (np.array(["a", "b"]), np.array(["a", "b"])),
    (np.array([None, NAN], dtype=object), np.array([None, NAN], dtype=object)),
    (Point(1), Point(1)),
]
DIFFERENT = [
    (NAN, 1.0),
    (1.0, 2.0),
    ("a", "b"),
    (ARRAY, ARRAY[:1]),
    (np.array([1]), np.array([2])),
    ({"a": 1}, {"b": 1}),
    ([1], [1, 2]),
    (Point(1), Point(2)),
    (Point(1), 1),
    (Grumpy(), 1),
    (threading.Lock(), threading.Lock()),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal(left: Any, right: Any) -> None:
    assert same(left, right)
    assert same(right, left)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left: Any, right: Any) -> None:
    assert not same(left, right)
    assert not same(right, left)


def test_copies_are_private() -> None:
    array, items, nested = np.zeros(2), [[1]], {"a": ([1],)}
    objects = np.array([[1]], dtype=object)
    for value in (array, items, nested, objects, {1: {2}}):
        assert private_copy(value) is not value
    copied = private_copy(nested)
    nested["a"][0].append(2)
    assert copied == {"a": ([1],)}
    grumpy = Grumpy()
    assert private_copy(grumpy) is grumpy


def test_hashes() -> None:
    array = np.arange(3)
    values = ["a", 1, 1.5, None, array, array.astype(float), {"a": 1}, [1], ["1"], b"a", Point]
    hashes = {encode(value) for value in values}
    assert len(hashes) == len(values)
    assert encode(Point(1)) == encode(Point(1))
    assert encode(np.array([None], dtype=object)) != encode(np.array([1], dtype=object))
    assert chain_digest(b"", ("a", "b")) != chain_digest(b"", ("ab", ""))


def test_messages_are_short() -> None:
    assert show("x" * 500).endswith("(502 characters)")
    assert difference(1, 2) == "expected 1, got 2"
    long = "a" * 200
    text = difference(long + "x", long + "y")
    assert "first differing character: 200" in text
    assert len(text) < 250
    assert "character: 200" in difference(long, long + "y")


@pytest.mark.parametrize(
    "dtype", [[("x", object)], [("x", [("y", object)])], [("n", int), ("x", object, (2,))]]
)
def test_objects_in_fields_of_an_array_are_copied(dtype: Any) -> None:
    def inner(array: Any) -> Any:
        found = array["x"][0]
        while isinstance(found, np.ndarray | np.void):
            found = found["y"] if isinstance(found, np.void) else found[0]
        return found

    array = np.zeros(1, dtype)
    kept = [7]
    if dtype[0][0] == "x" and dtype[0][1] is not object:
        array["x"]["y"][0] = kept
    elif dtype[0][0] == "n":
        array["x"][0, 0] = kept
    else:
        array["x"][0] = kept
    made = private_copy(array)
    assert same(made, array)
    kept.append(8)
    assert inner(made) == [7]
