"""A whole reproduction, as small as it can be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.evals.reproduce.merge import DECIDED
from leafe_gym.evals.reproduce.protocol import Scale
from leafe_gym.evals.reproduce.reproduce import conclude, reproduce

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
    for model in (
        "base",
        "rft",
        "rft_3x",
        "early",
        "grpo",
        "grpo_3x",
        "reh",
        "reh_random",
        "leafe",
        "leafe_grpo",
    ):
        assert (
            0 <= result["passk"][model]["1"]["mean"] <= result["passk"][model]["128"]["mean"] <= 1
        )
        assert set(result["recovery"][model]) == {"1", "16"}
    for sampler in ("is", "ir", "ir_all", "tree"):
        assert set(result["stage1"][sampler]) == {"interactions", "tokens_total", "tokens_uncached"}
    # Every method keeps to the same budget on the same levels.
    notes = result["methods"][0]
    assert notes["tree"]["interactions"] <= 12 * 170
    assert notes["is"]["interactions"] <= 12 * 170
    assert 0.8 * 12 * 170 < notes["grpo_0"]["interactions"] <= 12 * 170
    assert 12 * 170 < notes["is-3x"]["interactions"] <= 12 * 510
    text = (tmp_path / "report.md").read_text()
    assert text.splitlines()[2].startswith(("Not told apart", "The rollback tree solves more"))
    assert "paper, Table 3" in text
    assert (tmp_path / "blind.png").stat().st_size > 10_000

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
