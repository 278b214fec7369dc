"""How good the small model's looking back is, judged by the solver."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import Board, move
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.tree import Tree
from leafe_gym.types import Json


def reflector_quality(trees: Iterable[Tree]) -> Json:
    """Parse rate, and of the reflections that opened a branch: tau exact, in time, advice right.

    Exact means the first step that was not on a shortest way. Advice is right if the action it
    names begins a shortest way from the board at tau. A repetition parses and is not judged twice.
    """
    asked = repeated = judged = exact = early = right = 0
    for tree in trees:
        for branch in tree.branches:
            for reflection in branch.reflections:
                asked += 1
                if reflection.experience is None:
                    repeated += reflection.verdict == "repeat"
                    continue
                judged += 1
                tau = reflection.experience.step
                steps = tree.history(branch.id)
                boards = [tree.start.observation, *(s.observation for s in steps if s.action)]
                far = [distance(parse_board(board)) for board in boards[: tau + 2]]
                first = next(
                    (
                        n
                        for n, (a, b) in enumerate(pairwise(far))
                        if a is not None and (b is None or b >= a)
                    ),
                    None,
                )
                exact += first == tau
                early += first is None or first >= tau
                advised = reflection.experience.text.split()[-1]
                right += _nearer(parse_board(boards[tau]), advised)
    return {
        "reflections": asked,
        "parsed": (judged + repeated) / max(1, asked),
        "tau_exact": exact / max(1, judged),
        "tau_in_time": early / max(1, judged),
        "advice_right": right / max(1, judged),
    }


def _nearer(board: Board, action: str) -> bool:
    before = distance(board)
    after = distance(move(board, board.offset(action)))
    return before is not None and after is not None and after < before
