"""An oracle control: the small model, told by the solver which step to go back to.

Only the step comes from the solver. The advice is drawn at random, and the control that uses this
withholds it, so that what is measured is the worth of a right tau alone. That bounds a tree from
above only where the model could find the right action by itself, which a blind one cannot.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from leafe_gym.envs.sokoban.rules import ACTIONS, Board
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.tiny.policy import TinyPolicy
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


def _distance(rows: list[str]) -> int | None:
    wall = "#" * (len(rows[0]) + 2)
    text = "\n".join([wall, *(f"#{row}#" for row in rows), wall])
    return distance(Board.of(text.encode("ascii")))
