"""Which rows each optimizer step sees: a function of the seed, so that a resumed run agrees."""

from __future__ import annotations

import random
from collections.abc import Sequence

from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.config import RowOrder
from leafe_gym.seeds import derive_seed


class BatchPlan:
    """The batches of all epochs in order; item `i` is the row indices of batch `i`.

    "shuffled" mixes all rows. "task" shuffles the tasks and keeps each task's rows together, so
    that rows of a batch share prefixes; the loss of a batch does not depend on packing. Every
    epoch is reshuffled and sees each row once; the last batch of an epoch may be smaller.
    """

    def __init__(
        self, rows: Sequence[Encoded], *, batch: int, epochs: int, order: RowOrder, seed: int
    ) -> None:
        self.batch, self.epochs = batch, epochs
        self.seed, self.order = seed, order
        self._count = len(rows)
        self._tasks: dict[str, list[int]] = {}
        if order == "task":
            for index in range(len(rows)):
                self._tasks.setdefault(rows[index].task, []).append(index)
        self._cached: tuple[int, list[int]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the rows."""
        return -(-self._count // self.batch)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __getitem__(self, step: int) -> list[int]:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._cached[0] != epoch:
            self._cached = (epoch, self._epoch(epoch))
        return self._cached[1][place * self.batch : (place + 1) * self.batch]

    def _epoch(self, epoch: int) -> list[int]:
        rng = random.Random(derive_seed(self.seed, "epoch", epoch))
        if self.order == "shuffled":
            rows = list(range(self._count))
            rng.shuffle(rows)
            return rows
        names = list(self._tasks)
        rng.shuffle(names)
        return [row for name in names for row in self._tasks[name]]
