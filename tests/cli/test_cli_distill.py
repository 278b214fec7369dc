"""`leafe distill`: every format, the same command again, and bad input."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import leafe_gym as lg
from leafe_gym.cli import main


def here(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["leafe", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill") / "run"
    agent = lg.ReflectiveTreeAgent(lg.policy("scripted"))
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=2, max_steps=40)[:4]
    lg.explore(agent, tasks, budget=lg.Budget(interactions=200), out=folder).close()
    return folder


def test_jsonl_and_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["distill", run, "--out", tmp_path / "d", "--recipe", "paper", "--format", "jsonl"]
    assert here(monkeypatch, *command, "--json", "-") == 0
    told = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "d" / "rows.jsonl").read_text().splitlines()
    counts = told["manifest"]["counts"]
    assert told["rows_written"] == len(lines) == counts["counterfactual"] + counts["rehearsal"]
    assert told["manifest"]["config"]["keep"] == "all"
    stamp = (tmp_path / "d" / "rows.jsonl").stat().st_mtime_ns
    assert here(monkeypatch, *command) == 0
    assert "rows written" in capsys.readouterr().out
    assert (tmp_path / "d" / "rows.jsonl").stat().st_mtime_ns == stamp
    assert here(monkeypatch, *command, "--seed", "1") == 2
    assert "another run or other settings" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("format_", "file", "module"),
    [
        ("trl", "dataset_info.json", "datasets"),
        ("preference", "dataset_info.json", "datasets"),
        ("sdft", "dataset_info.json", "datasets"),
        ("hub", "data/preference/train.parquet", "datasets"),
        ("verl", "rows.parquet", "pyarrow"),
        ("shards", "manifest.json", "transformers"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_formats(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, file: str, module: str
) -> None:
    more = ["--tokenizer", "bytes", "--max-length", "4000"] if format_ == "shards" else []
    out = tmp_path / "d"
    code = here(
        monkeypatch, "distill", run, "--out", out, "--keep", "all", "--format", format_, *more
    )
    if importlib.util.find_spec(module) is None:
        assert code == 2
        return
    assert code == 0
    assert (out / file).is_file()
    assert (out / "distill.json").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recipe", "best"], "'--recipe'"),
        (["--format", "csv"], "'--format'"),
        (["--keep", "best"], "--keep best: expected one of successful, improved, all"),
        (["--per-task", "-1"], "--per-task -1: expected a whole number, 0 or more, or none"),
        (["--prompts", "nothing"], "no prompt set is called 'nothing'"),
        (["--format", "shards"], "needs --tokenizer PATH"),
        (["--format", "jsonl", "--tokenizer", "x"], "is for --format shards"),
        (["--format", "jsonl", "--max-length", "9"], "is for --format shards"),
        (["--format", "jsonl", "--split", "val"], "no tree is of the splits val"),
    ],
)
def test_bad_input(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    assert here(monkeypatch, "distill", run, "--out", tmp_path / "d", *more) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_folders_that_hold_something_else(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").touch()
    for folder, said in ((run, "holds something else"), (tmp_path, "no run here")):
        command = ["distill", folder, "--out", tmp_path, "--format", "jsonl"]
        assert here(monkeypatch, *command) == 2
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
