"""`auto`: every backend is proved and timed; the one that is right and costs least is taken.

The expected cost is one save and one restore. A replay saves nothing and does half of a typical
episode again; it has to be clearly cheaper, because it grows with the episode. `fork` starts
processes, so it is looked at only where nothing else saves the state and a replay is slow or wrong.

What was chosen can be written down and given to another process (`export_choice`,
`import_choice`), so that a run that is resumed goes on with the same backend. There it is proved
again, it alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from leafe_gym.errors import SnapshotUnsupported, UsageError
from leafe_gym.types import Json, Scope
from leafe_gym.wrappers.backends.base import BACKENDS, Backend
from leafe_gym.wrappers.rollback.episode_log import EpisodeView
from leafe_gym.wrappers.verification.action_script import ActionScript, find_script
from leafe_gym.wrappers.verification.instance_factory import InstanceFactory, InstanceUnavailable
from leafe_gym.wrappers.verification.report import BackendReport, BackendVerdict
from leafe_gym.wrappers.verification.verify import verify_backend


@dataclass(slots=True)
class BackendChoice:
    """A backend in use.

    Attributes:
        backend: this wrapper's own.
        report: how it came about.
        scope: of its snapshots.
        provisional: more might be proved with actions that are not known yet.
    """

    backend: Backend
    report: BackendReport
    scope: Scope
    provisional: bool = False

    def for_fork(self, second: InstanceFactory) -> BackendChoice:
        """The same for the wrapper that `fork()` makes."""
        backend = second.backend(self.backend.name) if self.report.by_name else self.backend
        return BackendChoice(backend, self.report, self.scope)


class _Kind:
    """What is known of one kind of environment in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.script: ActionScript | None = None
        self.verdicts: dict[str, BackendVerdict] = {}


_KINDS: dict[Hashable, _Kind] = {}
_KINDS_LOCK = threading.Lock()


def select_backend(
    asked: str | Backend,
    second: InstanceFactory,
    actions: Sequence[Any] | None,
    episode: EpisodeView | None,
) -> BackendChoice:
    """Settle on a backend.

    Args:
        asked: "auto", a name, or a backend.
        second: where to prove it.
        actions: to prove it with; None to look for some.
        episode: the caller's, whose seed, options and actions may be of use.

    Raises:
        SnapshotUnsupported: if the one asked for by name refuses or proves wrong.
    """
    trier = _Trier(second, actions, episode)
    choice = _auto(trier) if asked == "auto" else _named(asked, trier)
    if second.undeclared_globals():
        note = f"{choice.report.note}; {_UNDECLARED}".lstrip("; ")
        choice.report = replace(choice.report, note=note)
    return choice


_UNDECLARED = (
    "the environment draws from the global generators (random, numpy.random) without saying so; "
    "it is treated as if it did: declare metadata = {'global_rng': True}, or use self.np_random"
)


def _named(asked: str | Backend, trier: _Trier) -> BackendChoice:
    second = trier.second
    backend = second.backend(asked) if isinstance(asked, str) else second.teach(asked)
    if backend.name == "replay":
        return BackendChoice(backend, BackendReport("replay", "replay"), backend.scope)
    note = ""
    try:
        verdict = trier.verdict(backend)
    except InstanceUnavailable as error:
        note = str(error)
        reason = second.refusal(backend)
        verdict = BackendVerdict(
            backend=backend.name,
            outcome="refused" if reason else "unproved",
            reason=reason or "",
        )
    if verdict.outcome in ("refused", "wrong"):
        backend.close()
        raise SnapshotUnsupported(
            f"backend {backend.name!r} {_SAID[verdict.outcome]} for {second}: {verdict.reason}. "
            "Use backend='auto', which finds one that works, or fix the environment and try it "
            "with check_rollback"
        )
    return _chosen(asked, backend, (verdict,), note)


_SAID = {"refused": "cannot be used", "wrong": "does not restore the state"}


IN_PROCESS = ("native", "pickle", "deepcopy", "replay")
_CLEARLY = 1.5
_REPLAY_FACTOR = 3.0
_FORK_US = 10_000.0
_PROOFS_SECONDS = 5.0


def _auto(trier: _Trier) -> BackendChoice:
    note = ""
    if name := _REMEMBERED.get(trier.second.kind):
        if choice := _again(name, trier):
            return choice
        note = f"{name}, chosen in an earlier run, does not prove right here"
    found: dict[str, BackendVerdict] = {}
    begin = time.monotonic()
    for name in IN_PROCESS:
        late = time.monotonic() - begin > _PROOFS_SECONDS
        if late and any(one.outcome == "right" for one in found.values()):
            reason = "this environment is slow and another backend is right"
            found[name] = BackendVerdict(backend=name, outcome="not tried", reason=reason)
            continue
        try:
            found[name] = trier.verdict(trier.second.backend(name))
        except InstanceUnavailable as error:
            return _chosen(
                "auto", trier.second.backend("replay"), tuple(found.values()), str(error)
            )
    name = _cheapest(found)
    backend = None
    if any(verdict.outcome == "unproved" for verdict in found.values()):
        note = "pass probe_actions= (actions that change the observation) to prove more"
        name = name or "replay"
    elif name in (None, "replay"):
        backend, found["fork"] = _try_fork(trier, found["replay"])
        name = _cheapest(found) or "replay"
    if backend is None or name != "fork":
        if backend is not None:
            backend.close()
        backend = trier.second.backend(name)
    choice = _chosen("auto", backend, tuple(found.values()), note)
    choice.provisional = found[name].outcome == "unproved"
    return choice


