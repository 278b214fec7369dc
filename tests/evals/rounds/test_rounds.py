"""Rounds with the small model: they resume, grow, mix their rows and stop with a reason."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import leafe_gym as lg
from leafe_gym.cli.app import build
from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.distill.training.mixed_rows import mixed_rows
from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.evals.rounds.config import RoundsConfig
from leafe_gym.evals.rounds.loop import RoundStages, run_rounds
from leafe_gym.tiny.policy import SHIPPED
from leafe_gym.tiny.words import SMALL

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None,
    reason="not installed: accelerate; pip install 'leafe-gym[train]'",
)
BASE = str(SHIPPED / "blind")
CONFIG = RoundsConfig(samples=4, recovery=False)


def levels(split: str, count: int) -> list[lg.Task]:
    return list(lg.tasks("leafe/Sokoban-v0", split, **SMALL.levels)[:count])


def stages(**changed: Any) -> RoundStages:
    values: dict[str, Any] = {
        "budget": lg.Budget(interactions=80),
        "rows": RowConfig(rehearsal=1.0),
        "train": TrainConfig(lr=5e-4, batch=16, epochs=1),
        "evaluate": lg.EvalConfig(max_tokens=4),
    }
    return RoundStages(**{**values, **changed})


def rounds(out: Path, count: int, config: RoundsConfig = CONFIG, **changed: Any) -> Any:
    return run_rounds(
        BASE, levels("train", 4), levels("val", 3), count=count, stages=stages(**changed),
        out=out, config=config,
    )  # fmt: skip


def test_rounds_resume_and_grow(tmp_path: Path) -> None:
    one = rounds(tmp_path / "r", 1)
    assert [health.round for health in one.healths] == [0, 1]
    trained = (tmp_path / "r/round-1/training/metrics.jsonl").stat().st_mtime_ns
    two = rounds(tmp_path / "r", 2)
    assert (tmp_path / "r/round-1/training/metrics.jsonl").stat().st_mtime_ns == trained
    assert two.healths[:2] == one.healths
    assert two.rows[1] >= two.rows[0], "rows of both runs"
    assert len({health.model for health in two.healths}) == 3
    assert two.no_recovery == "not asked for"
    assert json.loads((tmp_path / "r/rounds.json").read_text()) == two.as_dict()
    alone = mixed_rows([tmp_path / "r/round-2/run"], RowConfig(rehearsal=1.0), BASE)
    assert len(alone) < two.rows[1]
    for changed in (
        {"train": TrainConfig(lr=1e-3, batch=16, epochs=1)},
        {"budget": lg.Budget(interactions=90)},
        {"rows": RowConfig(rehearsal=0.5)},
    ):
        with pytest.raises(ConfigMismatch):
            rounds(tmp_path / "r", 2, **changed)
        assert json.loads((tmp_path / "r/rounds.json").read_text()) == two.as_dict()
    (tmp_path / "r").rename(tmp_path / "moved")
    again = rounds(tmp_path / "moved", 2)
    assert not again.stopped
    assert [one.pass_k for one in again.healths] == [one.pass_k for one in two.healths]
    lines = (tmp_path / "moved/round-1/training/metrics.jsonl").stat().st_mtime_ns
    assert lines == trained, "nothing is trained again"


def test_a_training_that_ruins_the_model_stops_the_rounds(tmp_path: Path) -> None:
    config = CONFIG.replace(drop=0.0, narrowing=1.0)
    report = rounds(tmp_path / "r", 3, config, train=TrainConfig(lr=1.0, batch=4, epochs=3))
    assert len(report.healths) < 4
    assert "round" in report.stopped
    assert report.stopped.startswith("round 1 looks like a collapse")
    assert report.best.round == 0


def test_rounds_without_rows_stop_with_the_reason(tmp_path: Path) -> None:
    report = rounds(
        tmp_path / "r", 2, budget=lg.Budget(model_calls=1), rows=RowConfig(rehearsal=0.0)
    )
    assert report.stopped.startswith("round 1: ")
    assert "no rows" in report.stopped
    assert [health.round for health in report.healths] == [0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": TrainConfig(objective="kl")}, "no prompt with an experience"),
        ({"train": TrainConfig(report_to=("nobody",))}, "nobody"),
        ({"train": TrainConfig(packing="tree", pack_length=2)}, "pack_length"),
    ],
)
def test_a_training_that_cannot_be_done_is_an_error(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    """Not the end of the rounds: the same call would report them as finished."""
    with pytest.raises(UsageError, match=message):
        rounds(tmp_path / "r", 1, CONFIG.replace(samples=1), **changed)


def test_the_same_row_of_two_runs_is_trained_on_once(tmp_path: Path) -> None:
    rounds(tmp_path / "r", 1)
    run = tmp_path / "r/round-1/run"
    config = RowConfig(rehearsal=1.0)
    assert list(mixed_rows([run, run], config, BASE)) == list(mixed_rows([run], config, BASE))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 0}, "count"),
        ({"tasks": []}, "need tasks"),
        ({"validation": []}, "need tasks"),
        ({"validation": levels("train", 1)}, "is explored and validated on"),
    ],
)
def test_wrong_arguments(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "tasks": levels("train", 1), "validation": levels("val", 1), "count": 1,
        "stages": stages(), "out": tmp_path / "r",
    }  # fmt: skip
    with pytest.raises(UsageError, match=message):
        run_rounds(BASE, **{**given, **changed})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "scripted"], "--model"),
        (["--model", "m", "--base-url", "http://localhost:1/v1"], "--weights"),
        (["--model", "m", "--base-url", "http://localhost:1/v1", "--weights", BASE], "--lora"),
        (["--model", BASE, "--weights", BASE], "--base-url"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(options: list[str], message: str) -> None:
    done = CliRunner().invoke(
        build(("rounds", "train")), ["rounds", "1", "leafe/Sokoban-v0", "--out", "x", *options]
    )
    assert done.exit_code == 2, done.output
    assert message in done.output
