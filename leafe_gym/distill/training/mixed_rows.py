"""Rows of several runs as one training set; each prompt and target of a kind is in it once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.data.dataset import rows
from leafe_gym.distill.data.row_types import ROW_KINDS, Encoded
from leafe_gym.distill.training.encoded_rows import open_rows
from leafe_gym.errors import NoRows
from leafe_gym.types import Json


class MixedRows(list[Encoded]):
    """Encoded rows; the same prompt and target of a kind is kept once.

    Args:
        only_improved: leave out counterfactual rows of branches that did not do better than their
            parent, which `objective="kl"` refuses.

    Attributes:
        manifest: those of the runs, and how many rows each gave.
    """

    def __init__(self, *, only_improved: bool = False) -> None:
        self._only_improved = only_improved
        self.manifest: dict[str, Json] = {"runs": []}
        self._seen: set[tuple[str, tuple[int, ...], int]] = set()

    def take(self, found: Sequence[Encoded], manifest: Json) -> None:
        """Add the rows of one run."""
        before = len(self)
        for row in found:
            if self._only_improved and row.kind == ROW_KINDS[0] and not row.gain > 0:
                continue
            key = (row.kind, row.ids, row.target_start)
            if key not in self._seen:
                self._seen.add(key)
                self.append(row)
        self.manifest["runs"].append({**manifest, "new_rows": len(self) - before})
        self.manifest["chat_template_kwargs"] = manifest.get("chat_template_kwargs") or {}


def mixed_rows(
    runs: Sequence[Path], config: RowConfig, model: str, *, only_improved: bool = False
) -> MixedRows:
    """The rows of runs, encoded for a model; later rounds add what earlier ones did not have.

    Args:
        runs: folders, the earliest first.
        config: which rows are taken.
        model: whose tokenizer encodes them.
        only_improved: see `MixedRows`.

    Raises:
        NoRows: if no run has a row; the reason of the last one.
    """
    mixed = MixedRows(only_improved=only_improved)
    reasons: list[NoRows] = []
    for run in runs:
        try:
            found = rows(run, config)
            _ = found.counts  # raises where there is no row, and says why
        except NoRows as error:
            reasons.append(error)
        else:
            mixed.take(*open_rows(found, model))
    if not mixed and reasons:
        raise reasons[-1]
    if not mixed:
        raise NoRows(f"{runs[-1]}: no rows: no branch did better than its parent")
    return mixed
