"""ALFWorld's games: generated ones, the official folders, and files that are wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.envs.alfworld.game_file import FILE
from leafe_gym.envs.alfworld.generate import RoomLayout, generate
from leafe_gym.envs.alfworld.official_files import SPLITS, write_game
from leafe_gym.envs.alfworld.room_tables import LAMP, TASK_TYPES, fits
from leafe_gym.errors import MissingExtra, UsageError

needs_library = pytest.mark.skipif(
    find_spec("alfworld") is None or find_spec("fast_downward") is None,
    reason="pip install 'leafe-gym[alfworld]'",
)
ENV = "leafe/ALFWorld-v0"


@pytest.fixture(autouse=True)
def no_official_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`$ALFWORLD_DATA` in the official layout, with one game of each type and split."""
    from leafe_gym.envs.alfworld.env import _trials

    for at, task_type in enumerate(TASK_TYPES):
        for split in SPLITS:
            write_game(generate(at, [task_type], split), tmp_path)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    yield tmp_path
    _trials.cache_clear()


def changed(folder: Path, **content: Any) -> Path:
    """Some game of the folder with other content; None takes a key away."""
    path = next((folder / "json_2.1.1" / "train").rglob(FILE))
    data = {**json.loads(path.read_text()), **content}
    path.write_text(json.dumps({key: one for key, one in data.items() if one is not None}))
    return path


# Generated


def test_splits_hold_different_games() -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        layouts = [generate(seed, split=split) for seed in range(300)]
        assert {layout.split for layout in layouts} == {split}
        seen[split] = {layout.digest for layout in layouts}
        assert len(seen[split]) > 290
        assert set(Counter(layout.task_type for layout in layouts)) == set(TASK_TYPES)
    assert not seen["train"] & seen["val"]
    assert not (seen["train"] | seen["val"]) & seen["test"]


@given(st.integers(0, 2**64), st.sampled_from(TASK_TYPES))
def test_generated_layouts_begin_unsolved_and_can_be_solved(seed: int, task_type: str) -> None:
    layout = generate(seed, [task_type])
    assert layout == generate(seed, [task_type])
    wanted = [place for kind, place in layout.things if kind == layout.target]
    assert len(wanted) >= 1 + (task_type == "pick_two_obj_and_place")
    assert all(layout.receptacles[place] != layout.parent for place in wanted)
    assert all(
        kind == LAMP or layout.receptacles[place] in fits(kind) for kind, place in layout.things
    )
    if task_type == "look_at_obj_in_light":
        assert any(kind == LAMP for kind, _ in layout.things)
    else:
        assert layout.parent in layout.receptacles


def test_the_digest_sees_content_not_order() -> None:
    one = RoomLayout(
        "pick_and_place_simple", "Mug", "Desk", ("Desk", "Bed"), (("Mug", 1), ("CD", 0))
    )
    same = RoomLayout(
        "pick_and_place_simple", "Mug", "Desk", ("Bed", "Desk"), (("CD", 1), ("Mug", 0))
    )
    other = RoomLayout(
        "pick_and_place_simple", "Mug", "Desk", ("Desk", "Bed"), (("Mug", 1), ("CD", 1))
    )
    assert one.digest == same.digest != other.digest


def test_task_lists_of_generated_games() -> None:
    listed = lg.tasks(ENV, "val", games="generated", task_types=[4], max_steps=30)
    assert len(listed) == 10_000
    assert listed[7] == lg.tasks(ENV, "val", games="generated", task_types=[4], max_steps=30)[7]
    assert listed[7].kwargs["task_types"] == ["pick_heat_then_place_in_recep"]
    assert len({task.id for split in SPLITS for task in lg.tasks(ENV, split)[:50]}) == 150


# Official


