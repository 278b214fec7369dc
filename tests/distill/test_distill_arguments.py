"""Public functions of distill refuse a wrong value with an error that names it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_toys import toy_rows
from row_toys import toy_run, toy_tree

from leafe_gym import distill
from leafe_gym.distill.training.job import model_identity
from leafe_gym.errors import LeafeError, UsageError

BAD: list[Any] = [None, 0, 1.5, object(), b"x", {"a": 1}, [1], "", "a\0b", float("nan")]


@pytest.mark.parametrize("bad", BAD)
def test_rows_and_shards(bad: Any, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", [toy_tree()])
    for call in (
        lambda: distill.rows(bad),
        lambda: distill.rows(run, bad),
        lambda: distill.ShardSet(bad),
        lambda: distill.rows(run).to_jsonl(bad),
    ):
        with pytest.raises(UsageError):
            call()


@pytest.mark.parametrize("bad", [*BAD, "no such folder"])
@pytest.mark.parametrize("name", ["data", "model", "out", "config", "progress"])
def test_train(name: str, bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch absent")
    monkeypatch.chdir(tmp_path)
    given = {"data": toy_rows(4), "model": tmp_path / "m", "out": tmp_path / "out", name: bad}
    with pytest.raises(LeafeError):
        distill.train(given.pop("data"), **given)


@pytest.mark.parametrize("bad", BAD)
def test_every_field_of_a_configuration_is_checked(bad: Any) -> None:
    for config in (distill.RowConfig, distill.TrainConfig):
        for field in config.model_fields:
            try:
                config(**{field: bad})
            except UsageError as error:
                assert field in str(error)  # noqa: PT017 - some values are right for some fields


@pytest.mark.parametrize("field", ["weight", "gain"])
@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_weights_of_rows_are_finite(field: str, bad: float, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch absent")
    rows = toy_rows(4)
    changed: dict[str, Any] = {field: bad}
    rows[2] = dataclasses.replace(rows[2], **changed)
    with pytest.raises(UsageError, match=f"row 2 has the {field} "):
        distill.train(rows, model=tmp_path / "m", out=tmp_path / "out")


@pytest.mark.parametrize("change", ["moved", "weights", "settings", "name"])
def test_a_training_knows_its_model_by_what_it_is(change: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors absent")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = {"w": np.arange(6.0)}
    safetensors.save_file(weights, model / "model.safetensors")
    before = model_identity(model)
    if change == "moved":
        assert model_identity(str(model.rename(tmp_path / "other"))) == before
        return
    if change == "weights":
        safetensors.save_file({"w": np.arange(6.0) + 1}, model / "model.safetensors")
    elif change == "settings":
        (model / "config.json").write_text('{"a": 1}')
    assert model_identity("owner/name" if change == "name" else model) != before
    assert model_identity("owner/name") == "owner/name"
