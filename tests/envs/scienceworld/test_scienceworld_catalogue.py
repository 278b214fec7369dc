"""ScienceWorld without Java: what there is to play, words, and what is said where a part misses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.envs.java import runtime as java_runtime
from leafe_gym.envs.java.py4j_client import _decoded, _encoded
from leafe_gym.envs.scienceworld.refusals import refusal
from leafe_gym.envs.scienceworld.task_catalogue import (
    NUMBERS,
    TASKS,
    VARIATIONS,
    task_of,
    variations,
)
from leafe_gym.envs.tasks import SPLITS
from leafe_gym.errors import MissingExtra, UsageError

ENV = "leafe/ScienceWorld-v0"


def test_splits_hold_each_variation_once() -> None:
    assert len(TASKS) == len(NUMBERS) == 30
    assert task_of("1-1") == "boil"
    assert task_of("10-2") == "mendelian-genetics-unknown-plant"
    for task in TASKS:
        parts = [set(variations(task, split)) for split in SPLITS]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == VARIATIONS[task]


def test_task_lists() -> None:
    listed = {split: lg.tasks(ENV, split) for split in SPLITS}
    assert sum(map(len, listed.values())) == sum(VARIATIONS.values())
    ids = [task.id for tasks in listed.values() for task in tasks]
    assert len(set(ids)) == len(ids)
    # The first of a split are of different tasks.
    assert {task.kwargs["task"] for task in listed["test"][:30]} == set(TASKS)
    some = lg.tasks(ENV, "val", task="4-3", simplifications=["openDoors"], max_steps=20)
    assert len(some) == 75
    assert some[0].kwargs == {
        "task": "find-plant",
        "variation": 150,
        "simplifications": "openDoors",
        "max_steps": 20,
    }
    assert some[0].id != lg.tasks(ENV, "val", task="4-3")[0].id


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"task": "boiling"}, "use one of boil, melt"),
        ({"task": "boil", "variation": 30}, "boil has 0 to 29"),
        ({"task": "boil", "variation": 0, "split": "test"}, "split test, has 21 to 29"),
        ({"variation": 1}, "variation=1 needs task="),
        ({"split": "dev"}, "train, val, test"),
        ({"simplifications": "openWindows"}, "use 'easy' alone, or some of teleportAction"),
        ({"simplifications": "easy,openDoors"}, "use 'easy' alone"),
        ({"task": "3-1", "simplifications": "noElectricalAction"}, "leave it out"),
        ({"max_steps": 0}, "whole number"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gym.make(ENV, **kwargs)


def test_wrong_task_lists() -> None:
    for kwargs, said in (
        ({"split": "dev"}, "train, val, test"),
        ({"split": "val", "variation": 3}, "drop it"),
        ({"split": "val", "task": "none"}, "use one of boil"),
    ):
        with pytest.raises(UsageError, match=said):
            lg.tasks(ENV, **kwargs)


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_runtime, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[scienceworld\]'"):
        gym.make(ENV)

    class Empty:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(java_runtime, "find_spec", lambda name: Empty)
    with pytest.raises(UsageError, match=r"scienceworld.jar is missing; install it again: pip"):
        gym.make(ENV)
    (tmp_path / "scienceworld.jar").touch()
    monkeypatch.setitem(sys.modules, "py4j.java_gateway", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[scienceworld\]'"):
        gym.make(ENV)


def test_a_java_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get install default-jre-headless"):
        java_runtime.java_command()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"has no bin/java; install one"):
        java_runtime.java_command()
    command = tmp_path / "bin" / "java"
    command.parent.mkdir()
    command.touch(0o755)
    assert java_runtime.java_command() == str(command)


def test_refusals() -> None:
    for said in (
        "No known action matches that input.",
        "Ambiguous request: Please enter the number for the action you intended (or blank to "
        "cancel):\n0:\tlook at door\n",
        "The door is not open.",
        "The stove is already activated.",
        "It's not clear how to read that.",
    ):
        assert refusal(said) == said
    for said in (
        "The door is now open.",
        "You move to the kitchen.",
        "You decide to wait for 10 iterations.",
        "This room is called the hallway. In it, you see: \n\ta door (that is closed)\n",
    ):
        assert refusal(said) == ""


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_survive_the_wire(text: str) -> None:
    encoded = _encoded(text)
    assert not {"\n", "\r"} & set(encoded)
    assert _decoded(encoded) == text
