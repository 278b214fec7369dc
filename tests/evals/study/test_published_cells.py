"""The published cells of the study give the published figures, and its settings are those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leafe_gym.evals.study.base_figures import BaseFigures
from leafe_gym.evals.study.bases import NATURAL_NAME, SEEDS
from leafe_gym.evals.study.run import ARMS
from leafe_gym.evals.study.scale import STUDY
from leafe_gym.evals.study.tuning import FROZEN, read_settings

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def numbers(found: Any, name: str = "") -> dict[str, float]:
    """Every number in nested dicts and lists, by its place."""
    if isinstance(found, int | float):
        return {name: float(found)}
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return {at: one for key, inner in pairs for at, one in numbers(inner, f"{name}.{key}").items()}


def test_cells_give_the_figures() -> None:
    published = json.loads((RESULTS / "reproduce.json").read_text())
    figures = BaseFigures(RESULTS / "study", NATURAL_NAME, STUDY)
    assert figures.seeds == SEEDS
    assert figures.unfinished(ARMS) == []
    found = numbers({"ledger": figures.ledger(), "stage1": figures.stage1()})
    assert len(found) > 900
    assert found == pytest.approx(numbers(published["natural"]), abs=1e-9)


def test_settings_are_those_of_the_sweep() -> None:
    published = json.loads((RESULTS / "reproduce.json").read_text())
    found = read_settings(RESULTS / "study" / FROZEN)
    chosen = {name: one["chosen"] for name, one in found.items()}
    assert chosen == {name: one["chosen"] for name, one in published["tuning"].items()}
    assert numbers(_trials(found)) == pytest.approx(numbers(_trials(published["tuning"])), abs=1e-6)


def _trials(tuning: Any) -> Any:
    return {
        name: [{key: one[key] for key in ("pass1", "pass128")} for one in method["trials"]]
        for name, method in tuning.items()
    }
