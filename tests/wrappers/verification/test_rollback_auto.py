"""`auto` takes the cheapest backend that is right, says so, and can be told what it took before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
import toy_envs as toys
from toy_envs import make

from leafe_gym.errors import UsageError
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.backends.recipe import dump_recipe
from leafe_gym.wrappers.verification import candidates
from leafe_gym.wrappers.verification.report import BackendCost, BackendVerdict, cheapest
from leafe_gym.wrappers.verification.selection import export_choice, forget_choices, import_choice


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget_choices()


class SlowReset(toys.Locked):
    """Cannot be pickled; beginning takes long, so a process pays."""

    def reset(self, **kwargs: Any) -> Any:
        time.sleep(0.03)
        return super().reset(**kwargs)


class SlowPickle(toys.Native):
    """Its own state is dear."""

    def get_state(self) -> Any:
        time.sleep(0.002)
        return super().get_state()


class SlowSteps(toys.Counter):
    """Doing it again takes long."""

    def step(self, action: str) -> Any:
        time.sleep(0.002)
        return super().step(action)


def chosen(env: Any, **kwargs: Any) -> RollbackWrapper:
    wrapped = RollbackWrapper(env, probe_actions=["add", "double"], **kwargs)
    wrapped.reset(seed=0)
    wrapped.snapshot()
    return wrapped


def test_all_candidates_are_listed() -> None:
    report = chosen(make(toys.Native)).backend_report
    assert report.chosen == "native"
    assert [one.backend for one in report.verdicts] == ["native", "pickle", "deepcopy", "replay"]
    assert [one.outcome for one in report.verdicts] == ["right", "not tried", "not tried", "right"]
    assert "pickle    not tried native is correct and cheap" in str(report)
    pickled = chosen(make(toys.Counter)).backend_report
    assert [one.outcome for one in pickled.verdicts] == ["refused", "right", "not tried", "right"]


def test_what_is_measured_counts() -> None:
    assert chosen(make(SlowPickle)).backend_report.chosen in ("pickle", "replay")
    assert chosen(make(SlowSteps)).backend_report.chosen == "pickle"


def test_processes_where_nothing_else_will_do() -> None:
    env = chosen(make(SlowReset))
    assert env.backend_report.chosen == "fork", str(env.backend_report)
    assert env.snapshot().kind == "fork"
    env.close()
    locked = chosen(make(toys.Locked))
    assert locked.backend_report.chosen == "replay"
    assert "less than starting processes" in str(locked.backend_report)


def test_slow_environments_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_QUICK_SECONDS", -1.0)
    recipe = dump_recipe(SlowPickle)
    chain = [f"{SlowPickle.__module__}.SlowPickle"]
    found = candidates.verify_candidates(
        candidates.VerificationRequest(recipe=recipe, chain=chain, actions=["add", "double"])
    )
    outcomes = [found.outcomes()[name] for name in candidates.IN_PROCESS]
    assert outcomes == ["right", "not tried", "not tried", "right"]


def test_small_differences_do_not_matter() -> None:
    def right(name: str, load_us: float) -> BackendVerdict:
        return BackendVerdict(backend=name, outcome="right", cost=BackendCost(0.0, load_us))

    def pick(*verdicts: BackendVerdict) -> str | None:
        return cheapest({one.backend: one for one in verdicts})

    assert pick(right("native", 12), right("pickle", 10), right("replay", 5)) == "native"
    assert pick(right("native", 40), right("pickle", 10), right("replay", 5)) == "pickle"
    assert pick(right("native", 40), right("replay", 5)) == "replay"
    assert pick(right("fork", 4000), right("replay", 9000)) == "fork"
    assert pick(BackendVerdict(backend="native", outcome="wrong")) is None


def test_choices_travel() -> None:
    class Kept(toys.Native):
        pass

    env = RollbackWrapper(make(Kept), "auto")
    with pytest.raises(UsageError, match="at the first reset"):
        export_choice(env)
    env.reset(seed=0)
    record = json.loads(json.dumps(export_choice(env)))
    assert (record["backend"], record["report"]["chosen"]) == ("native", "native")
    import_choice({**record, "backend": "deepcopy"})
    again = RollbackWrapper(make(Kept))
    again.reset(seed=0)
    assert again.snapshot().kind == "deepcopy"
    assert again.backend_report.proved
    assert "earlier run" in again.backend_report.note
    import_choice({**record, "backend": "replay"})
    assert chosen(make(Kept)).snapshot().kind == "replay"
    for bad in ({}, {"kind": 1, "backend": "native"}):
        with pytest.raises(UsageError, match="export_choice"):
            import_choice(bad)
    with pytest.raises(UsageError, match="names the backend 'clone'"):
        import_choice({**record, "backend": "clone"})


def test_a_choice_that_is_no_longer_right() -> None:
    class Changed(toys.ForgetsGenerator):
        pass

    env = RollbackWrapper(make(Changed))
    import_choice({"kind": env.kind, "backend": "native"})
    env.reset(seed=0)
    assert env.snapshot().kind != "native"
    assert "native, chosen in an earlier run, is not correct here" in env.backend_report.note


def test_a_choice_without_a_second_instance() -> None:
    env = RollbackWrapper(toys.Locked())
    for backend in ("replay", "native"):
        import_choice({"kind": env.kind, "backend": backend})
        one = RollbackWrapper(toys.Locked())
        one.reset(seed=0)
        assert one.snapshot().kind == "replay"
        assert "factory=" in one.backend_report.note


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("leafe/Sokoban-v0", {"native"}),
        ("FrozenLake-v1", {"pickle", "replay"}),
        ("Taxi-v4", {"pickle", "replay"}),
        ("CartPole-v1", {"pickle", "replay"}),
    ],
)
def test_known_environments(env_id: str, expected: set[str]) -> None:
    env = RollbackWrapper(gym.make(env_id))
    env.reset(seed=0)
    assert env.snapshot().kind in expected
    assert env.backend_report.proved
