"""`leafe eval` and `leafe reproduce` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def leafe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leafe_gym.cli", *arguments],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_eval_table_json_picture_and_resume(tmp_path: Path) -> None:
    command = [
        "eval", "leafe/Sokoban-v0", "-n", "4", "--samples", "8", "--k", "1,4,128",
        "-s", "size=6", "-s", "boxes=1", "--out", str(tmp_path), "--json", str(tmp_path / "f.json"),
    ]  # fmt: skip
    first = leafe(*command)
    assert first.returncode == 0, first.stderr
    assert "Pass@k, 8 rollouts a task" in first.stdout
    figures = json.loads((tmp_path / "f.json").read_text())
    assert list(figures["pass"]) == ["1", "4"], "k beyond the samples is not asked for"
    assert figures["samples"] == [8] * 4
    assert (tmp_path / "pass.png").stat().st_size > 5_000
    again = leafe(*command)
    assert again.returncode == 0
    assert json.loads((tmp_path / "f.json").read_text())["wins"] == figures["wins"]


def test_eval_with_recovery(tmp_path: Path) -> None:
    command = [
        "eval", "leafe/Sokoban-v0", "-n", "4", "--samples", "8", "--k", "1,8", "-s", "size=6",
        "-s", "boxes=1", "-s", "max_steps=12", "-s", "solution=[5,9]", "-s", "inner_walls=[0,3]",
        "--model", "tiny", "--recover-from", "tiny",
        "--out", str(tmp_path), "--json", str(tmp_path / "f.json"),
    ]  # fmt: skip
    done = leafe(*command)
    assert done.returncode == 0, done.stderr
    assert "recovery@k" in done.stdout
    recovery = json.loads((tmp_path / "f.json").read_text())["recovery"]
    pool = json.loads((tmp_path / "pool.json").read_text())
    assert recovery["tasks"] == [one["task"]["id"] for one in pool["mistakes"]]
    assert recovery["samples"] == [8] * len(pool["mistakes"])


def test_eval_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    for k in ("0", "x", ""):
        done = leafe("eval", "leafe/Sokoban-v0", "--k", k, "--out", str(tmp_path))
        assert done.returncode == 2
        assert "--k" in done.stderr
        assert "Traceback" not in done.stderr
    done = leafe("eval", "leafe/Sokoban-v0", "--k", "9", "--samples", "8", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "--k 9: none is at most --samples 8" in done.stderr


def test_eval_says_why_nothing_could_be_rolled_out(tmp_path: Path) -> None:
    command = ["eval", "leafe/Sokoban-v0", "-n", "1", "--samples", "2", "--model", "tiny"]
    done = leafe(*command, "--out", str(tmp_path))
    assert done.returncode == 2
    assert "4x4" in done.stderr, "the model's own words: it knows rooms of 4x4 cells"


def test_reproduce_says_what_it_does() -> None:
    done = leafe("reproduce", "--help")
    assert done.returncode == 0
    assert "--full" in done.stdout
