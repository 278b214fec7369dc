"""`auto`: the first backend, in the order of `backend_names`, that proves right."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from leafe_gym.errors import SnapshotUnsupported
from leafe_gym.types import Scope
from leafe_gym.wrappers.backends.base import BUILTIN, Backend, make_backend
from leafe_gym.wrappers.episode import View
from leafe_gym.wrappers.probe import Script, find_script
from leafe_gym.wrappers.prove import prove
from leafe_gym.wrappers.report import BackendReport, Verdict
from leafe_gym.wrappers.second import NoSecondInstance, SecondInstance


@dataclass(slots=True)
class Choice:
    """A backend in use.

    Attributes:
        backend: this wrapper's own.
        report: how it came about.
        scope: of its snapshots.
        nbytes: size of a snapshot as measured in the proof.
        provisional: more might be proved with actions that are not known yet.
    """

    backend: Backend
    report: BackendReport
    scope: Scope
    nbytes: int = 0
    provisional: bool = False

    def twin(self) -> Choice:
        """The same for a forked wrapper."""
        backend = make_backend(self.backend.name) if self.report.by_name else self.backend
        return Choice(backend, self.report, self.scope, self.nbytes)


class _Kind:
    """What is known of one kind of environment in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.script: Script | None = None
        self.verdicts: dict[str, Verdict] = {}


_KINDS: dict[Hashable, _Kind] = {}
_KINDS_LOCK = threading.Lock()


def choose(
    asked: str | Backend,
    second: SecondInstance,
    actions: Sequence[Any] | None,
    episode: View | None,
) -> Choice:
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
    if asked == "auto":
        return _auto(trier)
    backend = second.backend(asked) if isinstance(asked, str) else second.teach(asked)
    if backend.name == "replay":
        return Choice(backend, BackendReport("replay", "replay"), backend.scope)
    note = ""
    try:
        verdict = trier.verdict(backend)
    except NoSecondInstance as error:
        note = str(error)
        reason = second.refusal(backend)
        verdict = Verdict(
            backend=backend.name,
            outcome="refused" if reason else "unproved",
            reason=reason or "",
        )
    if verdict.outcome in ("refused", "wrong"):
        raise SnapshotUnsupported(
            f"backend {backend.name!r} {_SAID[verdict.outcome]} for {second}: {verdict.reason}. "
            "Use backend='auto', which finds one that works, or fix the environment and try it "
            "with check_rollback"
        )
    return _chosen(asked, backend, (verdict,), note)


_SAID = {"refused": "cannot be used", "wrong": "does not restore the state"}


def _auto(trier: _Trier) -> Choice:
    verdicts: list[Verdict] = []
    note = ""
    for name in (one for one in BUILTIN if one != "replay"):
        backend = make_backend(name)
        try:
            verdict = trier.verdict(backend)
        except NoSecondInstance as error:
            note = str(error)
            break
        verdicts.append(verdict)
        if verdict.outcome == "right" and not verdict.instance_only:
            return _chosen("auto", backend, tuple(verdicts), note)
    for verdict in verdicts:
        if verdict.outcome == "right":
            return _chosen("auto", make_backend(verdict.backend), tuple(verdicts), note)
    unproved = any(verdict.outcome == "unproved" for verdict in verdicts)
    if unproved:
        note = "pass probe_actions= (actions that change the observation) to prove more"
    choice = _chosen("auto", make_backend("replay"), tuple(verdicts), note)
    choice.provisional = unproved
    return choice


def _chosen(
    asked: str | Backend, backend: Backend, verdicts: tuple[Verdict, ...], note: str
) -> Choice:
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
    cost = report.cost
    return Choice(backend, report, scope, cost.nbytes if cost else 0)


class _Trier:
    """Proves backends for one kind of environment, or looks up what was proved before."""

    def __init__(
        self, second: SecondInstance, actions: Sequence[Any] | None, episode: View | None
    ) -> None:
        self._second = second
        self._actions = actions
        self._episode = episode
        self._kind = _Kind()
        if second.key is not None:
            key = (second.key, None if actions is None else repr(list(actions)))
            with _KINDS_LOCK:
                self._kind = _KINDS.setdefault(key, self._kind)

    def verdict(self, backend: Backend) -> Verdict:
        """What is known of `backend` after trying it.

        Raises:
            NoSecondInstance: if there is nothing to try it on.
        """
        kind, make = self._kind, self._second.make
        with kind.lock:
            if backend.name in kind.verdicts:
                return kind.verdicts[backend.name]
            if kind.script is None or not kind.script.changed:
                kind.script = self._script()
            verdict = prove(backend, make, kind.script)
            if verdict.outcome != "unproved":
                # What could not be proved now may be later, with actions of the episode.
                kind.verdicts[backend.name] = verdict
            return verdict

    def _script(self) -> Script:
        if self._episode is None:
            return find_script(self._second.make, actions=self._actions)
        log = self._episode.log
        return find_script(
            self._second.make,
            seed=log.seed,
            options=log.options,
            actions=self._actions,
            seen=[move.action for move in self._episode.moves()],
        )
