"""Snapshots of one task's exploration, within a byte budget."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from leafe_gym.tree import Tree
from leafe_gym.types import Snapshot
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

BOOKKEEPING = 512
"""Bytes that a snapshot takes besides its backend's data: records, links, dictionary entries."""


@dataclass(slots=True, eq=False)
class _Held:
    """One snapshot on the shelf, linked to its neighbours on the same branch."""

    key: tuple[int, int]
    env: RollbackWrapper
    snapshot: Snapshot
    size: int
    before: _Held | None = None
    after: _Held | None = None
    gone: bool = False

    def worth(self) -> int:
        """Steps that losing it would add, summed over the states that it is the nearest for."""
        first = self.before.key[1] if self.before else 0
        last = self.after.key[1] if self.after else self.key[1] + 1
        return (self.key[1] - first) * (last - self.key[1])


class Shelf:
    """Snapshots of one task's exploration, by (branch, action number), within a byte budget.

    Beyond the budget the snapshot whose loss costs the fewest replayed steps goes first, so those
    that stay are spread evenly over each branch: anchors, from which the states between them are
    brought back by verified replay. With the backend `replay` a snapshot holds nothing and there
    are no anchors: coming back to action tau costs tau steps.

    Args:
        limit: most bytes held, bookkeeping included; >= 0.
    """

    def __init__(self, limit: int = 16 * 2**20) -> None:
        self.limit = limit
        self.nbytes = 0
        self._held: dict[tuple[int, int], _Held] = {}
        self._last: dict[int, _Held] = {}
        self._cheapest: list[tuple[int, int, _Held]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, branch: int, env: RollbackWrapper) -> None:
        """Hold the state before the next action of `branch`; once, however often it is asked."""
        key = (branch, env.steps)
        last = self._last.get(branch)
        if key in self._held or (last is not None and last.key[1] > key[1]):
            return
        snapshot = env.snapshot()
        size = snapshot.nbytes + BOOKKEEPING
        item = _Held(key, env, snapshot, size, before=last)
        if last is not None:
            last.after = item
            self._rank(last)
        self._held[key] = self._last[branch] = item
        self.nbytes += size
        self._rank(item)
        while self.nbytes > self.limit:
            self._evict()

    def nearest(
        self, tree: Tree, branch: int, action: int
    ) -> tuple[RollbackWrapper, Snapshot] | None:
        """The snapshot from which the state before `action` on the path of `branch` is nearest."""
        for node in tree.ancestry(branch):
            item = self._held.get((node.id, action)) or self._last.get(node.id)
            while item is not None and item.key[1] > action:
                item = item.before
            if item is not None:
                return item.env, item.snapshot
            if node.restart:
                break
            action = min(action, node.start)
        return None

    def clear(self) -> None:
        """Release everything."""
        for item in self._held.values():
            item.env.release(item.snapshot)
        self._held.clear()
        self._last.clear()
        self._cheapest.clear()
        self.nbytes = 0

    def _rank(self, item: _Held) -> None:
        self._count += 1
        heappush(self._cheapest, (item.worth(), self._count, item))

    def _evict(self) -> None:
        while True:
            worth, _, item = heappop(self._cheapest)
            if not item.gone and worth == item.worth():
                break
        item.gone = True
        del self._held[item.key]
        if item.before is not None:
            item.before.after = item.after
            self._rank(item.before)
        if item.after is not None:
            item.after.before = item.before
            self._rank(item.after)
        else:
            branch = item.key[0]
            if item.before is not None:
                self._last[branch] = item.before
            else:
                del self._last[branch]
        self.nbytes -= item.size
        item.env.release(item.snapshot)
