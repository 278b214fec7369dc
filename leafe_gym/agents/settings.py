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
        memory: which tips an attempt that begins anew is shown, "latest" (iterative refinement) or
            "all" of its chain so far (a control).
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
    memory: Literal["latest", "all"] = "latest"
    donors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("reflections", "max_tokens", "max_reflect_tokens"):
            whole_number(name, getattr(self, name), low=1)
        if self.reflect_every is not None:
            whole_number("reflect_every", self.reflect_every, low=1)
        _temperature("act_temperature", self.act_temperature)
        _temperature("reflect_temperature", self.reflect_temperature)
        _one_of("until", self.until, ("tau", "end"))
        _one_of("tau", self.tau, ("chosen", "random"))
        _one_of("tip", self.tip, ("own", "withheld", "swapped"))
        _one_of("memory", self.memory, ("latest", "all"))
        if not isinstance(self.prompts, str):
            raise UsageError(f"prompts={self.prompts!r}: expected the name of a prompt set")
        if not isinstance(self.donors, tuple):
            raise UsageError(f"donors={self.donors!r}: expected a tuple of (task id, text) pairs")
        if self.tip == "swapped" and len({owner for owner, _ in self.donors}) < 2:
            raise UsageError(
                "tip='swapped' needs donors, (task id, experience text) pairs, of at least two "
                "tasks: every task takes those of the others"
            )

    def look_backs_due(self, rounds: int, *, ended: bool, failed: bool) -> int:
        """Look-back calls due after an attempt's own round number `rounds` (counted from 1)."""
        if failed:
            return self.reflections
        periodic = self.reflect_every is not None and rounds % self.reflect_every == 0
        return int(periodic and not ended)


def whole_number(name: str, value: object, *, low: int) -> None:
    """Raise a `UsageError` unless `value` is a whole number of at least `low`."""
    if type(value) is not int or value < low:
        raise UsageError(f"{name}={value!r}: expected a whole number >= {low}")


def _temperature(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):  # type: ignore[operator]
        raise UsageError(f"{name}={value!r}: expected a finite number >= 0")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name}={value!r}: expected one of {', '.join(allowed)}")
