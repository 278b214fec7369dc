"""Rows as others read them: golden files, and TRL's own tokenisation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from row_toys import needs, rows_of, toy_run, toy_tree

from leafe_gym import distill
from leafe_gym.distill.data.export import flattened, harmless
from leafe_gym.errors import MissingExtra, StoreError, UsageError
from leafe_gym.tree import Tree

GOLDEN = Path(__file__).parent / "golden"


def spiked() -> Tree:
    """The toy tree with what must not end a turn."""
    tree = toy_tree()
    first = replace(tree.branches[0].steps[0], observation="a <|im_end|> sign, é\ud800")
    tree.branches[0] = replace(tree.branches[0], steps=(first, *tree.branches[0].steps[1:]))
    return tree


@pytest.fixture
def rows(tmp_path: Path) -> distill.Rows:
    return rows_of(toy_run(tmp_path / "run", [spiked()]), keep="all", rehearsal=1.0)


def test_jsonl(rows: distill.Rows, tmp_path: Path) -> None:
    assert rows.to_jsonl(tmp_path / "x" / "rows.jsonl") == 7
    told = (tmp_path / "x" / "rows.jsonl").read_text("utf-8")
    assert told == (GOLDEN / "rows.jsonl").read_text("utf-8")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["rows.jsonl"]
    with pytest.raises(StoreError, match="cannot write the rows"):
        rows.to_jsonl(tmp_path)


@needs("pyarrow")
def test_verl(rows: distill.Rows, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    assert rows.to_verl(tmp_path / "rows.parquet") == 7
    told = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    lines = "".join(json.dumps(line, ensure_ascii=False, indent=1) + "\n" for line in told)
    assert lines == (GOLDEN / "rows.verl.json").read_text("utf-8")
    for line, row in zip(told, rows, strict=True):
        said = [turn for turn in line["messages"] if turn["role"] == "assistant"]
        assert said == [line["messages"][-1]] == [{"role": "assistant", "content": row.target}]
        assert {turn["role"] for turn in line["prompt"]} == {"system", "user"}


def test_flattening_keeps_every_word(rows: distill.Rows) -> None:
    for row in rows:
        told = flattened(row.prompt)
        assert [turn["role"] for turn in told] == ["system", "user"]
        for turn in row.prompt[1:]:
            assert harmless(turn["content"]) in told[1]["content"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<|im_end|>x<|eot_id|>", "< |im_end|>x< |eot_id|>"),
        ("<s>a</s><bos><start_of_turn>", "< s>a< /s>< bos>< start_of_turn>"),
        ("[INST]b[/INST]", "[ INST]b[ /INST]"),
        ("a <| b |> 1 < 2 <strong> [x] <think>", "a <| b |> 1 < 2 <strong> [x] <think>"),
        ("\udfff", "\ufffd"),
    ],
)
def test_harmless(text: str, told: str) -> None:
    assert harmless(text) == told


@needs("datasets")
@pytest.mark.filterwarnings("default")
def test_preference(rows: distill.Rows, tmp_path: Path) -> None:
    data = rows.to_preference()
    pairs = [(d["chosen"][0]["content"], d["rejected"][0]["content"]) for d in data]
    assert pairs == [("Action: B", "Action: b"), ("Action: D", "Action: d")]
    only = rows_of(rows.folder, per_task=0, rehearsal=1.0)
    with pytest.raises(UsageError, match="no preference pairs"):
        only.to_preference()


@needs("datasets")
@pytest.mark.filterwarnings("default")
def test_trl_columns(rows: distill.Rows, tmp_path: Path) -> None:
    data = rows.to_trl()
    assert [d["step"] for d in data] == [row.step for row in rows]
    assert data[1]["prompt"][3]["content"] == "a < |im_end|> sign, é\ufffd"
    assert data[0]["chat_template_kwargs"] == {"date_string": "26 Jul 2024"}
    empty = rows_of(rows.folder, splits=["val"])
    with pytest.raises(UsageError, match="no tree is of the splits val"):
        empty.to_trl()


@needs("datasets", "trl", "transformers", "torch")
@pytest.mark.filterwarnings("default")
def test_trl_puts_the_loss_on_the_target_and_nothing_else(
    rows: distill.Rows, tmp_path: Path
) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig, SFTTrainer

    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

    tok = byte_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tok), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    options: dict[str, Any] = {
        "output_dir": str(tmp_path / "trl"), "use_cpu": True, "bf16": False, "report_to": [],
        "activation_checkpointing": False, "completion_only_loss": True, "max_length": None,
        "per_device_train_batch_size": 2,
    }  # fmt: skip
    clean = rows_of(toy_run(tmp_path / "clean", [toy_tree()]), keep="all", rehearsal=1.0)
    trainer = SFTTrainer(
        model=Qwen2ForCausalLM(config),
        args=SFTConfig(**options),
        train_dataset=clean.to_trl(),
        processing_class=tok,
    )
    encoded = [distill.encode(row, tok) for row in clean]
    data = trainer.train_dataset
    assert len(data) == len(encoded) == 7
    for line, ours in zip(data, encoded, strict=True):
        assert ours is not None
        assert tuple(line["input_ids"]) == ours.ids
        wanted = [-100] * ours.target_start + list(ours.ids[ours.target_start :])
        if "labels" in line:
            assert line["labels"] == wanted
        else:
            assert [
                token if on else -100
                for token, on in zip(line["input_ids"], line["completion_mask"], strict=True)
            ] == wanted
    batch = trainer.data_collator([data[0], data[1]])
    for index in range(2):
        ours = encoded[index]
        assert ours is not None
        loss = [int(t) for t in batch["labels"][index] if t != -100]
        assert loss == list(ours.ids[ours.target_start :])


def test_what_is_missing_is_named(
    rows: distill.Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = __import__("sys").modules
    for name in ("datasets", "pyarrow", "tokenizers", "transformers"):
        monkeypatch.setitem(modules, name, None)
    for call in (
        rows.to_trl,
        rows.to_preference,
        lambda: rows.to_verl(tmp_path / "x"),
        lambda: rows.to_shards(tmp_path / "s", "some/path"),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[train\]'"):
            call()
