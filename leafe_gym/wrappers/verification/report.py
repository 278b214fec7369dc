"""Verification results of backends on one kind of environment, readable with `print`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from leafe_gym.types import Json

_CLEARLY = 1.5
_REPLAY_FACTOR = 3.0

VerdictOutcome = Literal["right", "wrong", "refused", "unproved", "not tried"]


@dataclass(frozen=True, slots=True)
class BackendCost:
    """The least of several tries.

    Attributes:
        save_us: microseconds to save.
        load_us: microseconds to load.
        nbytes: size of one snapshot's data in bytes; 0 where it is not known or nothing is held.
    """

    save_us: float
    load_us: float
    nbytes: int = 0

    def __str__(self) -> str:
        size = f", {self.nbytes} bytes" if self.nbytes else ""
        return f"save {self.save_us:.0f} us, restore {self.load_us:.0f} us{size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendVerdict:
    """What is known of one backend.

    Attributes:
        backend: its name.
        outcome: "right" (proved), "wrong" (proved wrong), "refused" (cannot work here, says why),
            "unproved" (nothing could be shown either way) or "not tried".
        reason: why, in one sentence; "" for "right".
        step: number of the first action whose outcome differed, for "wrong" where one did.
        cost: where it was measured.
        portable: the data was seen to survive pickling.
        instance_only: it is right in the instance that made it and wrong in others.
        disturbed: it is right alone and wrong beside another instance in the same process.
    """

    backend: str
    outcome: VerdictOutcome
    reason: str = ""
    step: int | None = None
    cost: BackendCost | None = None
    portable: bool = False
    instance_only: bool = False
    disturbed: bool = False

    @property
    def total_us(self) -> float:
        """Microseconds of one save and one restore; infinite where they were not measured."""
        return math.inf if self.cost is None else self.cost.save_us + self.cost.load_us

    def as_dict(self) -> dict[str, Json]:
        """All fields as plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        tail = "; ".join(str(part) for part in (self.reason, self.cost) if part)
        return f"{self.backend:<9} {self.outcome:<9} {tail}".rstrip()


@dataclass(frozen=True, slots=True)
class BackendReport:
    """Which backend a RollbackWrapper uses and why.

    Attributes:
        asked: what the constructor was given.
        chosen: name of the backend in use; "" before the first reset, and where none is correct.
        proved: whether it was verified on other instances.
        verdicts: what is known of each backend looked at, in order.
        note: what else is known, or what the user could do to know more; "" if nothing.
        by_name: whether the constructor was given a name, not an object.
    """

    asked: str
    chosen: str = ""
    proved: bool = False
    verdicts: tuple[BackendVerdict, ...] = ()
    note: str = ""
    by_name: bool = True

    @property
    def refused(self) -> dict[str, str]:
        """Backend -> why it was refused or found wrong."""
        return {v.backend: v.reason for v in self.verdicts if v.outcome in ("refused", "wrong")}

    @property
    def cost(self) -> BackendCost | None:
        """BackendCost of the chosen backend, where it was measured."""
        return next((v.cost for v in self.verdicts if v.backend == self.chosen), None)

    def as_dict(self) -> dict[str, Json]:
        """All fields as plain JSON, for the record of a run."""
        return {**asdict(self), "verdicts": [one.as_dict() for one in self.verdicts]}

    def __str__(self) -> str:
        if not self.chosen and not self.verdicts and not self.note:
            return f"backend {self.asked!r}: verified in a separate process at the first reset"
        state = "proved" if self.proved else "unproved"
        if self.chosen == "replay":
            state += "; compared at every restore"
        lines = [f"backend: {self.chosen} ({state}; asked for {self.asked!r})"]
        if not self.chosen:
            lines = [f"backend: none is correct (asked for {self.asked!r})"]
        lines += [f"  {verdict}" for verdict in self.verdicts]
        return "\n".join([*lines, f"note: {self.note}"] if self.note else lines)


def cheapest(verdicts: Mapping[str, BackendVerdict]) -> str | None:
    """Of the correct backends the one that costs least, preferring earlier ones; None if none is.

    Another one must be clearly cheaper than the first, because measurements are noisy and the same
    environment is to get the same backend each time. A replay has to be cheaper still, because
    it grows with the episode.
    """
    right = [v for v in verdicts.values() if v.outcome == "right" and v.backend != "replay"]
    everywhere = [one for one in right if not one.instance_only]
    best: BackendVerdict | None = None
    for one in everywhere or right:
        if best is None or one.total_us * _CLEARLY < best.total_us:
            best = one
    replay = verdicts.get("replay")
    if replay is None or replay.outcome != "right":
        return None if best is None else best.backend
    if best is None or replay.total_us * _REPLAY_FACTOR < best.total_us:
        return "replay"
    return best.backend
