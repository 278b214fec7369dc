"""Public functions of distill refuse a wrong value with an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distill_toys import toy_rows
from row_toys import toy_run, toy_tree

from leafe_gym import distill
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
