"""`train` accepts every form of rows that `distill` writes, or names what to write instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from distill_toys import toy_config, train
from row_toys import needs, rows_of, toy_run, toy_tree

from leafe_gym import distill
from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
from leafe_gym.distill.training.encoded_rows import open_rows
from leafe_gym.errors import StoreCorrupt, UsageError

pytestmark = needs("torch", "transformers", "datasets")


@pytest.fixture
def rows(tmp_path: Path) -> distill.Rows:
    return rows_of(toy_run(tmp_path / "run", [toy_tree()]), keep="all", rehearsal=1.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    toy_config(max_position_embeddings=2048).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def write(rows: distill.Rows, form: str, folder: Path) -> Any:
    if form == "trl":
        rows.to_trl().save_to_disk(folder)
    elif form == "jsonl":
        rows.to_jsonl(folder / "rows.jsonl")
    elif form == "shards":
        rows.to_shards(folder, byte_tokenizer())
    return rows if form == "rows" else folder


@pytest.mark.parametrize("form", ["rows", "trl", "jsonl", "shards"])
def test_every_form_gives_the_same_encoded_rows(
    rows: distill.Rows, model: Path, tmp_path: Path, form: str
) -> None:
    wanted = [distill.encode(row, byte_tokenizer()) for row in rows]
    found, _ = open_rows(write(rows, form, tmp_path / "data"), model)
    assert list(found) == wanted


def test_a_trl_folder_trains(rows: distill.Rows, model: Path, tmp_path: Path) -> None:
    data = write(rows, "trl", tmp_path / "data")
    result = train(data, model, tmp_path / "out", epochs=1, batch=4)
    assert result.steps == 2
    assert result.last["rows"] == 3


def test_text_rows_need_the_tokenizer_of_the_model(
    rows: distill.Rows, model: Path, tmp_path: Path
) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()
    for form in ("rows", "jsonl"):
        with pytest.raises(UsageError, match=r"no tokenizer.*--format shards --tokenizer"):
            open_rows(write(rows, form, tmp_path / form), model)


@pytest.mark.parametrize("form", ["empty", "verl", "preference", "file"])
def test_data_in_another_form_is_refused(
    rows: distill.Rows, model: Path, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if form == "verl":
        rows.to_verl(folder / "rows.parquet")
    elif form == "preference":
        rows.to_preference().save_to_disk(folder)
    elif form == "file":
        folder = tmp_path / "notes.txt"
        folder.touch()
    with pytest.raises(UsageError, match="leafe distill RUN --format shards"):
        open_rows(folder, model)


ROW: dict[str, Any] = {
    "kind": "rehearsal", "task": "t", "split": "", "branch": 0, "step": 0,
    "prompt": [{"role": "user", "content": "?"}],
    "completion": [{"role": "assistant", "content": "!"}],
}  # fmt: skip


CHANGES: list[dict[str, Any]] = [
    {"kind": "other"},
    {"prompt": "abc"},
    {"prompt": []},
    {"prompt": [{"role": "tool", "content": "x"}]},
    {"completion": [{"role": "assistant", "content": None}]},
    {"teacher": "abc"},
    {"task": 3},
    {"reasoning": 5},
    {"weight": "much"},
    {"chat_template_kwargs": [1]},
]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"kind": "rehearsal"}',
        b"[1]",
        b"\xff",
        *(json.dumps(ROW | change).encode() for change in CHANGES),
    ],
)
def test_a_damaged_line_is_named(model: Path, tmp_path: Path, line: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(json.dumps(ROW).encode() + b"\n" + line + b"\n")
    with pytest.raises(StoreCorrupt, match="line 2 holds no row"):
        open_rows(tmp_path, model)


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": [ROW["prompt"]], "completion": [ROW["completion"]]},
        {"prompt": ["a"], "completion": ["b"]},
        {name: [value] for name, value in (ROW | {"completion": "!"}).items()},
    ],
)
def test_another_trl_data_set_is_refused(
    model: Path, tmp_path: Path, columns: dict[str, Any]
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(StoreCorrupt, match="row 1 holds no row of leafe distill"):
        open_rows(tmp_path / "data", model)
