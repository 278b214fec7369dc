"""All positions as arrays agree with the environment and its solver."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.envs.sokoban.graph import NEVER, StateGraph
from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import ACTIONS, Board
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.errors import UsageError

ROOM = {"size": 6, "boxes": 1, "inner_walls": (0, 3), "max_steps": 12}


def boards(count: int, **kwargs: object) -> list[object]:
    env = gym.make("leafe/Sokoban-v0", disable_env_checker=True, **{**ROOM, **kwargs}).unwrapped
    found = []
    for seed in range(count):
        env.reset(seed=seed)
        found.append(env.board)  # type: ignore[attr-defined]
    return found


@given(st.integers(0, 19), st.lists(st.sampled_from(range(4)), max_size=15))
def test_graph_follows_environment(level: int, actions: list[int]) -> None:
    graph = StateGraph.of(boards(20)[level : level + 1])
    env = gym.make("leafe/Sokoban-v0", disable_env_checker=True, **ROOM).unwrapped
    observation, _ = env.reset(options={"board": graph.boards[0]})
    state = int(graph.starts[0])
    for action in actions:
        before = observation
        observation, _, won, truncated, _ = env.step(ACTIONS[action])
        pushed = graph.pushes[state, action]
        state = int(graph.next[state, action])
        assert graph.boards[state] == observation
        assert bool(graph.won[state]) == won
        boxes = [i for i, cell in enumerate(before) if cell in "$*"]
        assert pushed == (boxes != [i for i, cell in enumerate(observation) if cell in "$*"])
        if won or truncated:
            return


def test_distances_are_the_solvers() -> None:
    graph = StateGraph.of(boards(6))
    for state in range(0, len(graph.boards), 7):
        expected = distance(Board.of(graph.boards[state].encode()))
        assert graph.distance[state] == (NEVER if expected is None else expected)


def test_blind_pushes_needed_on_hand_made_levels() -> None:
    corridor = parse_board("#######\n#@$--.#\n#######")
    graph = StateGraph.of([corridor])
    right = graph.pushes & (np.array(ACTIONS) == "right")
    assert graph.blind_needed(right)[graph.starts[0]] == 3
    left = graph.pushes & (np.array(ACTIONS) == "left")
    assert graph.blind_needed(left)[graph.starts[0]] == 0


def test_solution_lengths_are_kept_and_tasks_named_apart() -> None:
    lengths = [distance(board) for board in boards(30, solution=(6, 8))]
    assert set(lengths) <= {6, 7, 8}
    assert len(set(lengths)) > 1
    plain = lg.tasks("leafe/Sokoban-v0", size=6, boxes=1)[0].id
    assert lg.tasks("leafe/Sokoban-v0", size=6, boxes=1, solution=[6, 8])[0].id != plain


@pytest.mark.parametrize("solution", [(8, 6), (0, 3), 5, (1, 2, 3), ("a", "b")])
def test_bad_solution_lengths(solution: object) -> None:
    with pytest.raises(UsageError, match="solution"):
        gym.make("leafe/Sokoban-v0", solution=solution)
