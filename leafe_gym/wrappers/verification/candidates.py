"""The verification job behind `backend="auto"` and named backends; runs in its own process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from leafe_gym.wrappers.backends.base import Backend
from leafe_gym.wrappers.verification.action_script import find_script
from leafe_gym.wrappers.verification.instance_factory import InstanceFactory
from leafe_gym.wrappers.verification.report import BackendVerdict, cheapest
from leafe_gym.wrappers.verification.verify import verify_backend

IN_PROCESS = ("native", "pickle", "deepcopy", "replay")
"""What `auto` may use without processes, in the order in which it prefers them."""

FORK_US = 10_000.0
"""A replay below so many microseconds is cheaper than starting processes."""

_CHEAP_US = 1000.0

_QUICK_SECONDS = 2.0
"""Where a thorough trial is expected to take longer, a quick one is made."""

_MOST_SECONDS = 15.0
"""No further trial begins where it is expected to end later than this."""

_TOO_SLOW = "this environment is slow, and there was no time left to try it"


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """What to verify, and with which episode.

    Attributes:
        backends: what is asked for, an object or a callable that returns one; None for "auto".
        recipe: what builds the environment.
        chain: class names that it must have, outermost wrapper first.
        preferred: a name that "auto" is to take if it is correct; "" for none.
        seed: of the user's reset.
        options: of the user's reset.
        actions: the user's, to verify with; None to look for some.
        seen: actions of the user's earlier episodes.
    """

    backends: Any = None
    recipe: bytes = b""
    chain: Sequence[str] = ()
    preferred: str = ""
    seed: int = 0
    options: dict[str, Any] | None = None
    actions: Sequence[Any] | None = None
    seen: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found out about one environment.

    Attributes:
        verdicts: backend name -> verdict, in order of preference.
        asked: name of the backend that was asked for; "auto" otherwise.
        problem: why nothing could be verified; "" where something was.
        global_rng: it draws from the global generators without declaring it.
        seconds: how long it took.
        slow: the environment's resets or steps take long, so that trials were quick ones.
    """

    verdicts: dict[str, BackendVerdict] = field(default_factory=dict)
    asked: str = "auto"
    problem: str = ""
    global_rng: bool = False
    seconds: float = 0.0
    slow: bool = False

    @property
    def unproved(self) -> bool:
        """Whether more might be verified with other actions."""
        return bool(self.problem) or any(
            one.outcome == "unproved" for one in self.verdicts.values()
        )

    @property
    def usable(self) -> bool:
        """Whether what was asked for is correct, or for "auto" some backend."""
        wanted = (one for name, one in self.verdicts.items() if self.asked in (name, "auto"))
        return any(one.outcome == "right" for one in wanted)

    def outcomes(self) -> dict[str, str]:
        """Backend name -> outcome."""
        return {name: one.outcome for name, one in self.verdicts.items()}


def verify_candidates(request: VerificationRequest) -> Verification:
    """Verify the backends that may be used for an environment.

    Raises:
        InstanceUnavailable: if no instance can be made or reset.
    """
    instances = InstanceFactory.from_recipe(request.recipe)
    try:
        instances.require_chain(request.chain)
        return verify_instances(instances, request)
    finally:
        instances.close()


def verify_instances(instances: InstanceFactory, request: VerificationRequest) -> Verification:
    """The same on instances that are here already.

    Raises:
        InstanceUnavailable: if no instance can be made or reset.
    """
    begin = time.monotonic()
    trials = _Candidates(instances, request)
    asked = "auto"
    if request.backends is not None:
        asked = trials.verify_asked(request.backends)
    elif not (request.preferred and trials.verify(request.preferred).outcome == "right"):
        trials.verify_all()
    trials.finish()
    return Verification(
        trials.ordered(),
        asked,
        global_rng=instances.undeclared_globals(),
        seconds=time.monotonic() - begin,
        slow=trials.quick,
    )


