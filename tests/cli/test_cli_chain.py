"""explore, distill, train, eval: from a model to its trained successor, by commands only."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leafe_gym.cli.app import build
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.policy import SHIPPED
from leafe_gym.tiny.words import World

BASE = str(SHIPPED / "blind")
ROOMS = [
    part for key, value in World().levels.items() for part in ("-s", f"{key}={json.dumps(value)}")
]
APP = build(("explore", "distill", "train", "eval"))
needs_training = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("accelerate", "peft")),
    reason="not installed: accelerate, peft; pip install 'leafe-gym[train]'",
)


def leafe(*arguments: object) -> str:
    done = CliRunner().invoke(APP, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@needs_training
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's own
@pytest.mark.parametrize("lora", [True, False])
def test_what_train_writes_can_be_evaluated(
    lora: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = ["leafe/Sokoban-v0", *ROOMS]
    leafe("explore", *world, "-n", 3, "--model", BASE, "--interactions", 80, "--out", "run")
    leafe("distill", "run", "--format", "shards", "--tokenizer", BASE, "--out", "rows")
    rate = ["--lora", "--lr", 0.01] if lora else ["--lr", 0.001]
    leafe("train", "rows", "--model", BASE, "--out", "trained", "--epochs", 1, *rate)
    names = []
    for model in (BASE, "trained", "trained/model"):
        out = f"eval-{len(names)}"
        leafe("eval", *world, "-n", 2, "--samples", 2, "--k", 1, "--model", model, "--out", out)
        with RunReader(Path(out) / "rollouts") as run:
            names.append(run.config["agent"]["policy"])
    assert names[1] == names[2] != names[0], "trained weights, whichever folder is named"
    assert all(name.startswith("tiny:") for name in names)
