"""The text space."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.envs.space import TextSpace


@given(st.text())
def test_holds_any_string(text: str) -> None:
    assert text in TextSpace()
    assert (text in TextSpace(3)) == (len(text) <= 3)


@pytest.mark.parametrize("other", [None, 3, b"bytes", ["a"], float("nan")])
def test_holds_nothing_else(other: object) -> None:
    assert other not in TextSpace()


def test_equality_hash_and_repr() -> None:
    assert TextSpace() == TextSpace(seed=3)
    assert TextSpace(5) != TextSpace()
    assert TextSpace() != "TextSpace()"
    assert len({TextSpace(), TextSpace(), TextSpace(5)}) == 2
    assert (repr(TextSpace()), repr(TextSpace(5))) == ("TextSpace()", "TextSpace(5)")
    assert not TextSpace().is_np_flattenable


def test_samples_follow_the_seed() -> None:
    first, second = TextSpace(seed=1), TextSpace()
    second.seed(1)
    drawn = [first.sample() for _ in range(20)]
    assert drawn == [second.sample() for _ in range(20)]
    assert len(set(drawn)) > 15
    assert all(text in first and 1 <= len(text) <= 12 for text in drawn)


def test_samples_keep_the_limit() -> None:
    assert all(len(TextSpace(2, seed=seed).sample()) in (1, 2) for seed in range(20))
    assert TextSpace(0, seed=0).sample() == ""
    with pytest.raises(ValueError, match="no mask"):
        TextSpace().sample(mask="a")  # type: ignore[arg-type]


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])
def test_copies_go_on_alike(again: object) -> None:
    space = TextSpace(9, seed=4)
    space.sample()
    twin = again(space)  # type: ignore[operator]
    assert twin == space
    assert [twin.sample() for _ in range(5)] == [space.sample() for _ in range(5)]
    assert len(pickle.dumps(space)) < 2000
