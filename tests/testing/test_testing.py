"""The helpers for other packages' tests fail where they should, and only there."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import MissingExtra, UsageError
from leafe_gym.testing import assert_rollback, rollback_machine
from leafe_gym.wrappers import RollbackWrapper

PURCHASE = ["pay", "wait", "done"]


class Shop(gym.Env[str, str]):
    """The example of the README."""

    observation_space = action_space = TextSpace()

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


class Forgetful(Shop):
    """Forgets what was paid, every third time only."""

    loads = 0

    def set_state(self, state: Any) -> None:
        type(self).loads += 1
        self.price, self.paid = state[0], state[1] + (self.loads % 3 == 0)


class Silent(Shop):
    """Shows nothing."""

    def step(self, action: str) -> Any:
        return "", 0.0, False, False, {}

    def reset(self, **kwargs: Any) -> Any:
        return "", super().reset(**kwargs)[1]


TestShop: Any = rollback_machine(Shop, PURCHASE).TestCase
TestShop.settings = settings(max_examples=10, stateful_step_count=15)


@pytest.mark.parametrize("backend", ["native", "pickle", "deepcopy", "replay", "fork"])
def test_machine(backend: str) -> None:
    machine = rollback_machine(Shop, PURCHASE, backend=backend)
    examples = 2 if backend == "fork" else 8
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=15)
    )


def test_machine_of_numbers_and_arrays() -> None:
    machine = rollback_machine(lambda: RollbackWrapper(gym.make("CartPole-v1")), [0, 1], seeds=1)
    run_state_machine_as_test(machine, settings=settings(max_examples=5, stateful_step_count=15))


def test_machine_finds_a_wrong_backend() -> None:
    with pytest.raises(Exception, match=r"does not restore the state|expected"):
        run_state_machine_as_test(
            rollback_machine(lambda: Forgetful(), PURCHASE, backend="native"),
            settings=settings(max_examples=20, stateful_step_count=15),
        )


def test_machine_needs_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="at least one action"):
        rollback_machine(Shop, [])
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingExtra, match="dev"):
        rollback_machine(Shop, PURCHASE)


def test_assertion() -> None:
    report = assert_rollback(Shop, actions=PURCHASE, seeds=[0])
    assert report.elsewhere == "same"
    assert_rollback(Shop, backends=["fork"], seeds=[0], other_process=False)
    with pytest.raises(AssertionError, match="get_state/set_state do not restore"):
        assert_rollback(Forgetful, actions=PURCHASE, seeds=[0], other_process=False)
    with pytest.raises(AssertionError, match="nothing was shown; pass some with actions="):
        assert_rollback(Silent, seeds=[0], other_process=False)
    assert assert_rollback(Silent, seeds=[0], other_process=False, proved=False).unproved
