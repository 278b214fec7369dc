"""How attempts are made: one frozen record, part of a run's configuration hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leafe_gym.errors import UsageError

UNPARSABLE_IN_A_ROW = 3
"""This many unusable replies one after the other end an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings shared by all agents. Defaults without a source are ours (the paper gives none).

    Attributes:
        prompts: name of the prompt set.
        reflect_every: K, rounds between periodic reflections; None for none.
        reflections: reflection calls per failure, >= 1.
        until: how long e stays in the prompt: only at action tau, or to the end of the attempt.
        act_temperature: sampling temperature of acting calls.
        reflect_temperature: of reflecting and refining calls.
        max_tokens: longest acting reply, in tokens.
        max_reflect_tokens: longest reflecting reply, in tokens.
        tau: "random" replaces the chosen step by a uniform one of 0..t-1 (control).
        tip: "withheld" keeps e out of every prompt, "swapped" puts another task's in its place
            (controls).
        donors: (task id, e) pairs that "swapped" draws from.
    """

    prompts: str = "chat"
    reflect_every: int | None = None
    reflections: int = 1
    until: Literal["tau", "end"] = "tau"
    act_temperature: float = 1.0
    reflect_temperature: float = 0.5
    max_tokens: int = 512
    max_reflect_tokens: int = 512
    tau: Literal["chosen", "random"] = "chosen"
    tip: Literal["own", "withheld", "swapped"] = "own"
    donors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _at_least(1, reflect_every=self.reflect_every, reflections=self.reflections)
        _at_least(1, max_tokens=self.max_tokens, max_reflect_tokens=self.max_reflect_tokens)
        _at_least(
            0, act_temperature=self.act_temperature, reflect_temperature=self.reflect_temperature
        )
        _one_of("until", self.until, ("tau", "end"))
        _one_of("tau", self.tau, ("chosen", "random"))
        _one_of("tip", self.tip, ("own", "withheld", "swapped"))
        if self.tip == "swapped" and not self.donors:
            raise UsageError("tip='swapped' needs donors: (task id, experience text) pairs")

    def look_backs_due(self, rounds: int, *, ended: bool, failed: bool) -> int:
        """Look-back calls due after an attempt's own round number `rounds` (counted from 1)."""
        if failed:
            return self.reflections
        periodic = self.reflect_every is not None and rounds % self.reflect_every == 0
        return int(periodic and not ended)


def _at_least(low: int, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value >= low:
            raise UsageError(f"{name}={value!r}: expected a number >= {low}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name}={value!r}: expected one of {', '.join(allowed)}")
