"""Shards: what was written is what is read, from memory-mapped files."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from row_toys import needs, rows_of, toy_run, toy_tree

from leafe_gym import distill
from leafe_gym.distill.data.shards import ShardSet, write_shards
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import StoreCorrupt, StoreError, UsageError

pytestmark = needs("transformers", "tokenizers")


@pytest.fixture
def rows(tmp_path: Path) -> distill.Rows:
    folder = toy_run(tmp_path / "run", [toy_tree(i) for i in range(8)])
    return rows_of(folder, keep="all", rehearsal=1.0)


@pytest.fixture
def tokenizer() -> Any:
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

    return byte_tokenizer()


def test_written_and_read(rows: distill.Rows, tokenizer: Any, tmp_path: Path) -> None:
    manifest = write_shards(
        rows, tmp_path / "s", tokenizer, source=rows.manifest, tokens_per_shard=4000
    )
    wanted = [Encoder(tokenizer).encode(row) for row in rows]
    shards = ShardSet(tmp_path / "s")
    assert list(shards) == wanted == [shards[i] for i in range(len(shards))]
    assert shards[-1] == wanted[-1]
    assert shards[1:3] == wanted[1:3]
    assert list(pickle.loads(pickle.dumps(shards))) == wanted
    with pytest.raises(IndexError):
        shards[len(shards)]
    shards.verify()
    assert manifest["shards"] == len(list((tmp_path / "s").glob("ids-*"))) > 1
    assert manifest["rows"] == len(wanted)
    assert manifest["tokens"] == sum(len(made.ids) for made in wanted if made)
    assert manifest["source"] == rows.manifest()
    assert manifest == shards.manifest
    assert manifest["tokenizer"]["size"] == 259


def test_long_rows_are_left_out_and_counted(
    rows: distill.Rows, tokenizer: Any, tmp_path: Path
) -> None:
    lengths = sorted(len(made.ids) for row in rows if (made := Encoder(tokenizer).encode(row)))
    middle = lengths[len(lengths) // 2]
    manifest = rows.to_shards(tmp_path / "s", tokenizer, middle)
    assert manifest["too_long"] == sum(length > middle for length in lengths) > 0
    assert manifest["longest"] == middle
    with pytest.raises(UsageError, match="rows are longer than max_length=10 tokens"):
        rows.to_shards(tmp_path / "t", tokenizer, 10)
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "t.part").exists()


def test_folders_that_cannot_be_used(rows: distill.Rows, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="is not empty"):
        rows.to_shards(tmp_path / "full", tokenizer)
    with pytest.raises(StoreError, match="cannot write the shards"):
        rows.to_shards(tmp_path / "full" / "x" / "y", tokenizer)
    with pytest.raises(UsageError, match="no shards here"):
        ShardSet(tmp_path / "full")


def test_damage_is_found(rows: distill.Rows, tokenizer: Any, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    rows.to_shards(folder, tokenizer)
    ids = folder / "ids-00000.bin"
    data = bytearray(ids.read_bytes())
    data[40] ^= 1
    ids.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="is damaged"):
        ShardSet(folder).verify()
    ids.write_bytes(data[:-4])
    with pytest.raises(StoreCorrupt, match="bytes where"):
        ShardSet(folder)
    ids.unlink()
    with pytest.raises(StoreCorrupt, match="has None bytes"):
        ShardSet(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(UsageError, match="have format 9"):
        ShardSet(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        ShardSet(folder)


def test_reading_holds_one_row(rows: distill.Rows, tokenizer: Any, tmp_path: Path) -> None:
    rows.to_shards(tmp_path / "s", tokenizer)
    shards = ShardSet(tmp_path / "s")
    next(iter(shards))
    tracemalloc.start()
    total = sum(len(made.ids) for made in shards)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 < 64 * total
