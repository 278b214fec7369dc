"""The study end to end, very small."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from leafe_gym.errors import UsageError
from leafe_gym.evals.study.bases import NAMED, recipe
from leafe_gym.evals.study.cells import Study, kept
from leafe_gym.evals.study.conclude import conclude
from leafe_gym.evals.study.in_context import told_chain
from leafe_gym.evals.study.measure import Levels
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
        assert len(found["pool"]) == len(found["recovery"])
        assert all(0 <= p <= 1 for p in found["success"])
    assert len(study.rounds(NAMED, 0, "leafe_kl", settings)) == 2

    def never(*_: object) -> None:
        raise AssertionError("a finished cell is computed again")

    monkeypatch.setattr(Study, "context", never)
    assert study.cell(NAMED, 0, "grpo", settings)["costs"]["interactions"] <= 600
    figures = conclude(study.folder, SMALL)
    assert set(figures["ledger"]) == {*ARMS, "in_context", "playbook"}
    assert figures["stage1"]["tree"]["interactions"]["mean"] >= 0


def test_the_best_trial_on_validation_levels_is_frozen(study: Study) -> None:
    sweep(study, NAMED, ("reh",))
    one = tried(study, NAMED, "reh", 0)
    assert one["setting"] == {"temperature": 1.0, "lr": 5e-4, "steps": 250}
    assert not list((study.folder / f"{NAMED}-0" / "models").glob("trial*"))
    for method in SPACES:
        path = study.folder / f"{NAMED}-0" / "trials" / f"{method}-0.json"
        path.write_text(json.dumps({"setting": {"lr": 1e-3}, "pass1": 0.1, "pass128": 0.2}))
    assert set(freeze(study, NAMED).values()) == {Setting(lr=1e-3)}


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