@needs_library
def test_the_library_plays_our_folder(folder: Path) -> None:
    """The unmodified `AlfredTWEnv` finds every game; its planner wins each of a split."""
    before = sorted((folder / "json_2.1.1").rglob("*"))
    script = Path(__file__).with_name("play_with_alfworld.py")
    environ = {**os.environ, "ALFWORLD_DATA": str(folder)}
    run = subprocess.run(
        [sys.executable, str(script)], env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told == {
        "eval_out_of_distribution": {"found": 6, "won": 6},
        "eval_in_distribution": {"found": 6, "won": 0},
        "train": {"found": 6, "won": 0},
    }
    assert sorted((folder / "json_2.1.1").rglob("*")) == before


@needs_library
def test_we_play_an_official_folder(folder: Path) -> None:
    root = folder / "json_2.1.1"
    listed = {split: lg.tasks(ENV, split) for split in SPLITS}
    for split, name in SPLITS.items():
        assert [task.kwargs["trial"] for task in listed[split]] == sorted(
            path.parent.relative_to(root).as_posix() for path in (root / name).rglob(FILE)
        )
    argv = list(sys.argv)
    for task in listed["val"]:
        env = gym.make(task.env_id, **task.kwargs).unwrapped
        env.reset(seed=task.seed)
        plan = env.walkthrough()  # type: ignore[attr-defined]
        assert [env.step(command)[2] for command in plan][-1]
        env.close()
    assert sys.argv == argv
    env = gym.make(ENV, split="val", task_types=2).unwrapped
    assert "desklamp" in env.reset(seed=0)[1]["instruction"]


@needs_library
@pytest.mark.parametrize(
    "place", [".", "json_2.1.1", "relative", "LEAFE_DATA", "LEAFE_DATA/alfworld"]
)
def test_official_games_are_found_by_data_and_in_the_data_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    expected = [task.kwargs["trial"] for task in lg.tasks(ENV, "val")]
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.chdir("/")
    given: dict[str, Any] = {"data": str(folder / place)}
    if place == "relative":
        monkeypatch.setenv("LEAFE_DATA", str(folder.parent))
        given = {"data": folder.name}
    elif place.startswith("LEAFE_DATA"):
        (tmp_path / "alfworld").mkdir()
        inside = tmp_path / "alfworld" if place.endswith("alfworld") else tmp_path
        if inside != tmp_path:
            (tmp_path / "json_2.1.1").rename(inside / "json_2.1.1")
        monkeypatch.setenv("LEAFE_DATA", str(tmp_path))
        given = {}
    listed = lg.tasks(ENV, "val", **given)
    assert [task.kwargs["trial"] for task in listed] == expected
    assert listed[0].id == f"{ENV}:{expected[0]}", "ids do not depend on the folder"
    assert gym.make(ENV, **listed[0].kwargs).reset(seed=0)[0]


@needs_library
def test_data_can_be_one_game(folder: Path) -> None:
    path = next((folder / "json_2.1.1" / "train").rglob(FILE))
    for data in (path, path.parent):
        env = gym.make(ENV, data=str(data)).unwrapped
        env.reset(seed=0)
        assert env.game.name == str(path)  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="one game, not a folder"):
            lg.tasks(ENV, "train", data=str(data))
        with pytest.raises(UsageError, match="two games"):
            gym.make(ENV, data=str(data), trial="other")
    with pytest.raises(UsageError, match="drop games='generated'"):
        gym.make(ENV, data=str(folder), games="generated")
    with pytest.raises(UsageError, match=r"has no json_2\.1\.1"):
        gym.make(ENV, data=str(folder / "json_2.1.1" / "train"))


@needs_library
def test_games_that_alfworld_skips_are_skipped(folder: Path) -> None:
    root = folder / "json_2.1.1" / "train"
    games = sorted(path.parent for path in root.rglob(FILE))
    shutil.copytree(games[0], root / "pick_and_place_with_movable_recep-Mug-Pan-Desk-1" / "trial_1")
    shutil.copytree(games[0], root / "pick_and_place_simple-AppleSliced-None-Desk-1" / "trial_2")
    (games[1] / "traj_data.json").unlink()
    for name, value in (("solvable", False), ("solvable", None)):
        path = games[2 + (value is None)] / FILE
        data = {**json.loads(path.read_text()), name: value}
        path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    listed = lg.tasks(ENV, "train")
    assert len(listed) == len(games) - 3


# Wrong


@needs_library
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pddl_domain": None}, "pddl_domain missing"),
        ({"grammar": 5}, "grammar missing or not a string"),
        ({"solvable": False}, "marked as unsolvable"),
        ({"solvable": None}, "not marked as solvable"),
        ({"pddl_problem": "(define (problem x)"}, "planner cannot read it"),
        ({"grammar": "action {"}, "planner cannot read it"),
    ],
)
def test_wrong_games_are_refused(folder: Path, content: dict[str, Any], said: str) -> None:
    path = changed(folder, **content)
    env = gym.make(ENV, trial=str(path.parent)).unwrapped
    argv = list(sys.argv)
    with pytest.raises(UsageError, match=said) as refused:
        env.reset(seed=0)
    assert str(path) in str(refused.value)
    assert any(word in str(refused.value) for word in ("again", "leave it out"))
    assert sys.argv == argv
    # The environment is of use afterwards.
    good = gym.make(ENV, games="generated").unwrapped
    assert good.reset(seed=0)[0]


@needs_library
def test_an_unreachable_goal_is_refused(folder: Path) -> None:
    path = changed(folder)
    problem = json.loads(path.read_text())["pddl_problem"]
    stuck = "\n".join(line for line in problem.splitlines() if "(pickupable" not in line)
    changed(folder, pddl_problem=stuck)
    with pytest.raises(UsageError, match="goal cannot be reached; leave it out"):
        gym.make(ENV, trial=str(path)).reset(seed=0)


@needs_library
def test_wrong_files_and_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    broken = tmp_path / FILE
    for text, said in (("{", "cannot be read as JSON"), ("[1]", "holds list")):
        broken.write_text(text)
        with pytest.raises(UsageError, match=said):
            gym.make(ENV, trial=str(broken)).reset(seed=0)
    with pytest.raises(UsageError, match="there is no such game"):
        gym.make(ENV, trial=str(tmp_path / "trial_T")).reset(seed=0)
    for kwargs, said in (
        ({"games": "official"}, "alfworld-download"),
        ({"games": "free"}, "use one of auto"),
        ({"task_types": [7]}, "3 pick_clean_then_place"),
        ({"task_types": []}, "at least one"),
        ({"split": "valid_seen"}, "train, val, test"),
    ):
        with pytest.raises(UsageError, match=said):
            gym.make(ENV, **kwargs)
    with pytest.raises(UsageError, match="alfworld-download"):
        lg.tasks(ENV, "train", games="official")
    assert gym.make(ENV).unwrapped.config.games == "generated"  # type: ignore[attr-defined]


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "leafe_gym.envs.alfworld.planner_game", raising=False)
    monkeypatch.setitem(sys.modules, "fast_downward", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[alfworld\]'"):
        gym.make(ENV)
