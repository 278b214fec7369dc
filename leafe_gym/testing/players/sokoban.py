"""A Sokoban player that makes mistakes: for the demo, the tests and the examples.

It reads what any chat model would read: the board in the last turn, an experience if there is one,
and the environment's comments when it reflects. It walks to a box and pushes it towards the target
that looks nearest; with probability `noise` it pushes any box next to it. It neither detects dead
ends in advance nor searches for a solution.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from leafe_gym.errors import PolicyError
from leafe_gym.testing.players.base import FoundMistake, ScriptedPlayer, has_failed, probability
from leafe_gym.types import Message, Sampling

MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
Cell = tuple[int, int]

_ROW = re.compile(r"[#\-.$*@+]{3,}")
_AVOID = re.compile(r"not (up|down|left|right)\b")
_COMMENT = re.compile(r"^- action (\d+) \((\w+)\): (.+)$", re.MULTILINE)
_LOST = "the level is lost"
"""Part of the environment's comments that tells a lasting mistake from a wasted step."""


class SokobanPlayer(ScriptedPlayer):
    """Plays greedily with noise; see the module's docstring.

    Args:
        noise: probability of pushing a box just because it is next to the player, 0 to 1, at
            temperature 1; it scales with the temperature, so temperature 0 plays greedily.

    Raises:
        UsageError: if `noise` is not a probability.
    """

    def __init__(self, noise: float = 0.4) -> None:
        self.noise = probability("noise", noise)
        super().__init__(self._reply, _reflect, name=f"scripted-sokoban(noise={noise})")

    def _reply(self, messages: Sequence[Message], sampling: Sampling) -> str:
        rng = np.random.default_rng(sampling.seed)
        turn = messages[-1]["content"]
        return f"Action: {_move(turn, rng, self.noise * sampling.temperature)}"


def _move(turn: str, rng: np.random.Generator, noise: float) -> str:
    board = _Board.read(turn)
    avoid = set(_AVOID.findall(turn))
    options = [move for move in MOVES if move not in avoid and board.can(move)]
    if not options:
        return str(rng.choice(list(MOVES)))
    pushes = [move for move in options if board.pushes(move)]
    if pushes and rng.random() < noise:
        return str(rng.choice(pushes))
    return board.greedy(options, rng)


def _reflect(messages: Sequence[Message], sampling: Sampling) -> FoundMistake | None:
    for number, action, text in _COMMENT.findall(messages[-1]["content"]):
        if _LOST in text:
            return FoundMistake(int(number), f"{text.rstrip('.')}: here, not {action}.")
    if not has_failed(messages):
        return None
    # The step limit was reached and no comment names a cause: pick one of the pushes, because only
    # pushes can lose a level.
    pushes = _pushes(messages)
    if not pushes:
        return FoundMistake(0, "Push a box.")
    rng = np.random.default_rng(sampling.seed)
    number, action = pushes[int(rng.integers(0, len(pushes), 2).min())]
    return FoundMistake(number, f"This push did not help: here, not {action}.")


def _pushes(messages: Sequence[Message]) -> list[tuple[int, str]]:
    """(action index, action) of every action in the chat that moved a box."""
    found: list[tuple[int, str]] = []
    number, action = -1, ""
    boxes: set[Cell] | None = None
    for message in messages:
        if message["role"] == "user":
            after = _Board.read(message["content"]).boxes
            if boxes is not None and after != boxes:
                found.append((number, action))
            boxes = after
        elif message["role"] == "assistant":
            number, action = number + 1, message["content"].removeprefix("Action: ")
    return found


class _Board:
    """One board as the player reads it."""

    def __init__(self, rows: list[str]) -> None:
        cells = {(r, c): s for r, row in enumerate(rows) for c, s in enumerate(row)}
        self.player = next((cell for cell, s in cells.items() if s in "@+"), None)
        if self.player is None:
            raise PolicyError("the scripted player found no player on the board")
        self.boxes = {cell for cell, s in cells.items() if s in "$*"}
        self.targets = {cell for cell, s in cells.items() if s in ".*+"}
        self.floor = {cell for cell, s in cells.items() if s != "#"}

    @classmethod
    def read(cls, turn: str) -> _Board:
        """The last block of board rows in a turn."""
        blocks: list[list[str]] = [[]]
        for line in turn.splitlines():
            if _ROW.fullmatch(line.strip()):
                blocks[-1].append(line.strip())
            elif blocks[-1]:
                blocks.append([])
        rows = [block for block in blocks if len(block) >= 3]
        if not rows:
            raise PolicyError("the scripted player found no board in the last turn")
        return cls(rows[-1])

    def can(self, move: str) -> bool:
        """Whether the move would change the board."""
        assert self.player is not None
        ahead = _go(self.player, move)
        if ahead not in self.floor:
            return False
        beyond = _go(ahead, move)
        return ahead not in self.boxes or (beyond in self.floor and beyond not in self.boxes)

    def pushes(self, move: str) -> bool:
        """Whether the move would push a box (if it can)."""
        assert self.player is not None
        return _go(self.player, move) in self.boxes

    def greedy(self, options: list[str], rng: np.random.Generator) -> str:
        """The first step towards the push that looks nearest and brings a box nearer."""
        walk = self._distances()
        best: list[tuple[int, str]] = []
        for box in self.boxes - self.targets:
            for move in MOVES:
                stand = _go(box, move, -1)
                if not self._helps(box, move) or stand not in walk:
                    continue
                length, first = walk[stand]
                best.append((length + self._gap(_go(box, move)), first or move))
        best = [(cost, first) for cost, first in best if first in options]
        if not best:
            return str(rng.choice(options))
        lowest = min(cost for cost, _ in best)
        return str(rng.choice(sorted({first for cost, first in best if cost == lowest})))

    def _helps(self, box: Cell, move: str) -> bool:
        ahead = _go(box, move)
        free = ahead in self.floor and ahead not in self.boxes
        return free and self._gap(ahead) < self._gap(box)

    def _gap(self, cell: Cell) -> int:
        """Steps from `cell` to the nearest empty target along the floor, boxes ignored."""
        return self._gaps.get(cell, len(self.floor))

    @cached_property
    def _gaps(self) -> dict[Cell, int]:
        gaps = dict.fromkeys(self.targets - self.boxes, 0)
        queue = deque(gaps)
        while queue:
            cell = queue.popleft()
            for move in MOVES:
                there = _go(cell, move)
                if there in self.floor and there not in gaps:
                    gaps[there] = gaps[cell] + 1
                    queue.append(there)
        return gaps

    def _distances(self) -> dict[Cell, tuple[int, str]]:
        """Cell -> (steps to walk there without pushing, the first of them; "" for none)."""
        assert self.player is not None
        seen: dict[Cell, tuple[int, str]] = {self.player: (0, "")}
        queue = deque([self.player])
        while queue:
            cell = queue.popleft()
            length, first = seen[cell]
            for move in MOVES:
                there = _go(cell, move)
                if there in self.floor and there not in self.boxes and there not in seen:
                    seen[there] = (length + 1, first or move)
                    queue.append(there)
        return seen


def _go(cell: Cell, move: str, times: int = 1) -> Cell:
    step = MOVES[move]
    return cell[0] + times * step[0], cell[1] + times * step[1]
