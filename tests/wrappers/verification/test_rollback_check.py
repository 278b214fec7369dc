"""check_rollback finds each broken promise, and none where there is none."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import pytest
import toy_envs as toys
from toy_envs import make, register

import leafe_gym as lg
from leafe_gym.errors import RollbackCheckFailed, UsageError, WrapperOrder
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.verification.action_script import find_script, words
from leafe_gym.wrappers.verification.check import check_rollback

FREE = ("FrozenLake-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1", "CartPole-v1")


class Shop(gym.Env[str, str]):
    """The example of the README."""

    observation_space = action_space = lg.TextSpace()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.price, self.paid = int(self.np_random.integers(1, 10)), 0
        return f"Pay exactly {self.price}.", {"instruction": "Pay the price, then say done."}

    def step(self, action: str) -> Any:
        self.paid += action == "pay"
        won = action == "done" and self.paid == self.price
        return f"Paid {self.paid}.", float(won), action == "done", False, {"won": won}

    def get_state(self) -> Any:
        return self.price, self.paid

    def set_state(self, state: Any) -> None:
        self.price, self.paid = state


class ForgetfulShop(Shop):
    """Does not save what was paid."""

    def get_state(self) -> Any:
        return self.price, 0


def test_the_shop_of_the_readme() -> None:
    report = lg.check_rollback(register(Shop, limit=20))
    report.raise_for_failures()
    assert report.ok
    assert [one.outcome for one in report.verdicts] == ["right"] * 4 + ["not tried"]
    assert report.won_rule == "info"
    assert "words" in report.actions
    assert not report.unproved
    assert str(report).endswith("ok")


def test_a_shop_that_forgets() -> None:
    report = check_rollback(register(ForgetfulShop, limit=20), other_process=False)
    native = report.verdict("native")
    assert native.outcome == "wrong"
    assert native.step is not None
    with pytest.raises(RollbackCheckFailed, match="get_state/set_state do not restore"):
        report.raise_for_failures()


@pytest.mark.parametrize("env_id", [*FREE, "leafe/Sokoban-v0"])
def test_no_false_alarms(env_id: str) -> None:
    report = check_rollback(env_id, seeds=(0, 1), other_process=False)
    report.raise_for_failures()
    assert report.seed.honoured
    assert not report.unproved
    for verdict in report.verdicts:
        expected = {"native": "refused", "fork": "not tried"}.get(verdict.backend, "right")
        if verdict.backend == "native" and env_id.startswith("leafe/"):
            expected = "right"
        assert verdict.outcome == expected, str(report)


@pytest.mark.parametrize("env_id", FREE)
def test_free_environments_come_back(env_id: str) -> None:
    for backend in ("auto", "pickle", "deepcopy", "replay"):
        env = RollbackWrapper(gym.make(env_id), backend)
        env.reset(seed=5)
        env.action_space.seed(5)
        mark = env.snapshot()
        actions = [env.action_space.sample() for _ in range(4)]
        first = []
        for action in actions:
            first.append(str(env.step(action)[:4]))
            if env.transitions[-1].terminated:
                break
        env.restore(mark)
        assert [str(env.step(a)[:4]) for a, _ in zip(actions, first, strict=False)] == first


BROKEN = {
    "LiveState": "get_state/set_state",
    "AdoptsState": "get_state/set_state",
    "ForgetsGenerator": "get_state/set_state",
    "IgnoresSeed": "seed is not honoured",
    "GlobalRandom": "global generators",
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise(name: str) -> None:
    report = check_rollback(
        register(getattr(toys, name)), actions=["draw", "add", "double"], other_process=False
    )
    assert not report.ok
    assert BROKEN[name] in " ".join(report.failures), str(report)
    with pytest.raises(RollbackCheckFailed, match="FAILED"):
        report.raise_for_failures()


@pytest.mark.parametrize("name", ["Ez", "Locked", "Rebuilt", "Forgetful", "DeclaredGlobal"])
def test_refused_backends_are_no_failure(name: str) -> None:
    report = check_rollback(register(getattr(toys, name)), other_process=False)
    report.raise_for_failures()
    assert report.verdict("replay").outcome == "right"
    assert report.won_rule == "default"


def test_named_backends_must_be_right() -> None:
    report = check_rollback(register(toys.Ez), backends=["pickle"])
    assert [one.backend for one in report.verdicts] == ["pickle"]
    assert "EzPickle" in report.failures[0]
    assert "no backend" in report.failures[1]
    with pytest.raises(UsageError, match="was not checked"):
        report.verdict("native")


def test_unproved() -> None:
    report = check_rollback(register(toys.Deaf), other_process=False)
    assert report.unproved
    assert not report.ok
    assert report.failures == ()
    with pytest.raises(RollbackCheckFailed, match="UNPROVED"):
        report.raise_for_failures()
    assert "pass some with actions=" in str(report)
    assert "pass some with -a" in report.text("-a")
    assert report.verdict("pickle").outcome == "unproved"


def test_what_can_be_checked() -> None:
    env = make(toys.Native)
    reports = [
        check_rollback(env),
        check_rollback(gym.spec(register(toys.Native)), other_process=False),
        check_rollback(toys.Native, other_process=False),
        check_rollback(lambda: RollbackWrapper(make(toys.Native), won=lambda *_: False)),
        check_rollback(RollbackWrapper(env), other_process=False),
    ]
    assert all(report.ok for report in reports)
    assert [report.won_rule for report in reports[2:]] == ["default", "function", "default"]
    with pytest.raises(UsageError, match="pass a function"):
        check_rollback(toys.Locked())
    with pytest.raises(UsageError, match="make_kwargs"):
        check_rollback(env, make_kwargs={"goal": 3})
    with pytest.raises(UsageError, match="an id"):
        check_rollback(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed"):
        check_rollback(env, seeds=())
    with pytest.raises(WrapperOrder, match="TimeLimit"):
        check_rollback(gym.wrappers.TimeLimit(RollbackWrapper(env), 5))


def test_an_instance_is_left_alone() -> None:
    env = make(toys.Native)
    env.reset(seed=0)
    env.step("draw")
    before = env.unwrapped.get_state(), env.unwrapped.np_random.bit_generator.state  # type: ignore[attr-defined]
    check_rollback(env)
    assert before == (
        env.unwrapped.get_state(),  # type: ignore[attr-defined]
        env.unwrapped.np_random.bit_generator.state,
    )


def test_as_json() -> None:
    report = check_rollback(register(toys.Native), make_kwargs={"goal": 3})
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["ok"] is True
    assert [one["backend"] for one in plain["verdicts"]] == [
        "native",
        "pickle",
        "deepcopy",
        "replay",
        "fork",
    ]
    assert plain["seed"]["honoured"] is True
    env = RollbackWrapper(make(toys.Native))
    env.reset(seed=0)
    env.snapshot()
    record = json.loads(json.dumps(env.backend_report.as_dict()))
    assert (record["chosen"], record["verdicts"][0]["outcome"]) == ("native", "right")


def test_probing() -> None:
    assert words("Pay 3, then say done.", 7) == ["Pay", "pay", "3", "then", "say", "done"]
    script = find_script(lambda: make(toys.Admissible))
    assert script.source == "admissible_commands"
    assert script.changed
    strict = find_script(lambda: make(toys.Admissible), actions=["boom", "draw"])
    assert set(strict.prefix) == {"draw"}
    seen = find_script(lambda: make(toys.Deaf), seen=["draw"])
    assert not seen.changed
