"""`leafe eval` and `leafe reproduce` as a user runs them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from commands import leafe
from typer.testing import CliRunner

from leafe_gym.cli.app import build
from leafe_gym.errors import ContextFull
from leafe_gym.registry import REGISTRIES


def test_eval_table_json_picture_and_resume(tmp_path: Path) -> None:
    command = [
        "eval", "leafe/Sokoban-v0", "-n", "4", "--samples", "8",
        "-s", "size=6", "-s", "boxes=1", "--out", str(tmp_path), "--json", str(tmp_path / "f.json"),
    ]  # fmt: skip
    first = leafe(*command)
    assert first.returncode == 0, first.stderr
    assert "Pass@k, 8 rollouts a task" in first.stdout
    figures = json.loads((tmp_path / "f.json").read_text())
    assert list(figures["pass"]) == ["1", "4"], "of the default's k, those that 8 rollouts allow"
    assert figures["samples"] == [8] * 4
    wins = figures["wins"]
    assert figures["pass"]["1"]["mean"] == pytest.approx(sum(wins) / 32)
    # At least one of 4 of the 8 rollouts wins: 1 - C(8 - wins, 4) / C(8, 4).
    at_4 = [1 - math.comb(8 - won, 4) / math.comb(8, 4) for won in wins]
    assert figures["pass"]["4"]["mean"] == pytest.approx(sum(at_4) / 4)
    assert 0 < sum(wins) < 32
    assert (tmp_path / "pass.png").read_bytes().startswith(b"\x89PNG")
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


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ("0", "expected numbers >= 1"),
        ("x", "expected whole numbers"),
        ("", "expected whole numbers"),
        ("9", "Pass@9 needs as many rollouts a task; give --samples 9 (now 8)"),
        ("1,8,16", "Pass@16 needs as many rollouts a task"),
        ("128", "Pass@128 needs as many rollouts a task"),
    ],
)
def test_eval_refuses_a_k_that_it_cannot_show(k: str, said: str, tmp_path: Path) -> None:
    command = ["eval", "leafe/Sokoban-v0", "--k", k, "--samples", "8", "--out", str(tmp_path)]
    done = CliRunner().invoke(build(("eval", "check")), command)
    shown = " ".join(done.output.split())
    assert done.exit_code == 2
    assert shown.startswith(f"leafe: --k {k}:")
    assert said in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("turns", "lost"), [(0, 4), (2, 4), (99, 0)])
def test_eval_says_how_many_rollouts_filled_the_window(
    turns: int, lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(messages: Any, sampling: Any) -> str:
        if len(messages) > 2 * turns:
            raise ContextFull("no room")
        return "Action: up"

    monkeypatch.setitem(REGISTRIES["policy"]._own, "narrow", act)
    command = [
        "eval", "leafe/Sokoban-v0", "--model", "narrow", "-n", "2", "--samples", "2", "--k", "1",
        "-s", "max_steps=4", "--out", str(tmp_path), "--json", str(tmp_path / "f.json"),
    ]  # fmt: skip
    done = CliRunner().invoke(build(("eval", "check")), command)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (figures["context"], figures["samples"], figures["wins"]) == (lost, [2, 2], [0, 0])
    shown = " ".join(done.output.split())
    assert ("4 of 4 rollouts filled the model's context window" in shown) == bool(lost)


def test_eval_writes_results_beside_the_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch absent: pip install 'leafe-gym[train]'")
    transformers = pytest.importorskip("transformers")
    import yaml

    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

    torch.manual_seed(0)
    made = transformers.Qwen2Config(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
    )  # fmt: skip
    transformers.Qwen2ForCausalLM(made).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(str(tmp_path / "model"))
    command = [
        "eval", "leafe/Sokoban-v0", "-n", "2", "--samples", "2", "--k", "1,2", "-s", "size=6",
        "-s", "boxes=1", "-s", "max_steps=3", "--max-tokens", "2", "--out", str(tmp_path / "out"),
        "--model", str(tmp_path / "model"), "--eval-results",
    ]  # fmt: skip
    done = leafe(*command, "me/bench")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "model" / ".eval_results" / "leafe-sokoban-v0_test.yaml"
    found = yaml.safe_load(path.read_text())
    assert [(one["dataset"]["task_id"], one["value"]) for one in found] == [
        ("test_pass_at_1", 0.0),
        ("test_pass_at_2", 0.0),
    ]
    assert "2 tasks, 2 rollouts each, seed 0" in found[0]["notes"]
    assert '"boxes": 1' in found[0]["notes"]
    for more, said in (("bench", "OWNER/NAME"), ("me/bench", "--eval-results")):
        refused = leafe("eval", "leafe/Sokoban-v0", "--out", "x", "--eval-results", more)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_eval_says_why_nothing_could_be_rolled_out(tmp_path: Path) -> None:
    command = ["eval", "leafe/Sokoban-v0", "-n", "1", "--samples", "2", "--model", "tiny"]
    done = leafe(*command, "--out", str(tmp_path))
    assert done.returncode == 2
    assert "4x4" in done.stderr, "the model's own words: it knows rooms of 4x4 cells"


@pytest.mark.parametrize("other", ["--full", "--multiturn"])
def test_reproduce_refuses_what_cannot_be_combined(tmp_path: Path, other: str) -> None:
    done = leafe("reproduce", "--large", other, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "--large cannot be combined" in done.stderr
    assert not (tmp_path / "out").exists()