class _Candidates:
    """Verdicts of one environment, found one after the other."""

    def __init__(self, instances: InstanceFactory, request: VerificationRequest) -> None:
        self._begin = time.monotonic()
        self._instances = instances
        self._script = find_script(
            instances.make,
            seed=request.seed,
            options=request.options,
            actions=request.actions,
            seen=request.seen,
        )
        self._found: dict[str, BackendVerdict] = {}
        self.quick = self._expected(20, 120) > _QUICK_SECONDS
        if not self.quick:
            self.verify("replay")

    def finish(self) -> None:
        """Verify `replay` in any case: a rollback may have to replay with any backend."""
        if "replay" not in self._found:
            self._verify_if_time("replay")

    def _expected(self, resets: int, steps: int) -> float:
        """Seconds that so many resets and steps take."""
        script = self._script
        return resets * script.reset_seconds + steps * script.step_seconds

    def _verify_if_time(self, name: str) -> None:
        """Verify one, or skip it where it would take too long beside what was spent."""
        length = len(self._script.prefix) + len(self._script.first)
        expected = self._expected(6 if name == "replay" else 4, 3 * length)
        spent = time.monotonic() - self._begin
        nothing = not any(one.outcome == "right" for one in self._found.values())
        if self.quick and expected + (0 if nothing else spent) > _MOST_SECONDS:
            self._skip((name,), _TOO_SLOW)
        else:
            self.verify(name)

    def verify(self, name: str) -> BackendVerdict:
        if name not in self._found:
            self._verify(self._instances.backend(name))
        return self._found[name]

    def verify_asked(self, asked: Any) -> str:
        """Verify a backend that was named or given; returns its name."""
        backend = asked if isinstance(asked, Backend) and not isinstance(asked, type) else asked()
        if backend.name not in self._found:
            self._verify(self._instances.teach(backend))
        return str(backend.name)

    def verify_all(self) -> None:
        """What "auto" looks at: no more than it needs to find the cheapest correct backend."""
        native = self.verify("native")
        anywhere = native.outcome == "right" and not native.instance_only
        if anywhere and native.total_us < _CHEAP_US:
            self._skip(("pickle", "deepcopy"), "native is correct and cheap")
        for name in ("pickle", "deepcopy"):
            if name in self._found:
                continue
            if self.quick and anywhere:
                self._skip((name,), "this environment is slow and another backend is correct")
                continue
            self._verify_if_time(name)
            if self._found[name].outcome == "right":
                anywhere = True
                if name == "pickle":
                    self._skip(("deepcopy",), "pickle is correct")
        self.finish()
        self._verify_fork()

    def _verify_fork(self) -> None:
        """Start processes only where nothing else saves the state and a replay will not do."""
        if cheapest(self._found) not in (None, "replay") or not self._script.changed:
            return
        replay = self._found["replay"]
        if any(one.reason == _TOO_SLOW for one in self._found.values()):
            self._skip(("fork",), _TOO_SLOW)
        elif replay.outcome == "right" and replay.cost and replay.cost.load_us < FORK_US:
            reason = f"a replay takes {replay.cost.load_us:.0f} us, less than starting processes"
            self._skip(("fork",), reason)
        else:
            self._verify_if_time("fork")

    def ordered(self) -> dict[str, BackendVerdict]:
        """The verdicts in order of preference."""
        names = [name for name in (*IN_PROCESS, "fork") if name in self._found]
        return {name: self._found[name] for name in dict.fromkeys([*names, *self._found])}

    def _verify(self, backend: Backend) -> None:
        self._found[backend.name] = verify_backend(
            backend, self._instances.make, self._script, quick=self.quick
        )
        backend.close()

    def _skip(self, names: Sequence[str], reason: str) -> None:
        for name in names:
            self._found[name] = BackendVerdict(backend=name, outcome="not tried", reason=reason)
