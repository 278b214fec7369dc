"""Quality of the small model's reflections, judged by the solver."""

from __future__ import annotations

from collections.abc import Iterable

from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import Board, move
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.evals.reproduce.mistakes import episode_distances, mistakes
from leafe_gym.tree import Tree
from leafe_gym.types import Json


def reflection_quality(trees: Iterable[Tree]) -> Json:
    """Parse rate; and of the reflections that opened a branch: tau exact, in time, advice right.

    Exact: tau is the first action that is on no shortest solution. In time: tau is not after it.
    Right: the advised action begins a shortest solution from the board at tau. A repeated
    reflection parses and is not judged again.
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
                steps = [step for step in tree.history(branch.id) if step.action is not None]
                far = episode_distances(tree.start.observation, steps[: tau + 1])
                first = next(iter(mistakes(far)), None)
                exact += first == tau
                early += first is None or first >= tau
                board = steps[tau - 1].observation if tau else tree.start.observation
                advised = reflection.experience.text.split()[-1]
                right += _shortens(parse_board(board), advised)
    return {
        "reflections": asked,
        "parsed": (judged + repeated) / max(1, asked),
        "tau_exact": exact / max(1, judged),
        "tau_in_time": early / max(1, judged),
        "advice_right": right / max(1, judged),
    }


def _shortens(board: Board, action: str) -> bool:
    before = distance(board)
    after = distance(move(board, board.offset(action)))
    return before is not None and after is not None and after < before
