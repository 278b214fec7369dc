"""Generated levels, their canonical form, their splits and their tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.envs.sokoban.levels import Shape, generate
from leafe_gym.envs.sokoban.parse import parse_board, parse_rows
from leafe_gym.envs.sokoban.rules import Board
from leafe_gym.envs.sokoban.symmetry import canonical, split_of, symmetries
from leafe_gym.envs.tasks import SPLITS, TaskList, tasks
from leafe_gym.errors import UsageError

SHAPE = Shape(rows=6, cols=7, boxes=2, inner_walls=(1, 4), pulls=8)
seeds = st.integers(0, 2**32)


def level(seed: int, split: str | None = None) -> Board:
    return generate(SHAPE, np.random.default_rng(seed), split)


@given(seeds, st.integers(0, 3), st.integers(0, 3))
def test_canonical_form_ignores_symmetry_and_padding(seed: int, above: int, left: int) -> None:
    board = level(seed)
    rows = board.text.split("\n")
    blank = "#" * (left + len(rows[0]) + 1)
    padded = [blank] * above + ["#" * left + row + "#" for row in rows]
    forms = {canonical(parse_rows(turned)) for turned in [*symmetries(rows), *symmetries(padded)]}
    assert forms == {canonical(board)}
    assert {split_of(parse_rows(turned)) for turned in symmetries(rows)} == {split_of(board)}


def test_canonical_form_ignores_floor_out_of_reach() -> None:
    plain = parse_board("#####\n#@$.#\n#####")
    with_yard = parse_board("-------\n-#####-\n-#@$.#-\n-#####-\n##-#---")
    assert canonical(plain) == canonical(with_yard)
    assert canonical(plain) != canonical(parse_board("######\n#@-$.#\n######"))


@given(seeds)
def test_levels_are_proper(seed: int) -> None:
    board = level(seed)
    assert board == parse_board(board.text)
    assert (board.boxes, board.placed, len(board.text)) == (2, 0, 6 * 8 - 1)
    inner_walls = board.text.count("#") - (6 * 7 - 4 * 5)
    assert inner_walls >= 1


def test_levels_differ() -> None:
    assert len({canonical(level(seed)) for seed in range(100)}) > 95


@given(seeds, st.sampled_from(SPLITS))
def test_levels_are_of_the_split_asked_for(seed: int, split: str) -> None:
    assert split_of(level(seed, split)) == split


def test_splits_hold_different_levels() -> None:
    forms: dict[str, str] = {}
    for split in SPLITS:
        env = SokobanEnv(size=5, boxes=1, split=split)
        for seed in range(200):
            env.reset(seed=seed)
            assert forms.setdefault(canonical(env.board), split) == split
    assert len(forms) > 25


def test_a_room_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no level found .* use a larger size"):
        SokobanEnv(size=(3, 5), boxes=1, inner_walls=(2, 2)).reset(seed=0)
    with pytest.raises(UsageError, match="no level of split 'val' found"):
        SokobanEnv(size=(3, 6), boxes=1, inner_walls=(0, 0), split="val").reset(seed=0)


def test_levels_do_not_depend_on_the_process() -> None:
    code = (
        "from leafe_gym.envs.sokoban.env import SokobanEnv\n"
        "for split in (None, 'test'):\n"
        "    env = SokobanEnv(split=split)\n"
        "    print([env.reset(seed=s)[0] for s in range(5)], env.reset()[0])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
        ).stdout
        for salt in ("0", "1")
    }
    assert len(outputs) == 1
    assert b"$" in outputs.pop()


def test_this_level_stays_the_level_of_its_seed() -> None:
    """Published results name seeds: a change of the generator needs a new version of the id."""
    assert SokobanEnv().reset(seed=7)[0].split("\n") == [
        "#######",
        "#----##",
        "#-#---#",
        "#-----#",
        "#+$$#-#",
        "#.----#",
        "#######",
    ]


def test_generated_tasks() -> None:
    train = tasks("leafe/Sokoban-v0")
    assert len(train) == 10_000
    assert train[7].id == "leafe/Sokoban-v0:train:7"
    assert (train[7].kwargs, train[7].split, train[7].seed) == ({"split": "train"}, "train", 7)
    assert isinstance(train, TaskList)
    assert not train.may_repeat_across_splits
    task = tasks("leafe/Sokoban-v0", "val")[3]
    env = gym.make(task.env_id, **task.kwargs)
    observation, _ = env.reset(seed=task.seed)
    assert split_of(parse_board(observation)) == "val"


def test_arguments_are_in_the_task_and_its_id() -> None:
    small = SokobanEnv.tasks("test", size=(6, 6), boxes=1)[0]
    assert small.kwargs == {"size": [6, 6], "boxes": 1, "split": "test"}
    assert small.id != SokobanEnv.tasks("test")[0].id
    # The same levels have the same ids, however they were asked for.
    assert small.id == SokobanEnv.tasks("test", size=6, boxes=1, pulls=10)[0].id
    assert SokobanEnv.tasks("test", size=7)[0].id == "leafe/Sokoban-v0:test:0"


def test_tasks_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "levels.txt"
    texts = [level(seed).text for seed in range(60)]
    path.write_text("".join(f"; {n}\n{text}\n\n" for n, text in enumerate(texts)))
    listed = {split: SokobanEnv.tasks(split, data=path) for split in (*SPLITS, "all")}
    numbers = {split: {task.kwargs["level"] for task in listed[split]} for split in listed}
    assert numbers["all"] == set(range(60))
    assert sorted(n for split in SPLITS for n in numbers[split]) == list(range(60))
    assert {task.id for task in listed["val"]} < {task.id for task in listed["all"]}
    task = listed["test"][0]
    assert task.kwargs == {"data": os.fspath(path), "level": task.kwargs["level"]}
    assert task.id.startswith("leafe/Sokoban-v0:levels.txt@")
    env = gym.make(task.env_id, **task.kwargs)
    assert env.reset(seed=task.seed)[0] == texts[task.kwargs["level"]]
    assert read_levels(path).splits[task.kwargs["level"]] == task.split == "test"


@pytest.mark.parametrize(
    ("split", "kwargs", "message"),
    [
        ("all", {}, "use one of train, val, test"),
        ("dev", {}, "use one of"),
        ("test", {"level": 3}, "level=3 selects one task"),
        ("test", {"colour": "red"}, "unknown arguments colour; there are boxes"),
        ("test", {"size": 2}, "size=2"),
        ("test", {"data": 3}, "give the path"),
        ("test", {"levels": "absent.txt"}, "there is no absent.txt"),
    ],
)
def test_tasks_refused(split: str, kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SokobanEnv.tasks(split, **kwargs)
