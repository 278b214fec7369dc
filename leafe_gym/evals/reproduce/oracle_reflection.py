"""Oracle controls: the small model acts, the solver supplies part of the reflection.

`OracleTau` names the first mistake. Only the step comes from the solver; the advice is random, and
the control that uses it withholds the advice, so that it measures the effect of a correct tau
alone. It bounds a tree from above only if the model could find the right action by itself, which a
blind model cannot.

`LateTau` is for another question: what a revised action teaches when its history holds a mistake.
A reflection that names the first mistake never rolls back to such a state. This one names a later
mistake from which the level can still be won, with the solver's advice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from leafe_gym.envs.sokoban.rules import ACTIONS, move
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.evals.reproduce.mistakes import mistakes, room_board
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import SMALL
from leafe_gym.types import Completion, Message, Sampling


class OracleTau:
    """A policy that acts as another one and names the first mistake by the solver.

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
        lines = messages[-1]["content"].split("\n")
        if lines[-1] != "failed":
            return await self._policy.complete(messages, sampling)
        return Completion(text=_first_mistake(lines, random.Random(sampling.seed)))


def _first_mistake(lines: list[str], rng: random.Random) -> str:
    heads = [at for at, line in enumerate(lines) if line[0] == "s" and line[1:].isdigit()]
    boards: list[list[str]] = []
    actions: list[str] = []
    for at, end in pairwise([*heads, len(lines)]):
        boards.append(lines[at + 1 : end - 1])
        actions.append(lines[end - 1])
    found = mistakes([distance(room_board(rows)) for rows in boards])
    if not found:
        return "none"
    step = found[0]
    other = rng.choice([action for action in ACTIONS if action != actions[step]])
    return f"s{step} {' '.join(boards[step])} not {actions[step]} but {other}"


class LateTau:
    """A policy that acts as another one and names a later mistake by the solver.

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
        return Completion(text=_late_mistake(boards, actions, random.Random(sampling.seed)))


def _late_mistake(boards: list[list[str]], actions: list[str], rng: random.Random) -> str:
    """A mistake before which there was still time to win; the first one only if it is alone."""
    far = [distance(room_board(rows)) for rows in boards]
    in_time = [step for step in mistakes(far) if (far[step] or 0) <= SMALL.steps - step]
    if not in_time:
        return "none"
    step = rng.choice(in_time[1:] or in_time)
    board = room_board(boards[step])
    best = [a for a in ACTIONS if distance(move(board, board.offset(a))) == far[step] - 1]  # type: ignore[operator]
    return f"s{step} {' '.join(boards[step])} not {actions[step]} but {rng.choice(best)}"
