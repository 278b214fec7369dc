"""What was found out about backends on one kind of environment, readable with `print`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from leafe_gym.types import Json

VerdictOutcome = Literal["right", "wrong", "refused", "unproved", "not tried"]


@dataclass(frozen=True, slots=True)
class BackendCost:
    """Medians of several tries.

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
    """

    backend: str
    outcome: VerdictOutcome
    reason: str = ""
    step: int | None = None
    cost: BackendCost | None = None
    portable: bool = False
    instance_only: bool = False

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
        chosen: name of the backend in use; "" while none was needed.
        proved: whether it was seen to work on a second instance.
        verdicts: what is known of each backend looked at, in order.
        note: what the user could do to know more; "" if nothing.
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
        if not self.chosen:
            return (
                f"backend {self.asked!r}: decided when the first snapshot, rollback or fork "
                "asks for it"
            )
        state = "proved" if self.proved else "unproved"
        if self.chosen == "replay":
            state = "checks itself at every restore"
        lines = [f"backend: {self.chosen} ({state}; asked for {self.asked!r})"]
        lines += [f"  {verdict}" for verdict in self.verdicts]
        return "\n".join([*lines, f"note: {self.note}"] if self.note else lines)
