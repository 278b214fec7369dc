"""What a judge says of a submission, and how much of it the agent gets to read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

ResultKind = Literal[
    "accepted",
    "wrong answer",
    "runtime error",
    "time limit exceeded",
    "memory limit exceeded",
    "output limit exceeded",
    "compile error",
    "no code",
]

MAX_SHOWN = 400
"""Longest piece of a test or of an output in an observation, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeResult:
    """The outcome of judging one submission.

    Attributes:
        kind: the class of the first failure, or "accepted".
        test: number of the test that failed, from 1; 0 where none was reached.
        tests: how many there are.
        public: whether that test is one the agent knows.
        detail: what the agent may read about it; "" for hidden tests.
    """

    kind: ResultKind
    test: int = 0
    tests: int = 0
    public: bool = False
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether every test passed."""
        return self.kind == "accepted"

    @property
    def score(self) -> float:
        """The part of the tests passed before the first failure; 1.0 for all."""
        return 1.0 if self.accepted else max(0, self.test - 1) / self.tests if self.tests else 0.0

    @property
    def observation(self) -> str:
        """What the agent sees: of hidden tests the class of the failure and nothing else."""
        if self.accepted:
            return "Accepted: all tests passed."
        if not self.test:
            return _with(f"{self.kind.capitalize()}.", self.detail)
        if self.public:
            return _with(f"{self.kind.capitalize()} on public test {self.test}.", self.detail)
        return f"The public tests passed. {self.kind.capitalize()} on a hidden test."

    @property
    def feedback(self) -> str:
        """For looking back only: the number of the test and the class of the failure."""
        if self.accepted:
            return ""
        return f"{self.kind} on test {self.test} of {self.tests}" if self.test else self.kind


def clip(text: str, limit: int = MAX_SHOWN) -> str:
    """At most `limit` characters of `text`, with a mark where some are missing."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def stable(text: str) -> str:
    """`text` without what differs from one process to the next: addresses, temporary folders."""
    return _ADDRESS.sub("0x...", _FOLDER.sub('File "', text))


_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_FOLDER = re.compile(r'File "/[^"\n]*/(?=solution\.py")')


def _with(head: str, detail: str) -> str:
    return f"{head}\n{stable(detail)}" if detail else head