def _again(name: str, trier: _Trier) -> BackendChoice | None:
    """The choice of an earlier run, if it is right here, too."""
    backend = trier.second.backend(name)
    try:
        verdict = trier.verdict(backend)
    except InstanceUnavailable as error:
        return _chosen("auto", backend, (), str(error)) if name == "replay" else None
    if verdict.outcome != "right" and name != "replay":
        backend.close()
        return None
    return _chosen("auto", backend, (verdict,), "as in the earlier run")


def _try_fork(trier: _Trier, replay: BackendVerdict) -> tuple[Backend | None, BackendVerdict]:
    """Start processes only where they may pay."""
    load = replay.cost.load_us if replay.outcome == "right" and replay.cost else None
    if load is not None and load < _FORK_US:
        reason = f"a replay takes {load:.0f} us, less than starting processes"
        return None, BackendVerdict(backend="fork", outcome="not tried", reason=reason)
    backend = trier.second.backend("fork")
    return backend, trier.verdict(backend)


def _cheapest(found: dict[str, BackendVerdict]) -> str | None:
    """The right one that costs least, in favour of the earlier ones; None if none is right.

    Small differences are noise, and the same environment is to get the same backend each time.
    """
    right = [one for one in found.values() if one.outcome == "right" and one.backend != "replay"]
    everywhere = [one for one in right if not one.instance_only]
    best: BackendVerdict | None = None
    for one in everywhere or right:
        if best is None or _cost(one) * _CLEARLY < _cost(best):
            best = one
    replay = found.get("replay")
    if replay is None or replay.outcome != "right":
        return None if best is None else best.backend
    if best is None or _cost(replay) * _REPLAY_FACTOR < _cost(best):
        return "replay"
    return best.backend


def _cost(verdict: BackendVerdict) -> float:
    """Microseconds of one save and one restore."""
    return math.inf if verdict.cost is None else verdict.cost.save_us + verdict.cost.load_us


class Chooser(Protocol):
    """A RollbackWrapper, as far as its choice is concerned."""

    @property
    def kind(self) -> str:
        """Which kind of environment it holds."""

    @property
    def backend_report(self) -> BackendReport:
        """What was chosen."""


_REMEMBERED: dict[str, str] = {}


def export_choice(env: Chooser) -> dict[str, Json]:
    """What `env` uses, as plain JSON for the record of a run.

    Raises:
        UsageError: if nothing was chosen yet.
    """
    report = env.backend_report
    if not report.chosen:
        raise UsageError("no backend was chosen yet: take a snapshot first")
    return {"kind": env.kind, "backend": report.chosen, "report": report.as_dict()}


def import_choice(record: Mapping[str, Json]) -> None:
    """Have `backend="auto"` take what `export_choice` wrote, for that kind of environment.

    Holds for this process. The backend is proved before it is used, as any other; where it does
    not prove right all are tried.

    Raises:
        UsageError: if the record is not one, or names a backend that does not exist here.
    """
    kind, backend = record.get("kind"), record.get("backend")
    if not isinstance(kind, str) or not isinstance(backend, str):
        raise UsageError(f"not a record made by export_choice: {record!r}"[:300])
    if backend not in BACKENDS:
        raise UsageError(
            f"the record names the backend {backend!r}; here there are: {BACKENDS.list()}"
        )
    _REMEMBERED[kind] = backend


def forget_choices() -> None:
    """Undo every `import_choice` of this process."""
    _REMEMBERED.clear()


def _chosen(
    asked: str | Backend, backend: Backend, verdicts: tuple[BackendVerdict, ...], note: str
) -> BackendChoice:
    verdict = next((one for one in verdicts if one.backend == backend.name), None)
    proved = verdict is not None and verdict.outcome == "right"
    by_name = isinstance(asked, str)
    report = BackendReport(
        asked if isinstance(asked, str) else asked.name,
        backend.name,
        proved,
        verdicts,
        note,
        by_name,
    )
    scope = backend.scope
    if verdict is not None and verdict.instance_only:
        scope = "instance"
    elif verdict is not None and verdict.portable:
        scope = "portable"
    return BackendChoice(backend, report, scope)


class _Trier:
    """Proves backends for one kind of environment, or looks up what was proved before."""

    def __init__(
        self, second: InstanceFactory, actions: Sequence[Any] | None, episode: EpisodeView | None
    ) -> None:
        self.second = second
        self._actions = actions
        self._episode = episode
        self._kind = _Kind()
        if second.key is not None:
            key = (second.key, None if actions is None else repr(list(actions)))
            with _KINDS_LOCK:
                self._kind = _KINDS.setdefault(key, self._kind)

    def verdict(self, backend: Backend) -> BackendVerdict:
        """What is known of `backend` after trying it.

        Raises:
            InstanceUnavailable: if there is nothing to try it on.
        """
        kind, make = self._kind, self.second.make
        with kind.lock:
            if backend.name in kind.verdicts:
                return kind.verdicts[backend.name]
            if kind.script is None or not kind.script.changed:
                kind.script = self._script()
            verdict = verify_backend(backend, make, kind.script)
            if verdict.outcome != "unproved":
                # What could not be proved now may be later, with actions of the episode.
                kind.verdicts[backend.name] = verdict
            return verdict

    def _script(self) -> ActionScript:
        if self._episode is None:
            return find_script(self.second.make, actions=self._actions)
        log = self._episode.log
        return find_script(
            self.second.make,
            seed=log.seed,
            options=log.options,
            actions=self._actions,
            seen=[move.action for move in self._episode.moves()],
        )
