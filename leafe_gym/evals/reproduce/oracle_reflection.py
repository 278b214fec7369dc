"""Oracle controls: the small model, with the solver's help in looking back.

`OracleTau` names the first mistake. Only the step comes from the solver. The advice is drawn at
random, and the control that uses this withholds it, so that what is measured is the worth of a
right tau alone. That bounds a tree from above only where the model could find the right action by
itself, which a blind one cannot.

`LateTau` serves another question: what a revised action teaches where its history holds a failure.
A reflector that names the first mistake never goes back to such a place. This one names a later
mistake that can still be mended, with the solver's advice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from leafe_gym.envs.sokoban.rules import ACTIONS, Board, move
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import SMALL
from leafe_gym.types import Completion, Message, Sampling


class OracleTau:
    """A policy that acts as another does and looks back with the solver.

    Args:
        policy: the small model; acts.
    """

    prompts = "tiny"

    def __init__(self, policy: TinyPolicy) -> None:
        self.name = f"oracle-tau({policy.name})"
        self._policy = policy
        self.tokenize = policy.tokenize

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        words = messages[-1]["content"].split("\n")
        if words[-1] != "failed":
            return await self._policy.complete(messages, sampling)
        return Completion(text=_answer(words, random.Random(sampling.seed)))


def _answer(lines: list[str], dice: random.Random) -> str:
    """The first step after which the shortest solution is not one action shorter."""
    heads = [at for at, line in enumerate(lines) if line[0] == "s" and line[1:].isdigit()]
    boards: list[list[str]] = []
    actions: list[str] = []
    for at, end in pairwise([*heads, len(lines)]):
        boards.append(lines[at + 1 : end - 1])
        actions.append(lines[end - 1])
    far = [_distance(rows) for rows in boards]
    for step, (before, after) in enumerate(pairwise(far)):
        if before is not None and (after is None or after >= before):
            other = dice.choice([action for action in ACTIONS if action != actions[step]])
            return f"s{step} {' '.join(boards[step])} not {actions[step]} but {other}"
    return "none"


class LateTau:
    """A policy that acts as another does and looks back with the solver, not at the first mistake.

    Args:
        policy: the small model with a history; acts.
    """

    def __init__(self, policy: TinyPolicy) -> None:
        self.name = f"late-tau({policy.name})"
        self.prompts = policy.prompts
        self._policy = policy
        self.tokenize = policy.tokenize

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        if not messages[-1]["content"].endswith("failed"):
            return await self._policy.complete(messages, sampling)
        boards = [m["content"].split("\n")[1:5] for m in messages if m["role"] == "user"]
        actions = [m["content"] for m in messages if m["role"] == "assistant"]
        return Completion(text=_late_answer(boards, actions, random.Random(sampling.seed)))


def _late_answer(boards: list[list[str]], actions: list[str], dice: random.Random) -> str:
    """One of the mistakes at which there was still time to win, the first only if it is alone."""
    far = [_distance(rows) for rows in boards]
    mendable = [
        step
        for step, (before, after) in enumerate(pairwise(far))
        if before is not None
        and before <= SMALL.steps - step
        and (after is None or after >= before)
    ]
    if not mendable:
        return "none"
    step = dice.choice(mendable[1:] or mendable)
    board = _board(boards[step])
    nearer = [a for a in ACTIONS if distance(move(board, board.offset(a))) == far[step] - 1]  # type: ignore[operator]
    return f"s{step} {' '.join(boards[step])} not {actions[step]} but {dice.choice(nearer)}"


def _distance(rows: list[str]) -> int | None:
    return distance(_board(rows))


def _board(rows: list[str]) -> Board:
    wall = "#" * (len(rows[0]) + 2)
    text = "\n".join([wall, *(f"#{row}#" for row in rows), wall])
    return Board.of(text.encode("ascii"))
