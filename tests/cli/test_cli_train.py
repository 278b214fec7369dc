"""`leafe train`, from trees to a trained model."""

from __future__ import annotations

import json

import pytest
from commands import leafe

pytest.importorskip("torch", reason="torch absent: pip install 'leafe-gym[train]'")
pytest.importorskip("transformers", reason="transformers absent: pip install 'leafe-gym[train]'")


def test_trees_become_a_model(tmp_path):
    from transformers import Qwen2Config

    small = ["-s", "size=6", "-s", "boxes=1", "-s", "max_steps=6"]
    explore = ["explore", "leafe/Sokoban-v0", "-n", 3, "--interactions", 60, *small]
    assert leafe(*explore, "--out", tmp_path / "run").returncode == 0
    shards = ["--format", "shards", "--tokenizer", "bytes", "--recipe", "paper"]
    done = leafe("distill", tmp_path / "run", *shards, "--out", tmp_path / "rows")
    assert done.returncode == 0, done.stderr
    Qwen2Config(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
    ).save_pretrained(tmp_path / "config")  # fmt: skip
    command = [
        "train", tmp_path / "rows", "--model", tmp_path / "config", "--out", tmp_path / "out",
        "--packing", "tree", "--batch", 16, "--epochs", 1, "--lr", "1e-3", "--json", "-",
    ]  # fmt: skip
    done = leafe(*command)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["steps"] >= 1
    assert figures["loss"] == pytest.approx(figures["loss_cf"] + figures["loss_reh"], rel=1e-5)
    assert '"tokenizer"' in (tmp_path / "out" / "model" / "README.md").read_text()
    again = leafe(*command)
    assert json.loads(again.stdout)["loss"] == figures["loss"]
    other = leafe(*command[:-2], "--beta", 2)
    assert other.returncode == 2
    assert "beta (1.0 there, 2.0 here)" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--packing", "bfd"], "--packing bfd: expected one of tree, none"),
        (["--lr", "nan"], "--lr nan: expected a finite number, 0 or more"),
        (["--recipe", "best"], "'--recipe'"),
        ([], "leafe distill RUN --format shards"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    done = leafe("train", tmp_path, "--model", "tiny", "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
