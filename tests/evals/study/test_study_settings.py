"""Trials and batches of the study."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leafe_gym.distill.data.row_types import Encoded, RowKind
from leafe_gym.evals.study.methods import METHODS, TITLES
from leafe_gym.evals.study.run import ARMS
from leafe_gym.evals.study.settings import SPACES, TRIALS, Setting, trials
from leafe_gym.evals.study.training import batches


def row(kind: RowKind, number: int) -> Encoded:
    return Encoded(ids=(1, number, 2), target_start=2, kind=kind, task="t")


def test_every_method_has_as_many_trials_and_begins_with_the_published_setting() -> None:
    assert set(SPACES) == set(METHODS)
    assert set(TITLES) == set(ARMS)
    for method in SPACES:
        found = trials(method)
        assert len(found) == TRIALS >= 12
        assert found[0] == Setting()
        assert len(set(found)) == TRIALS
        assert trials(method, 5) == found[:5]


def test_methods_that_share_a_range_share_its_points() -> None:
    sft, leafe = trials("rft"), trials("leafe")
    assert [(one.temperature, one.lr, one.steps) for one in sft] == [
        (one.temperature, one.lr, one.steps) for one in leafe
    ]


@pytest.mark.parametrize("method", SPACES)
def test_settings_stay_in_their_range_and_travel_as_json(method: str) -> None:
    for one in trials(method):
        for name, among in SPACES[method].items():
            value = getattr(one, name)
            if isinstance(among, list):
                assert value in among
            else:
                assert among[0] <= value <= among[1]
        written = {
            k: list(v) if isinstance(v, tuple) else v for k, v in one.only(SPACES[method]).items()
        }
        assert Setting.read(written) == one


@pytest.mark.parametrize(
    ("revised", "epochs", "steps", "mixed"),
    [(8, 1, 10, 2), (8, 3, 10, 6), (9, 1, 10, 3), (200, 3, 10, 10), (0, 3, 10, 0)],
)
def test_counterfactual_rows_are_seen_as_often_as_they_may(
    revised: int, epochs: int, steps: int, mixed: int
) -> None:
    plain = [row("rehearsal", n) for n in range(5)]
    cf = [row("counterfactual", n) for n in range(revised)]
    setting = Setting(steps=steps, cf_epochs=epochs)
    found = batches(plain, cf, setting, 8, np.random.default_rng(0))
    assert Counter(Counter(one.task for one in found).values()) == {8: steps}
    kinds = {
        step: Counter(one.kind for one in found if one.task == f"step {step}")
        for step in range(steps)
    }
    assert sum(bool(one["counterfactual"]) for one in kinds.values()) == mixed
    assert all(one["counterfactual"] in (0, 4) for one in kinds.values())


def test_batches_without_a_kind_of_row() -> None:
    rng = np.random.default_rng(0)
    cf = [row("counterfactual", n) for n in range(6)]
    found = batches([], cf, Setting(steps=50, cf_epochs=2), 4, rng)
    assert len(found) == 12
    assert batches([], [], Setting(), 4, rng) == []
