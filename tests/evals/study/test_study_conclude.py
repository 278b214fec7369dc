"""Figures and orderings from the cells of a study, by hand-made cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leafe_gym.errors import ConfigMismatch
from leafe_gym.evals.study.bases import NAMED, NATURAL_NAME, blind_name
from leafe_gym.evals.study.cells import FROM_GRPO
from leafe_gym.evals.study.conclude import (
    ORDERINGS,
    BaseFigures,
    at_equal_settings,
    conclude,
    orderings,
)
from leafe_gym.evals.study.report import share, write_report
from leafe_gym.evals.study.run import IN_ROUNDS
from leafe_gym.evals.study.scale import StudyScale

SCALE = StudyScale(grpo_runs=2, rounds=2, stage1_interactions=10)
LEVELS = 40


def cell(folder: Path, base: str, seed: int, name: str, chance: float) -> None:
    rng = np.random.default_rng([seed, len(name)])
    success = np.clip(chance + 0.02 * rng.standard_normal(LEVELS), 0, 1).tolist()
    found = {
        "costs": {"steps": 3},
        "success": success,
        "pool": [0, 2, 5 + seed],
        "recovery": [chance] * 3,
        "elsewhere": {"more walls": success[:5]},
        "seconds": 1.0,
    }
    path = folder / f"{base}-{seed}" / "cells" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def stage1(folder: Path, seed: int) -> None:
    def spent(solved: int) -> dict[str, object]:
        one = {"solved_at": [5] * solved + [None] * (LEVELS - solved), "used": [10] * LEVELS}
        return {"interactions": one, "tokens_total": one, "tokens_uncached": one}

    methods = {"is": spent(8), "ir-all": spent(10), "tree": spent(30), "tree-random-tau": spent(31)}
    path = folder / f"{NAMED}-{seed}" / "cells" / "stage1.json"
    path.write_text(json.dumps({"methods": methods, "seconds": 1.0}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for seed in range(3):
        for name, chance in (
            ("base", 0.1), ("leafe_paper", 0.6), ("reh", 0.3), ("rft", 0.3),
            ("leafe", 0.6), ("leafe_kl", 0.6), ("grpo", 0.2),
        ):  # fmt: skip
            cell(tmp_path, NAMED, seed, name, chance)
        cell(tmp_path, NAMED, seed, "grpo_1", 0.8)
        for number in (1, 2):
            for method in IN_ROUNDS:
                cell(tmp_path, NAMED, seed, f"{method}-round-{number}", 0.1 * number)
        stage1(tmp_path, seed)
    cell(tmp_path, NATURAL_NAME, 0, "base", 0.05)
    return tmp_path


def test_runs_of_grpo_are_averaged_within_their_seed(study: Path) -> None:
    found = BaseFigures(study, NAMED, SCALE)
    assert found.passed("grpo", 1).shape == (3, LEVELS)
    assert found.passed("grpo", 1).mean() == pytest.approx(0.5, abs=0.02)
    (study / f"{NAMED}-2" / "cells" / "grpo_1.json").unlink()
    assert not BaseFigures(study, NAMED, SCALE).has("grpo")


def test_the_pool_of_a_seed_has_its_own_levels(study: Path) -> None:
    found = BaseFigures(study, NAMED, SCALE).passed("reh", 1, "recovery")
    assert (~np.isnan(found)).sum(axis=1).tolist() == [3, 3, 3]
    assert np.flatnonzero(~np.isnan(found[2])).tolist() == [0, 2, 7]


def test_orderings_are_decided_corrected_and_missing(study: Path) -> None:
    found = orderings(BaseFigures(study, NAMED, SCALE), seeds=3)
    assert len(found) == len(ORDERINGS) == 12
    assert found["leafe_paper_gt_rft_pass128"]["verdict"] == "undecided", "both reach nearly 1"
    assert found["leafe_paper_gt_reh_pass1"]["verdict"] == "reproduced"
    assert found["leafe_kl_gt_leafe_pass1"]["verdict"] == "undecided"
    assert found["tree_gt_is_solved"]["verdict"] == "reproduced"
    assert found["tree_gt_tree_random_tau_solved"]["verdict"] == "undecided"
    assert found["reh_gt_reh_random_pass1"] == {"verdict": "missing"}


def test_nothing_is_decided_before_all_seeds_have_run(study: Path) -> None:
    found = orderings(BaseFigures(study, NAMED, SCALE))
    assert {one["verdict"] for one in found.values()} == {"incomplete", "missing"}
    assert found["leafe_paper_gt_reh_pass1"]["mean"] > 0


def test_a_missing_ordering_weakens_no_correction(study: Path) -> None:
    name = "leafe_paper_gt_reh_pass1"
    before = orderings(BaseFigures(study, NAMED, SCALE), seeds=3)[name]
    for seed in range(3):
        (study / f"{NAMED}-{seed}" / "cells" / "stage1.json").unlink()
    assert orderings(BaseFigures(study, NAMED, SCALE), seeds=3)[name] == before


def test_the_report_shows_what_is_there(study: Path) -> None:
    found = conclude(study, SCALE)
    assert found["seeds"] == {"blind": 3, "natural": 1, "rounds": 3}
    assert set(found["rounds"]) == set(IN_ROUNDS)
    assert "leafe_kl" in found["ledger"]
    text = write_report(found, study).read_text()
    assert f"| GRPO | {share(found['ledger']['grpo']['pass1'])} |" in text
    assert "not run yet" in text
    assert (study / "study-blind.png").stat().st_size > 5_000


def test_rounds_are_of_the_seeds_that_finished_all_of_them(study: Path) -> None:
    (study / f"{NAMED}-1" / "cells" / "grpo-round-2.json").unlink()
    (study / f"{NAMED}-2" / "cells" / "reh.json").unlink()  # one round of a seed that stays
    found = conclude(study, SCALE)
    assert found["seeds"]["rounds"] == 2
    assert "Rounds: 2 of 5 pretraining seeds have run." in found["deviations"]
    assert set(found["rounds"]["reh"]) == {"1", "2"}
    assert set(found["rounds"]["leafe"]) == {"1", "2", "once"}
    both = [
        json.loads((study / f"{NAMED}-{s}/cells/grpo-round-2.json").read_text()) for s in (0, 2)
    ]
    mean = np.mean([one["success"] for one in both])
    assert found["rounds"]["grpo"]["2"]["pass1"]["mean"] == pytest.approx(mean)
    for path in study.glob("*/cells/leafe-round-1.json"):
        path.unlink()
    assert conclude(study, SCALE)["rounds"] == {}


def test_the_curve_has_every_weight_that_is_finished(study: Path) -> None:
    assert set(conclude(study, SCALE)["curve"]) == {"1e-03"}
    assert "study-curve.png" not in write_report(conclude(study, SCALE), study).read_text()
    for seed in range(2):
        cell(study, blind_name(1e-5), seed, "base", 0.01)
        cell(study, blind_name(1e-5), seed, "reh", 0.3)
    cell(study, blind_name(1e-5), 0, "rft", 0.3)  # not on the other seed
    found = conclude(study, SCALE)
    assert list(found["curve"]) == ["1e-03", "1e-05"]
    assert set(found["curve"]["1e-05"]["arms"]) == {"base", "reh"}
    text = write_report(found, study).read_text()
    assert "| | 1e-03 | 1e-05 |" in text
    assert "| pretraining seeds | 3 | 2 |" in text
    drawn = json.loads((study / "study-curve.json").read_text())
    points = drawn["rehearsal (L_reh)"]["Pass@128"]
    assert [one["x"] for one in points] == [1e-3, 1e-5]
    assert [one["x"] for one in drawn["rejection-sampling SFT"]["Pass@1"]] == [1e-3]


def test_an_empty_folder_concludes_nothing(tmp_path: Path) -> None:
    found = conclude(tmp_path, SCALE)
    assert found["ledger"] == found["curve"] == found["rounds"] == {}
    assert {one["verdict"] for one in found["orderings"].values()} == {"missing"}
    assert "not run yet" in write_report(found, tmp_path).read_text()


def test_grpo_is_on_the_curve_with_the_runs_that_there_are(study: Path) -> None:
    for seed in range(2):
        cell(study, blind_name(1e-5), seed, "grpo", 0.3)
    found = conclude(study, SCALE)
    assert found["curve"]["1e-05"]["arms"]["grpo"]["pass1"]["mean"] == pytest.approx(0.3, abs=0.02)
    assert [one["grpo_runs"] for one in found["curve"].values()] == [2, 1]
    assert any(one.startswith("GRPO at the weight 1e-05: 1 ") for one in found["deviations"])
    for seed in range(2):
        cell(study, blind_name(1e-5), seed, "grpo_1", 0.5)
    found = conclude(study, SCALE)
    assert found["curve"]["1e-05"]["arms"]["grpo"]["pass1"]["mean"] == pytest.approx(0.4, abs=0.02)
    assert not any(one.startswith("GRPO at the weight") for one in found["deviations"])


def test_an_arm_that_is_not_finished_is_named(study: Path) -> None:
    assert "Not finished" not in write_report(conclude(study, SCALE), study).read_text()
    (study / f"{NAMED}-2" / "cells" / "grpo_1.json").unlink()
    (study / f"{NAMED}-1" / "cells" / "rft.json").unlink()
    found = conclude(study, SCALE)
    assert found["unfinished"]["blind"] == ["rft", "grpo"]
    assert (
        "not in the tables: rejection-sampling SFT; GRPO." in write_report(found, study).read_text()
    )


def test_the_budget_in_tokens_is_finite_and_stated(study: Path) -> None:
    found = BaseFigures(study, NAMED, SCALE)
    assert found.stage1()["tree"]["tokens_total"]["budget"] == 10
    for seed in range(3):
        path = study / f"{NAMED}-{seed}" / "cells" / "stage1.json"
        cells = json.loads(path.read_text())
        for one in cells["methods"].values():
            one["tokens_total"] = {"solved_at": [7] * LEVELS, "used": [7] * LEVELS}
        path.write_text(json.dumps(cells))
    solved = BaseFigures(study, NAMED, SCALE).stage1()
    assert solved["tree"]["tokens_total"]["budget"] == 7
    assert solved["is"]["tokens_total"]["mean"] == 1
    text = write_report(conclude(study, SCALE), study).read_text()
    assert "| | 10 interactions | 7 tokens total | 10 tokens uncached |" in text


def test_deviations_are_in_the_report(study: Path) -> None:
    found = conclude(study, SCALE)
    assert any(
        one.startswith(f"{LEVELS} test layouts instead of 300") for one in found["deviations"]
    )
    assert "Tokens sampled were not counted for: reh" not in found["deviations"]
    text = write_report(found, study).read_text()
    assert text.index("Three times the interactions") < text.index("## The blind base")


def test_cells_of_two_scales_are_refused(study: Path) -> None:
    path = study / f"{NAMED}-1" / "cells" / "rft.json"
    one = json.loads(path.read_text())
    path.write_text(json.dumps(one | {"success": [*one["success"], 0.5]}))
    with pytest.raises(ConfigMismatch, match="cells of 40 and of 41 test levels"):
        conclude(study, SCALE)


@pytest.mark.parametrize(
    ("costs", "charged"),
    [
        ({"steps": 3, "interactions": 5}, {"steps": 3, "interactions": 5}),
        (
            {
                "grpo_steps": 2,
                "grpo_interactions": 4,
                "steps": 3,
                "interactions": 5,
                "rehearsal": 1,
            },
            {"steps": 5, "interactions": 9, "rehearsal": 1},
        ),
        (
            {"grpo_interactions": 4, "interactions": 5, "tokens_read": 9, "tokens_sampled": 8},
            {"interactions": 9},
        ),
        ({"grpo_tokens_read": 4, "tokens_read": 9}, {"tokens_read": 13}),
    ],
)
def test_a_model_that_began_from_another_is_charged_for_both(
    study: Path, costs: dict[str, int], charged: dict[str, int]
) -> None:
    for seed in range(3):
        cell(study, NAMED, seed, FROM_GRPO, 0.5)
        path = study / f"{NAMED}-{seed}" / "cells" / f"{FROM_GRPO}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"costs": costs}))
    assert BaseFigures(study, NAMED, SCALE).ledger()[FROM_GRPO]["costs"] == charged


def test_tables_of_the_sweep(study: Path) -> None:
    def trial(solved: float | None) -> dict[str, object]:
        setting = {"lr": 1e-3, "weight": "gain"}
        costs = {} if solved is None else {"solved": solved}
        return {"setting": setting, "costs": costs, "pass1": 0.1, "pass128": 0.2}

    table = {
        "early": {"chosen": 0, "trials": [trial(None), trial(None)]},
        "kl_unverified": {"chosen": 1, "trials": [trial(0.3), trial(0.4)]},
    }
    (study / "settings.json").write_text(json.dumps({"methods": table}))
    text = write_report(conclude(study, SCALE), study).read_text()
    assert "| lr | Pass@1 | Pass@128 |\n| --- | --- | --- |\n| **0.001** | **10.0**" in text
    assert "| lr | training levels solved, % | Pass@1 | Pass@128 |" in text, "no weight"
    assert "| **0.001** | **40** | **10.0** | **20.0** |" in text


def test_orderings_at_equal_settings() -> None:
    def side(steps: int, *pass128: float) -> dict[str, object]:
        trials = [{"setting": {"steps": steps}, "pass1": 0.5, "pass128": one} for one in pass128]
        return {"chosen": 0, "trials": trials}

    table = {
        "leafe_kl": side(250, 0.9, 0.8), "kl_everywhere": side(500, 0.8, 0.9),
        "leafe_paper": side(100, 0.7), "grpo": side(1, 0.5), "rft": side(100, 0.6),
    }  # fmt: skip
    found = at_equal_settings(table)
    assert set(found) == {"leafe_kl_gt_kl_everywhere_pass128", "leafe_paper_gt_rft_pass128"}
    one = found["leafe_kl_gt_kl_everywhere_pass128"]
    assert (one["steps"], one["trials"]) == ([250, 500], 2)
    assert one["mean"] == pytest.approx(0)
    assert found["leafe_paper_gt_rft_pass128"]["mean"] == pytest.approx(0.1)
    assert at_equal_settings({}) == {}
