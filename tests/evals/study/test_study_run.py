"""The study end to end, very small."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafe_gym.errors import ConfigMismatch, StoreCorrupt, UsageError
from leafe_gym.evals.study import tuning
from leafe_gym.evals.study.bases import NAMED, recipe
from leafe_gym.evals.study.cells import Study, kept
from leafe_gym.evals.study.conclude import conclude
from leafe_gym.evals.study.in_context import told_chain
from leafe_gym.evals.study.measure import Levels
from leafe_gym.evals.study.methods import METHODS, MethodContext, Trained
from leafe_gym.evals.study.run import PARTS, run_study
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.evals.study.settings import SPACES, Setting
from leafe_gym.evals.study.tuning import freeze, sweep, tried
from leafe_gym.tiny.policy import SHIPPED, TinyPolicy

SMALL = StudyScale(
    train_levels=6, interactions=100, val_levels=3, test_levels=4, elsewhere_levels=2,
    stage1_levels=3, stage1_interactions=40, trials=1, grpo_runs=1, rounds=2, batch=8,
    recipe={"levels": 40, "steps": 6}, steps=0.02,
)  # fmt: skip
ARMS = ("base", "grpo", "leafe_paper", "leafe_other", "kl_everywhere", "leafe_paper_grpo")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path, SMALL, Levels(SMALL, tmp_path))
    # The base that comes with the package fails and reflects sensibly; 6 steps teach nothing.
    folder = tmp_path / f"{NAMED}-0" / "base"
    found.context(NAMED, 0)
    for file in ("model.safetensors", "config.json"):
        (folder / file).write_bytes((SHIPPED / "blind" / file).read_bytes())
    return found


def test_all_arms_on_one_base(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {method: Setting() for method in SPACES}
    study.samplers(NAMED, 0)
    for arm in (*ARMS, "in_context", "playbook"):
        found = study.cell(NAMED, 0, arm, settings)
        assert len(found["success"]) == 4
        assert len(found["pool"]) == len(found["recovery"] or found["pool"])
        assert all(0 <= p <= 1 for p in found["success"])
    assert study.cell(NAMED, 0, "in_context", settings)["recovery"] is None
    costs = study.cell(NAMED, 0, "grpo", settings)["costs"]
    assert 0 < costs["tokens_sampled"] <= costs["interactions"]
    assert (costs["steps"] > 0) == (costs["tokens_read"] > 0)
    assert len(study.rounds(NAMED, 0, "leafe_kl", settings)) == 2

    def never(*_: object) -> None:
        raise AssertionError("a finished cell is computed again")

    monkeypatch.setattr(Study, "context", never)
    assert study.cell(NAMED, 0, "grpo", settings)["costs"]["interactions"] <= 600
    figures = conclude(study.folder, SMALL)
    assert set(figures["ledger"]) == {*ARMS, "in_context", "playbook"}
    assert "recovery1" not in figures["ledger"]["in_context"]
    both = figures["ledger"]["leafe_paper_grpo"]["costs"]["interactions"]
    alone = study.cell(NAMED, 0, "leafe_paper_grpo", settings)["costs"]["interactions"]
    assert both == alone + costs["interactions"], "charged for both"
    assert figures["stage1"]["tree"]["interactions"]["mean"] >= 0


@pytest.mark.parametrize(("number", "others"), [(1, (10, 11)), (0, (1, 10)), (11, (1, 110))])
def test_a_trial_removes_its_own_models_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, others: tuple[int, ...]
) -> None:
    """Another process may be at trial 10 when this one is done with trial 1."""
    models = tmp_path / "base-0" / "models"

    def method(context: MethodContext, setting: Setting, title: str) -> Trained:
        for name in (title, f"{title}-world", *(f"trial-early-{other}" for other in others)):
            (models / name).mkdir(parents=True)
        return Trained(model=models / title)

    context = MethodContext(
        base=tmp_path, levels=None, interactions=1, scale=SMALL, seed=0, folder=tmp_path / "base-0"
    )  # type: ignore[arg-type]
    monkeypatch.setattr(Study, "context", lambda *_: context)
    monkeypatch.setitem(METHODS, "early", method)
    monkeypatch.setattr(tuning, "validated", lambda *_: {"pass1": 0.1, "pass128": 0.2})
    scale = replace(SMALL, trials=12)
    tried(Study(tmp_path, scale, Levels(scale, tmp_path)), "base", "early", number)
    assert {one.name for one in models.iterdir()} == {f"trial-early-{other}" for other in others}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '[["test", "x"]]'])
def test_a_damaged_list_of_levels_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "levels-val-3.json").write_text(text)
    with pytest.raises(StoreCorrupt, match=r"levels-val-3\.json: cannot be read .* delete it"):
        _ = Levels(SMALL, tmp_path).validation


def test_the_best_trial_on_validation_levels_is_frozen(study: Study) -> None:
    sweep(study, NAMED, ("reh",))
    one = tried(study, NAMED, "reh", 0)
    assert one["setting"] == {"temperature": 1.0, "lr": 5e-4, "steps": 250}
    assert not list((study.folder / f"{NAMED}-0" / "models").glob("trial*"))
    for method in SPACES:
        path = study.folder / f"{NAMED}-0" / "trials" / f"{method}-0.json"
        path.write_text(
            json.dumps({"setting": {"lr": 1e-3}, "pass1": 0.1, "pass128": 0.2, "seconds": 1})
        )
    assert set(freeze(study, NAMED).values()) == {Setting(lr=1e-3)}


def test_rounds_go_on_after_the_folder_was_moved(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {method: Setting() for method in SPACES}
    began: list[Path] = []

    def method(context: MethodContext, setting: Setting, title: str) -> Trained:
        began.append(context.base)
        model = context.folder / "models" / title / "model"
        shutil.copytree(context.base, model)
        return Trained(model=model)

    monkeypatch.setitem(METHODS, "reh", method)
    first = study.rounds(NAMED, 0, "reh", settings)
    moved = tmp_path / "elsewhere" / "study"
    shutil.copytree(study.folder, moved)
    shutil.rmtree(study.folder / f"{NAMED}-0")
    (moved / f"{NAMED}-0" / "cells" / "reh-round-2.json").unlink()
    shutil.rmtree(moved / f"{NAMED}-0" / "models" / "reh-round-2")
    other = Study(moved, SMALL, Levels(SMALL, moved))
    again = other.rounds(NAMED, 0, "reh", settings)
    assert [one["success"] for one in again] == [one["success"] for one in first]
    assert began[-1] == moved / f"{NAMED}-0" / "models" / "reh-round-1" / "model"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"costs": {}}', '{"seconds": 1, "success": [2.0]}', "null"],
)
def test_a_damaged_cell_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{NAMED}-0" / "cells" / "reh.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StoreCorrupt, match=r"reh\.json: cannot be read .* delete it"):
        kept(path, dict)
    with pytest.raises(StoreCorrupt, match=r"reh\.json: cannot be read .* delete it"):
        conclude(tmp_path, SMALL)


def test_a_trial_that_was_not_run_is_named(study: Study) -> None:
    with pytest.raises(UsageError, match=r"rft-0\.json: this trial has not been run"):
        freeze(study, NAMED)
    (study.folder / "settings.json").write_text('{"methods": {"rft": {"trials": []}}}')
    with pytest.raises(StoreCorrupt, match=r"settings\.json: cannot be read"):
        freeze(study, NAMED)


@pytest.mark.parametrize("change", [{"test_levels": 5}, {"trials": 2}, {"recipe": {"steps": 7}}])
def test_a_folder_holds_one_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setitem(PARTS, "tune", lambda _: None)
    for _ in range(2):
        run_study(tmp_path, ("tune",), SMALL)
    with pytest.raises(ConfigMismatch, match=rf"{next(iter(change))}.*now it is"):
        run_study(tmp_path, ("tune",), replace(SMALL, **change))


def test_parts_are_known() -> None:
    assert set(PARTS) == {"tune", "ledger", "natural", "rounds", "curve"}
    with pytest.raises(UsageError, match="part 'ledgers'"):
        run_study(Path("nowhere"), ("ledgers",))


def test_recipes_see_training_layouts_only() -> None:
    for name in (NAMED, "natural"):
        assert recipe(name, 3).by_layout
        assert recipe(name, 3).seed == 3
    assert recipe(NAMED, 0).weakness.blind == 1e-3
    assert recipe("natural", 0).weakness.blind == 1
    assert recipe("natural", 0).short == (3, 5)


def test_an_experience_counts_at_its_own_step(tmp_path: Path) -> None:
    levels = Levels(SMALL, tmp_path).train
    policy = TinyPolicy.load(SHIPPED / "blind")
    plain, told = levels.chain(policy.network), told_chain(levels, policy, [(2, "not up but left")])
    states = levels.graph.starts
    assert np.allclose(plain.chances(states, 1), told.chances(states, 1), atol=1e-12)
    left = 2  # index of the action
    assert (told.chances(states, 2)[:, left] > plain.chances(states, 2)[:, left] + 0.2).mean() > 0.5
    always = told_chain(levels, policy, [(2, "not up but left")], always=True)
    assert not np.allclose(plain.chances(states, 1), always.chances(states, 1), atol=1e-6)


def test_what_one_process_makes_the_others_wait_for(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, int]:
        made.append(1)
        time.sleep(0.2)
        return {"figure": 7}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kept(tmp_path / "a" / "cell.json", make), range(4)))
    assert made == [1]
    assert [one["figure"] for one in found] == [7] * 4
