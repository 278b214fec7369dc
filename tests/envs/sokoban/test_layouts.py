"""Splits by layout."""

from __future__ import annotations

import numpy as np
import pytest

from leafe_gym.envs.sokoban.layouts import layout_split
from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.symmetry import canonical, layout
from leafe_gym.errors import UsageError
from leafe_gym.evals.reproduce.levels import LevelSet

BOARD = "######\n#@---#\n#-$-.#\n#----#\n#-#--#\n######"
SAME = (
    "######\n#----#\n#-@$.#\n#----#\n#-#--#\n######",  # another state of it
    "######\n#-@--#\n#.-$-#\n#----#\n#--#-#\n######",  # mirrored
    "######\n#----#\n#$--+#\n#----#\n#-#--#\n######",  # on the target
)
OTHERS = (
    "######\n#@---#\n#-$-.#\n#----#\n#----#\n######",
    "######\n#@---#\n#-$--#\n#---.#\n#-#--#\n######",
)


@pytest.mark.parametrize("text", SAME)
def test_states_of_a_level_share_its_layout(text: str) -> None:
    board, other = parse_board(BOARD), parse_board(text)
    assert layout(board) == layout(other)
    assert layout_split(board) == layout_split(other)
    assert canonical(board) != canonical(other)


@pytest.mark.parametrize("text", OTHERS)
def test_other_walls_or_targets_are_another_layout(text: str) -> None:
    assert layout(parse_board(BOARD)) != layout(parse_board(text))


def test_no_state_of_a_training_level_is_a_state_of_a_test_level(counts) -> None:  # type: ignore[no-untyped-def]
    size = counts(12, 100)
    train, test = (LevelSet.of_layouts(split, size) for split in ("train", "test"))
    states = [{row.tobytes() for row in np.asarray(one.rows)} for one in (train, test)]
    assert len(states[0]) > 100
    assert not states[0] & states[1]
    assert len({task.id for task in test.tasks}) == size


def test_too_few_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leafe_gym.envs.sokoban.layouts.TRIES", 1)
    with pytest.raises(UsageError, match="the split 'val' has"):
        LevelSet.of_layouts("val", 20, inner_walls=[0, 0])
