"""Solutions of a board: a shortest one in actions, or any.

A* search over pushes: a node consists of the positions of the boxes and the player, an edge is a
walk followed by a push. The lower bound is the cheapest assignment of boxes to targets, where the
cost of a pair is its number of pushes on a board without other boxes.
"""

from __future__ import annotations

from functools import cache, cached_property
from heapq import heappop, heappush
from typing import NamedTuple

from leafe_gym.envs.sokoban.bitboard import indices, mask_of, shift, spread
from leafe_gym.envs.sokoban.rules import Board, offsets
from leafe_gym.errors import LeafeError

NODE_LIMIT = 200_000

_GREED = 4  # weight of the lower bound if any solution is accepted
_MATCHED = 9  # most boxes for the exact assignment, whose cost doubles with each box


class SolverLimit(LeafeError):
    """Raised when the node limit was reached: the board may or may not be solvable."""


class _Node(NamedTuple):
    boxes: int
    player: int  # as a mask


def distance(board: Board, *, limit: int = NODE_LIMIT) -> int | None:
    """Length of a shortest solution; 0 for a solved board, None for an unsolvable one.

    Raises:
        SolverLimit: if more than `limit` nodes would have to be expanded.
    """
    actions = solve(board, limit=limit)
    return None if actions is None else len(actions)


def solve(board: Board, *, optimal: bool = True, limit: int = NODE_LIMIT) -> list[str] | None:
    """Actions that solve the board, or None if it is unsolvable.

    Args:
        board: the position to start from.
        optimal: find a shortest solution. If False, the search is greedy: it expands far fewer
            nodes and the solution may be several times as long.
        limit: most nodes to expand.

    Raises:
        SolverLimit: if `limit` was reached.
    """
    return _Search(board, 1 if optimal else _GREED, limit).run()


class _StaticBoard:
    """The static part of a board, and values derived from it."""

    def __init__(self, board: Board) -> None:
        self.width = board.width
        self.steps = tuple(offsets(board.width).items())
        self.walls = mask_of(board.cells, b"#\n")
        self.floor = mask_of(board.cells, b"-.$*@+")
        self.targets = mask_of(board.cells, b".*+")
        self.pushes = [self._pushes_to(target) for target in indices(self.targets)]
        self.live = sum(1 << index for index in set().union(*self.pushes))
        self.bound = cache(self._bound)

    def _pushes_to(self, target: int) -> dict[int, int]:
        """Cell -> pushes that move a single box from it to `target`; absent if impossible."""
        found = {target: 0}
        frontier, seen, depth = 1 << target, 1 << target, 0
        while frontier:
            ring, depth = frontier, depth + 1
            frontier = 0
            for _, step in self.steps:  # a pull: the player goes one cell further than the box
                frontier |= shift(ring, step) & self.floor & shift(self.floor, -step) & ~seen
            seen |= frontier
            found.update(dict.fromkeys(indices(frontier), depth))
        return found

    def _bound(self, boxes: int) -> int | None:
        """Lower bound of the remaining pushes; None if the position is unsolvable."""
        if boxes.bit_count() > _MATCHED:
            return self._nearest(boxes)
        costs = {0: 0}  # targets taken, as a set of bits -> cheapest way to take them
        for box in indices(boxes):
            following: dict[int, int] = {}
            for taken, cost in costs.items():
                for number, pushes in enumerate(self.pushes):
                    if taken >> number & 1 or box not in pushes:
                        continue
                    key, total = taken | 1 << number, cost + pushes[box]
                    if total < following.get(key, total + 1):
                        following[key] = total
            costs = following
        return min(costs.values(), default=None)

    def _nearest(self, boxes: int) -> int | None:
        """A weaker bound for many boxes: each box to its nearest target."""
        if boxes & ~self.live:
            return None
        return sum(
            min(pushes[box] for pushes in self.pushes if box in pushes) for box in indices(boxes)
        )

    @cached_property
    def squares(self) -> dict[int, tuple[int, ...]]:
        """Box (as a mask) -> the four 2x2 squares it is in."""
        offsets_ = (0, 1, self.width, self.width + 1)
        return {
            1 << at: tuple(sum(1 << at - back + offset for offset in offsets_) for back in offsets_)
            for at in indices(self.live)
        }

    def walk(self, start: int, goal: int, boxes: int) -> list[int]:
        """The steps of a shortest walk between two cells, given as masks."""
        free = self.floor & ~boxes
        rings = [start]
        while not rings[-1] & goal:
            free &= ~rings[-1]
            rings.append(spread(rings[-1], self.width) & free)
        taken: list[int] = []
        for ring in reversed(rings[:-1]):
            step = next(step for _, step in self.steps if shift(goal, -step) & ring)
            taken.insert(0, step)
            goal = shift(goal, -step)
        return taken

    def frozen(self, boxes: int, box: int) -> bool:
        """Whether the box just pushed to `box` is in a solid 2x2 square with a box off target."""
        solid = self.walls | boxes
        return any(
            square & solid == square and square & boxes & ~self.targets
            for square in self.squares[box]
        )


