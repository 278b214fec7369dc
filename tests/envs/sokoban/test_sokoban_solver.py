"""The solver against brute force on small boards, and on real levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.levels import Shape, generate
from leafe_gym.envs.sokoban.parse import LevelFault, parse_board
from leafe_gym.envs.sokoban.rules import Board, move, offsets
from leafe_gym.envs.sokoban.solver import SolverLimit, distance, solve

MANY = 10  # boxes, more than the solver assigns to targets exactly


def replay(board: Board, actions: list[str]) -> Board:
    for action in actions:
        board = move(board, board.offset(action))
    return board


def brute_force(board: Board) -> int | None:
    """Breadth-first search over single moves, by the rules alone."""
    seen, ring, depth = {board}, [board], 0
    while ring:
        if any(found.won for found in ring):
            return depth
        following = []
        for found in ring:
            for offset in offsets(board.width).values():
                after = move(found, offset)
                if after not in seen:
                    seen.add(after)
                    following.append(after)
        ring, depth = following, depth + 1
    return None


@st.composite
def tiny_boards(draw: st.DrawFn) -> Board:
    """Boards of 3x3 or 3x4 cells inside with one or two boxes, solvable or not."""
    cols = draw(st.integers(3, 4))
    boxes = draw(st.integers(1, 2))
    cells = draw(st.permutations(range(3 * cols)))
    symbols = dict(zip(cells, "@" + "$" * boxes + "." * boxes + "#", strict=False))
    inside = [[symbols.get(row * cols + col, "-") for col in range(cols)] for row in range(3)]
    rows = ["#" * (cols + 2), *("#" + "".join(row) + "#" for row in inside), "#" * (cols + 2)]
    return parse_board("\n".join(rows))


@given(tiny_boards())
@settings(max_examples=150)
def test_optimal_on_tiny_boards(board: Board) -> None:
    best = brute_force(board)
    assert distance(board) == best
    greedy = solve(board, optimal=False)
    assert (greedy is None) == (best is None)
    if greedy is not None and best is not None:
        assert replay(board, greedy).won
        assert len(greedy) >= best


@given(st.integers(0, 2**32), st.integers(5, 7), st.integers(1, 2))
@settings(max_examples=60)
def test_generated_levels_are_solvable(seed: int, size: int, boxes: int) -> None:
    shape = Shape(rows=size, cols=size, boxes=boxes, inner_walls=(0, 2), pulls=6)
    board = generate(shape, np.random.default_rng(seed))
    actions = solve(board)
    assert actions is not None
    assert len(actions) > boxes
    assert replay(board, actions).won


def test_distance_counts_down_along_a_solution() -> None:
    shape = Shape(rows=7, cols=7, boxes=2, inner_walls=(3, 6), pulls=20)
    board = generate(shape, np.random.default_rng(5))
    actions = solve(board)
    assert actions is not None
    for done in range(len(actions) + 1):
        assert distance(replay(board, actions[:done])) == len(actions) - done


def test_won_and_lost() -> None:
    won = replay(parse_board("#####\n#@$.#\n#####"), ["right"])
    assert distance(won) == 0
    assert solve(won) == []
    assert distance(parse_board("#####\n#$@-#\n#--.#\n#####")) is None


def test_limit() -> None:
    shape = Shape(rows=9, cols=9, boxes=3, inner_walls=(0, 0), pulls=30)
    board = generate(shape, np.random.default_rng(0))
    with pytest.raises(SolverLimit, match="within 3 nodes; pass a larger limit"):
        solve(board, limit=3)


def test_many_boxes() -> None:
    side = "#" * (MANY + 2)
    rows = [side, "#" + "-" * MANY + "#", "#" + "$" * MANY + "#", "#" + "." * MANY + "#", side]
    board = parse_board("\n".join(rows).replace("#-", "#@", 1))
    assert distance(board) == MANY + 2 * (MANY - 1)
    stuck = parse_board(board.text.replace("#$", "#-").replace("@-", "@$"))
    assert distance(stuck) is None


def _real(data_dir: Path, name: str) -> tuple[Board, ...]:
    path = data_dir / "boxoban" / name
    if not path.is_file():
        pytest.skip(f"real data absent: {path}")
    return read_levels(path).boards


def test_boxoban_solutions_win(data_dir: Path, counts: Callable[[int, int], int]) -> None:
    for board in _real(data_dir, "unfiltered-train-000.txt")[: counts(6, 60)]:
        shortest, some = solve(board), solve(board, optimal=False)
        assert shortest is not None
        assert some is not None
        assert replay(board, shortest).won
        assert replay(board, some).won
        assert len(shortest) <= len(some)


def test_harder_boxoban_levels_greedily(data_dir: Path, counts: Callable[[int, int], int]) -> None:
    for board in _real(data_dir, "medium-train-000.txt")[: counts(10, 60)]:
        actions = solve(board, optimal=False)
        assert actions is not None
        assert replay(board, actions).won


def test_a_board_is_needed() -> None:
    with pytest.raises(LevelFault):
        distance(parse_board("nothing"))
