"""One training: its rows, model, folder and configuration, checked before anything is loaded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leafe_gym._weights import weights_digest
from leafe_gym.distill.data.row_types import ROW_KINDS, Encoded
from leafe_gym.distill.training.config import TrainConfig, TrainProgress
from leafe_gym.distill.training.loss import row_weight, target_tokens
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

if TYPE_CHECKING:
    from transformers import PreTrainedModel


SETTINGS = ("config.json", "adapter_config.json")
"""Files of a model's folder that say what its weights are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """The inputs of one training.

    Attributes:
        rows: encoded rows.
        manifest: of the rows; {} without one.
        model: a checkpoint, a config for a fresh model, or a model.
        out: folder of the training.
        config: how to train.
        longest: tokens of the longest row.
        largest_id: largest token id in the rows.
        progress: called after each optimizer step.
    """

    rows: Sequence[Encoded]
    manifest: Json
    model: str | Path | PreTrainedModel
    out: Path
    config: TrainConfig
    longest: int
    largest_id: int
    progress: TrainProgress | None = None

    @property
    def model_name(self) -> str:
        """The path or name of the model, or its class."""
        model = self.model
        return str(model) if isinstance(model, (str, Path)) else type(model).__name__

    def identity(self) -> dict[str, Json]:
        """What a resumed training must agree on."""
        digest = hashlib.blake2b(digest_size=16)
        for index in range(len(self.rows)):
            row = self.rows[index]
            digest.update(repr(row).encode())
        return {
            "config": self.config.identity,
            "rows": digest.hexdigest(),
            "model": model_identity(self.model),
        }

    def counts(self) -> dict[str, int]:
        """Rows of each kind."""
        kinds = [self.rows[index].kind for index in range(len(self.rows))]
        return {f"{kind}_rows": kinds.count(kind) for kind in ROW_KINDS}


def model_identity(model: str | Path | PreTrainedModel) -> str:
    """What a model is, not where: the same for a folder that was moved, another for other weights.

    Returns:
        A hash of the weights and settings in a folder, or of a file; else the name, or the class.
    """
    if not isinstance(model, (str, Path)):
        return type(model).__name__
    path = Path(model).expanduser()
    files = [path / name for name in SETTINGS] if path.is_dir() else [path]
    known = [one.read_bytes() for one in files if one.is_file()]
    if not known:
        return str(model)
    digest = hashlib.blake2b(b"".join(known), digest_size=8).hexdigest()
    try:
        return f"{digest}-{weights_digest(path)}"
    except UsageError:  # the settings of a fresh model, or weights in another format
        return str(model) if path.is_dir() else digest


def template_arguments(manifest: Json) -> dict[str, Json]:
    """Arguments of the chat template that the rows' policy was prompted with; {} where unknown."""
    known = manifest.get("chat_template_kwargs")
    if known is None:  # of shards: the manifest of the rows is part of theirs
        known = (manifest.get("source") or {}).get("chat_template_kwargs")
    return dict(known or {})


VERIFIED = "make them with keep='improved' and teacher=True (leafe distill --recipe verified)"


def check_rows(rows: Sequence[Encoded], config: TrainConfig) -> tuple[int, int]:
    """The tokens of the longest row, and the largest token id.

    Raises:
        UsageError: if there are no rows, or a row cannot be trained on with this configuration.
    """
    if not len(rows):
        raise UsageError("there are no rows to train on: explore more tasks, or select more rows")
    longest = largest = 0
    weights: dict[str, float] = {}
    for index in range(len(rows)):
        row = rows[index]
        target_tokens(row)
        if row.kind not in ROW_KINDS:
            raise UsageError(
                f"row {index} is of kind {row.kind!r}: expected {' or '.join(ROW_KINDS)}"
            )
        every = row.ids + row.teacher
        if min(every) < 0:
            raise UsageError(f"row {index} holds the token id {min(every)}: ids are >= 0")
        for name, value in (("weight", row.weight), ("gain", row.gain)):
            if not 0 <= value < math.inf:
                raise UsageError(f"row {index} has the {name} {value}: expected a finite one >= 0")
        longest = max(longest, len(row.ids), len(row.taught))
        largest = max(largest, *every)
        weights[row.kind] = weights.get(row.kind, 0.0) + row_weight(row, config.weight)
        if config.objective == "kl" and row.kind == ROW_KINDS[0]:
            _check_taught(row, index, config)
    for kind, weight in weights.items():
        if not weight:
            raise UsageError(
                f"every {kind} row has the weight 0: {VERIFIED}, or train with weight='one'"
            )
    return longest, largest


def _check_taught(row: Encoded, index: int, config: TrainConfig) -> None:
    if not row.teacher:
        raise UsageError(
            f"row {index} has no prompt with an experience, and objective='kl' needs one in every "
            f"counterfactual row: {VERIFIED}"
        )
    if config.only_improved and not row.gain > 0:
        raise UsageError(
            f"row {index} comes from a branch that did not do better than its parent, and "
            f"objective='kl' trains on improvements only: {VERIFIED}, or pass only_improved=False "
            "(--no-only-improved)"
        )
