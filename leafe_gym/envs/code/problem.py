"""Programming problems with standard input and output."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from leafe_gym.envs.tasks import split_by_hash


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a submission: what it reads and what it is to write."""

    input: str
    output: str


@dataclass(frozen=True)
class Cases:
    """The tests of a problem, public ones first."""

    public: tuple[Case, ...]
    hidden: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.public) + len(self.hidden)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem to be solved by a program.

    Attributes:
        name: unique within its file; decides the split.
        description: the statement.
        make_tests: gives the tests when they are first needed; they can be large.
        time_limit: seconds of processor time for each test.
        memory_mb: memory for each test.
        difficulty: as the source has it; "" where it says nothing.
        rating: Codeforces rating; 0 where unknown.
    """

    name: str
    description: str
    make_tests: Callable[[], Cases] = field(repr=False, compare=False)
    time_limit: float = 2.0
    memory_mb: int = 256
    difficulty: str = ""
    rating: int = 0

    @cached_property
    def tests(self) -> Cases:
        """All tests."""
        return self.make_tests()

    @property
    def split(self) -> str:
        """The split it belongs to, by its name alone: so no problem is in two."""
        return split_of(self.name)


def split_of(name: str) -> str:
    """The split of the problem called `name`: 80 % train, 10 % val, 10 % test."""
    return split_by_hash(hashlib.blake2b(name.encode(), digest_size=8).digest())
