"""Names of weights on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leafe_gym.cli.app import build
from leafe_gym.errors import UsageError
from leafe_gym.policies.naming import find_model, find_weights


@pytest.mark.parametrize("name", ["./nope", "nope", "tinyy", "/no/where", "../x/y", "x" * 5000])
@pytest.mark.parametrize("verb", ["train", "distill", "rounds", "served rounds"])
def test_weights_that_are_nowhere_are_not_looked_for_on_the_hub(
    verb: str, name: str, tmp_path: Path
) -> None:
    arguments = {
        "train": ["train", tmp_path, "--model", name, "--out", tmp_path / "o"],
        "distill": ["distill", tmp_path, "--format", "shards", "--tokenizer", name,
                    "--out", tmp_path / "o"],
        "rounds": ["rounds", 1, "leafe/Sokoban-v0", "--model", name, "--out", tmp_path / "o"],
        "served rounds": ["rounds", 1, "leafe/Sokoban-v0", "--model", "m", "--weights", name,
                          "--lora", "--base-url", "http://127.0.0.1:9/v1", "--out", tmp_path / "o"],
    }[verb]  # fmt: skip
    done = CliRunner().invoke(build((verb.split()[-1], "view")), [str(one) for one in arguments])
    assert done.exit_code == 2, done.output
    assert "there are no weights" in done.output


def folder_of(path: Path, name: str = "config.json", **about: str) -> Path:
    """The folder of a model or adapter, without weights."""
    path.mkdir(parents=True)
    (path / name).write_text(json.dumps({"model_type": "llama", **about}))
    return path


def test_the_folder_of_a_training_stands_for_its_result(tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base")
    model = folder_of(tmp_path / "whole" / "model")
    adapter = folder_of(
        tmp_path / "lora" / "model", "adapter_config.json", base_model_name_or_path=str(base)
    )
    assert find_weights(str(model.parent)) == find_weights(str(model)) == str(model)
    assert find_weights(str(adapter.parent)) == str(adapter)
    on = {"model": str(base), "adapter": str(adapter)}
    assert find_model(str(model.parent), {})[1] == {"model": str(model)}
    assert find_model(str(adapter.parent), {})[1] == on
    for given in (adapter, adapter.parent):
        assert find_model(str(base), {"adapter": given})[1] == on
        served = find_model("m", {"base_url": "http://a/v1", "adapter": str(given)})[1]
        assert served["adapter"] == str(adapter)
    for elsewhere in ("/srv/adapter", str(tmp_path / "absent"), str(base)):
        served = find_model("m", {"base_url": "http://a/v1", "adapter": elsewhere})[1]
        assert served["adapter"] == elsewhere


def test_a_base_that_was_merged_for_an_adapter_moves_with_it(tmp_path: Path) -> None:
    whole = folder_of(tmp_path / "a" / "base")
    (whole / "merged_from.json").write_text("{}")
    folder_of(tmp_path / "a" / "model", "adapter_config.json", base_model_name_or_path=str(whole))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert find_model(str(tmp_path / "copy"), {})[1]["model"] == str(whole)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert find_model(str(tmp_path / "b"), {})[1]["model"] == str(tmp_path / "b" / "base")
    (tmp_path / "b" / "base" / "merged_from.json").unlink()  # any other folder of that name
    with pytest.raises(UsageError, match="is not there"):
        find_model(str(tmp_path / "b"), {})
