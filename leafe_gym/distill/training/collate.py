"""Optimizer batches as tensors, cut into micro-batches and distributed over ranks.

Padded and packed micro-batches have the same fields, so that one loss function serves both:

    input_ids, position_ids   [rows, time]
    attention_mask            [rows, time], padded micro-batches only
    end                       [time], packed ones only: what the ancestor mask is made from
    keep                      [kept], positions whose logits are needed (where the model can)
    at                        [targets], places in the flattened logits that predict a target
    labels                    [targets]
    shares                    [2, targets], factors in L_cf and L_reh
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.batch_plan import BatchPlan
from leafe_gym.distill.training.config import Normalise, Packing
from leafe_gym.distill.training.loss import LossNormalizer
from leafe_gym.distill.training.packed_attention import FLEX_BLOCK
from leafe_gym.distill.training.packing import PackedRows, pack

if TYPE_CHECKING:
    from torch import Tensor

MicroBatch = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatchLayout:
    """How rows become micro-batches.

    Attributes:
        packing: "tree" (`packing.pack`) or "none" (rows side by side, padded on the left).
        micro_batch: rows of a padded micro-batch.
        pack_length: most tokens of a packed one.
        selects_logits: the model computes only the logits it is asked for.
        multiple: packed sequences are padded to a multiple of this.
        normalise: see `LossNormalizer`.
    """

    packing: Packing = "none"
    micro_batch: int = 8
    pack_length: int = 8192
    selects_logits: bool = True
    multiple: int = 1
    normalise: Normalise = "token"

    def split(self, rows: Sequence[Encoded]) -> list[MicroBatch]:
        """One optimizer batch as micro-batches whose losses add up to the batch's loss."""
        whole = LossNormalizer.of(rows, self.normalise)
        if self.packing == "tree":
            return [self.packed(part) for part in pack(rows, whole, self.pack_length)]
        by_length = sorted(rows, key=lambda row: len(row.ids))  # less padding
        size = self.micro_batch
        cut = [by_length[i : i + size] for i in range(0, len(rows), size)]
        return [self.padded(part, whole) for part in cut]

    def padded(self, rows: Sequence[Encoded], whole: LossNormalizer) -> MicroBatch:
        """Rows side by side; padding on the left, so that targets lie together at the end."""
        time = max(len(row.ids) for row in rows)
        kept = (
            max(len(row.ids) - row.target_start for row in rows) + 1
            if self.selects_logits
            else time
        )
        ids, position, seen = (np.zeros((len(rows), time), dtype=np.int64) for _ in range(3))
        at: list[int] = []
        labels: list[int] = []
        shares: list[tuple[float, float]] = []
        for number, row in enumerate(rows):
            skip = time - len(row.ids)
            ids[number, skip:] = row.ids
            position[number, skip:] = np.arange(len(row.ids))
            seen[number, skip:] = 1
            first = number * kept + skip + row.target_start - 1 - (time - kept)
            share = whole.share(row)
            pair = (share, 0.0) if row.kind == "counterfactual" else (0.0, share)
            for offset, label in enumerate(row.ids[row.target_start :]):
                at.append(first + offset)
                labels.append(label)
                shares.append(pair)
        micro = _tensors(input_ids=ids, position_ids=position, attention_mask=seen)
        micro |= _tensors(at=np.array(at), labels=np.array(labels))
        micro["shares"] = _floats(np.array(shares).T)
        if self.selects_logits:
            micro |= _tensors(keep=np.arange(time - kept, time))
        return micro

    def packed(self, part: PackedRows) -> MicroBatch:
        """A packed sequence; padding nodes come last and attend to themselves only."""
        length = len(part)
        padded = -(-length // self.multiple) * self.multiple
        filler = np.arange(length, padded)
        zeros = np.zeros_like(filler)
        parents = part.parent[part.targets]
        kept, at = np.unique(parents, return_inverse=True)
        micro = _tensors(
            input_ids=np.concatenate([part.ids, zeros])[None],
            position_ids=np.concatenate([part.depth, zeros])[None],
            end=np.concatenate([part.end, filler + 1]),
            at=at if self.selects_logits else parents,
            labels=part.ids[part.targets],
        )
        micro["shares"] = _floats(part.shares)
        if self.selects_logits:
            micro |= _tensors(keep=kept)
        return micro


class BatchLoader:
    """Item `i` is this rank's part of optimizer batch `i`: {"micro": [...], "rows", "tokens"}.

    All ranks get the same number of micro-batches, because some ways of sharding a model need
    every rank to run as often; a rank that would have fewer repeats one with no share in the loss.
    """

    def __init__(
        self,
        rows: Sequence[Encoded],
        plan: BatchPlan,
        layout: MicroBatchLayout,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows, self.plan, self.layout = rows, plan, layout
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> dict[str, object]:
        rows = [self.rows[index] for index in self.plan[step]]
        micro = self.layout.split(rows)
        tokens = sum(one["input_ids"].numel() for one in micro)
        while len(micro) % self.world:
            micro.append({**micro[0], "shares": micro[0]["shares"] * 0})
        return {"micro": micro[self.rank :: self.world], "rows": len(rows), "tokens": tokens}


def flex_multiple(attention: str) -> int:
    """The `MicroBatchLayout.multiple` an attention implementation needs."""
    return FLEX_BLOCK if attention == "flex_attention" else 1


def _tensors(**arrays: np.ndarray) -> MicroBatch:
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in arrays.items()}


def _floats(array: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(array.astype(np.float32))
