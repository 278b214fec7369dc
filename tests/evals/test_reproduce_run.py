"""A whole reproduction, as small as it can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.evals.reproduce.merge import DECIDED
from leafe_gym.evals.reproduce.protocol import Scale
from leafe_gym.evals.reproduce.reproduce import conclude, reproduce
from leafe_gym.store.reader import RunReader

SMALL = Scale(
    stage1_levels=6, stage1_interactions=40,
    train_levels=12, train_interactions=170, test_levels=12, steps=12,
    batch=16, grpo_seeds=2,
)  # fmt: skip


def test_figures_report_and_resume(tmp_path: Path) -> None:
    result = reproduce(tmp_path, scale=SMALL)
    assert tuple(result["decided"]) == DECIDED
    verdicts = {"reproduced", "reversed", "undecided"}
    assert set(result["decided"].values()) | set(result["orderings"].values()) <= verdicts
    samplers = {*result["decided"], *result["orderings"]}
    assert set(result["differences"]) == samplers | set(result["exploratory"])
    # Trained models are compared without a verdict, their baselines are not tuned.
    assert not [name for name in samplers if not name.startswith(("tree_", "ir_"))]
    assert {result["differences"][name]["verdict"] for name in result["exploratory"]} == {
        "exploratory"
    }
    figures = json.loads((tmp_path / "blind-0" / "figures.json").read_text())
    success = figures["trained"]["success"]
    runs = {"grpo": ["grpo_0", "grpo_1"]}
    assert set(result["passk"]) == {name for name in success if "grpo_" not in name} | {
        "grpo", "grpo_3x"
    }  # fmt: skip
    for model, passk in result["passk"].items():
        chances = np.array([success[name] for name in runs.get(model, [model])])
        for k, interval in passk.items():
            passed = 1 - (1 - chances) ** int(k)
            assert interval["mean"] == pytest.approx(passed.mean()), (model, k)
            assert interval["low"] <= interval["mean"] <= interval["high"]
    assert len({tuple(chances) for chances in success.values()}) == len(success), "all differ"
    for sampler in ("is", "ir", "ir-all", "tree"):
        spent = figures["stage1"]["methods"][sampler]["interactions"]
        solved = [at is not None and at <= 40 for at in spent["solved_at"]]
        there = result["stage1"][sampler.replace("-", "_")]["interactions"]
        assert there["mean"] == pytest.approx(np.mean(solved))
        with RunReader(tmp_path / "blind-0" / "stage1" / sampler) as run:
            assert sum(tree.spent.interactions for tree in run.trees()) == sum(spent["used"])
    # Every method keeps to the same budget on the same levels.
    notes = result["methods"][0]
    assert notes["tree"]["interactions"] <= 12 * 170
    assert notes["is"]["interactions"] <= 12 * 170
    assert 0.8 * 12 * 170 < notes["grpo_0"]["interactions"] <= 12 * 170
    assert 12 * 170 < notes["is-3x"]["interactions"] <= 12 * 510
    text = (tmp_path / "report.md").read_text()
    one = result["passk"]["grpo"]["128"]
    shown = "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * one[name] for name in ("mean", "low", "high")))
    (line,) = (line for line in text.splitlines() if line.startswith("| GRPO | ") and "[" in line)
    assert line.split(" | ")[2] == shown
    assert all(limit in text for limit in result["limits"])
    assert (tmp_path / "blind.png").read_bytes().startswith(b"\x89PNG")

    again = reproduce(tmp_path, scale=SMALL)
    keys = ("passk", "decided", "stage1", "recovery")
    assert json.dumps({key: again[key] for key in keys}) == json.dumps(
        {key: result[key] for key in keys}
    )

    with pytest.raises(ConfigMismatch, match="another scale"):
        reproduce(tmp_path, scale=dataclasses.replace(SMALL, steps=13))


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one base"):
        conclude({}, tmp_path)
