"""A text space that contains all Unicode strings.

`gymnasium.spaces.Text` accepts only characters of a given set. With all of Unicode as that set it
takes seconds to construct and megabytes to pickle.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.arguments import whole_number
from leafe_gym.errors import UsageError

_SAMPLE_ALPHABET = np.array(list("abcdefghijklmnopqrstuvwxyz   "))


class TextSpace(gym.Space[str]):
    r"""All strings of at most `max_length` characters.

    Example:
        >>> space = TextSpace()
        >>> "Zug nach Köln \u2192\n" in space, "" in space, 3 in space
        (True, True, False)

    Args:
        max_length: longest string in characters, >= 0; None for no limit.
        seed: seed of `sample`.

    Raises:
        UsageError: if `max_length` or `seed` is not such a number.
    """

    def __init__(
        self, max_length: int | None = None, seed: int | np.random.Generator | None = None
    ) -> None:
        if max_length is not None:
            whole_number("max_length", max_length, 0)
        if seed is not None and not isinstance(seed, np.random.Generator):
            whole_number("seed", seed, 0)
        self.max_length = max_length
        super().__init__(shape=None, dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed-size array form."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """A string of 1 to 12 lower-case letters and spaces.

        Raises:
            UsageError: if a mask or probabilities are given; the space is unbounded.
        """
        if mask is not None or probability is not None:
            raise UsageError("TextSpace.sample takes no mask and no probability")
        longest = 12 if self.max_length is None else min(12, self.max_length)
        length = int(self.np_random.integers(1, longest + 1)) if longest else 0
        return "".join(self.np_random.choice(_SAMPLE_ALPHABET, size=length))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string within the limit."""
        return isinstance(x, str) and (self.max_length is None or len(x) <= self.max_length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((TextSpace, self.max_length))

    def __repr__(self) -> str:
        return "TextSpace()" if self.max_length is None else f"TextSpace({self.max_length})"