class _Search:
    """One best-first search."""

    def __init__(self, board: Board, weight: int, limit: int) -> None:
        self._layout = _StaticBoard(board)
        self._weight = weight
        self._limit = limit
        self._start = _Node(mask_of(board.cells, b"$*"), 1 << board.player)
        self._came: dict[_Node, tuple[_Node, int]] = {}
        self._cost: dict[_Node, int] = {self._start: 0}
        self._queue: list[tuple[int, int, _Node]] = []

    def run(self) -> list[str] | None:
        self._offer(self._start, 0)
        closed: set[_Node] = set()
        while self._queue:
            _, left, node = heappop(self._queue)
            if node in closed:
                continue
            if left == 0:
                return self._actions(node)
            if len(closed) >= self._limit:
                raise SolverLimit(f"no solution within {self._limit} nodes; pass a larger limit")
            closed.add(node)
            self._expand(node)
        return None

    def _offer(self, node: _Node, cost: int) -> None:
        left = self._layout.bound(node.boxes)
        if left is not None:
            heappush(self._queue, (cost + self._weight * left, left, node))

    def _expand(self, node: _Node) -> None:
        """Follow the walk from `node` ring by ring, and every push that begins in a ring."""
        layout, (boxes, ring) = self._layout, node
        free = layout.floor & ~boxes
        open_to = layout.live & free
        beside = spread(boxes, layout.width) & free
        cost = self._cost[node] + 1
        while ring:
            if ring & beside:
                for _, step in layout.steps:
                    pushed = shift(ring, step) & boxes & shift(open_to, -step)
                    while pushed:
                        box = pushed & -pushed
                        pushed ^= box
                        self._push(node, box, step, cost)
                beside &= ~ring
            if not beside:
                return
            free &= ~ring
            ring = spread(ring, layout.width) & free
            cost += 1

    def _push(self, node: _Node, box: int, step: int, cost: int) -> None:
        moved = shift(box, step)
        after = _Node(node.boxes ^ box ^ moved, box)
        known = self._cost.get(after)
        if known is not None and known <= cost:
            return
        if self._layout.frozen(after.boxes, moved):
            return
        self._cost[after] = cost
        self._came[after] = node, step
        self._offer(after, cost)

    def _actions(self, node: _Node) -> list[str]:
        """The actions that lead from the start to `node`."""
        names = {step: name for name, step in self._layout.steps}
        taken: list[str] = []
        while node != self._start:
            before, step = self._came[node]
            beside = shift(node.player, -step)
            walk = self._layout.walk(before.player, beside, before.boxes)
            taken = [names[done] for done in (*walk, step)] + taken
            node = before
        return taken
