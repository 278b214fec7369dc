"""Helpers for the tests of environments that are restored to earlier states.

`assert_rollback` tries every backend on a given environment and fails with the whole report.
`rollback_machine` makes a Hypothesis state machine that mixes steps, snapshots, restores,
rollbacks, forks, discarded data and releases in any order and compares with an untouched
environment.

Example of a test file of another package:

    from leafe_gym.testing import assert_rollback, rollback_machine
    from my_package import Shop

    def test_rollback():
        assert_rollback(Shop, actions=["pay", "done"])

    TestShop = rollback_machine(Shop, ["pay", "wait", "done"]).TestCase
"""

from __future__ import annotations

from leafe_gym.testing.assertion import assert_rollback
from leafe_gym.testing.machine import rollback_machine

__all__ = ["assert_rollback", "rollback_machine"]
