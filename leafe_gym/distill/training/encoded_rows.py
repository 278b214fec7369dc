"""Training data in any of the forms that `train` accepts, as encoded rows.

Shards are exact and memory-mapped. Text rows (`Rows`, a TRL folder, JSON lines) are encoded with
the tokenizer of the model and held in memory; the text formats have look-alikes of control tokens
changed already (`leafe_gym.distill.data.export`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafe_gym._optional import require
from leafe_gym.arguments import require_instance, require_path
from leafe_gym.distill.data.dataset import Rows
from leafe_gym.distill.data.row_types import ROW_KINDS, Encoded, Row
from leafe_gym.distill.data.shards import MANIFEST, ShardSet
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import StoreCorrupt, UsageError
from leafe_gym.types import Json, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRL_FILE = "dataset_info.json"
JSONL_FILE = "rows.jsonl"
ROLES = ("system", "user", "assistant")
SHARDS_COMMAND = "write shards: leafe distill RUN --format shards --tokenizer MODEL --out DIR"


def open_rows(
    data: Sequence[Encoded] | Rows | str | Path, model: str | Path | PreTrainedModel
) -> tuple[Sequence[Encoded], Json]:
    """The rows and their manifest ({} without one).

    Args:
        data: see `train`.
        model: whose tokenizer encodes rows that are text.

    Raises:
        UsageError: for data in another form, or text rows for a model without a tokenizer.
        StoreCorrupt: if a file of rows cannot be read.
    """
    if isinstance(data, Rows):
        return _encode(data, model)[0], data.manifest()
    if not isinstance(data, (str, Path)):
        require_instance("data", data, Sequence)
        for row in data[:1]:
            require_instance("data[0]", row, Encoded)
        return data, getattr(data, "manifest", {})
    folder = require_path("data", data)
    if (folder / MANIFEST).is_file():
        shards = ShardSet(folder)
        return shards, shards.manifest
    if (folder / TRL_FILE).is_file():
        return _with_manifest(folder, *_encode(_trl_rows(folder), model))
    if (folder / JSONL_FILE).is_file():
        return _with_manifest(folder, *_encode(_jsonl_rows(folder / JSONL_FILE), model))
    raise UsageError(
        f"{folder}: holds no rows that can be trained on ({MANIFEST}, {TRL_FILE} or {JSONL_FILE} "
        f"is expected); {SHARDS_COMMAND}"
    )


def _encode(
    rows: Iterable[Row], model: str | Path | PreTrainedModel
) -> tuple[list[Encoded], dict[str, Json]]:
    """The rows as token ids, and the template arguments of the last one."""
    from leafe_gym.distill.training.model_loading import own_tokenizer

    tokenizer = own_tokenizer(model)
    if tokenizer is None:
        raise UsageError(
            f"the rows are text and no tokenizer is stored with the model; {SHARDS_COMMAND}"
        )
    encoder = Encoder(tokenizer)
    found: list[Encoded] = []
    arguments: dict[str, Json] = {}
    for row in rows:
        if (encoded := encoder.encode(row)) is not None:
            found.append(encoded)
        arguments = dict(row.chat_template_kwargs)
    return found, arguments


def _with_manifest(
    folder: Path, rows: list[Encoded], arguments: dict[str, Json]
) -> tuple[list[Encoded], Json]:
    return rows, {"chat_template_kwargs": arguments, **_report(folder)}


def _trl_rows(folder: Path) -> Iterator[Row]:
    data: Any = require("datasets", "train", "reading TRL data").load_from_disk(str(folder))
    if "completion" not in data.column_names:
        raise UsageError(
            f"{folder}: has the columns {', '.join(data.column_names)}; `train` needs prompt and "
            f"completion (leafe distill --format trl), or {SHARDS_COMMAND}"
        )
    return _checked(data, folder, "row")


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        yield from _checked(lines, path, "line")


def _checked(records: Iterable[Any], path: Path, what: str) -> Iterator[Row]:
    """The rows of records, or of lines with one each.

    Raises:
        StoreCorrupt: if one is no row; says which.
    """
    for number, record in enumerate(records, 1):
        try:
            yield _row(json.loads(record) if isinstance(record, bytes) else record)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise StoreCorrupt(
                f"{path}: {what} {number} holds no row of leafe distill: {error!r}"
            ) from error


def _row(record: Mapping[str, Any]) -> Row:
    if record["kind"] not in ROW_KINDS:
        raise ValueError(f"kind {record['kind']!r}")
    arguments = record.get("chat_template_kwargs") or {}
    if not isinstance(arguments, Mapping):
        raise TypeError("chat_template_kwargs is no object")
    return Row(
        kind=record["kind"],
        task=_text(record["task"]),
        split=_text(record["split"]),
        branch=int(record["branch"]),
        step=int(record["step"]),
        prompt=_chat(record["prompt"]),
        target=_chat(record["completion"])[0]["content"],
        reasoning=_text(record.get("reasoning") or ""),
        chat_template_kwargs=arguments,
        teacher=_chat(record["teacher"]) if record.get("teacher") else (),
        gain=float(record.get("gain") or 0.0),
        weight=1.0 if record.get("weight") is None else float(record["weight"]),
    )


def _chat(value: Any) -> tuple[Message, ...]:
    turns = tuple(Message(role=one["role"], content=_text(one["content"])) for one in value)
    if not turns or not all(one["role"] in ROLES for one in turns):
        raise ValueError("a chat is a list of messages with role and content")
    return turns


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _report(folder: Path) -> Json:
    """The manifest that `leafe distill` stored beside the rows; {} without one."""
    try:
        report: Json = json.loads((folder / "distill.json").read_text("utf-8"))
        return report["manifest"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
