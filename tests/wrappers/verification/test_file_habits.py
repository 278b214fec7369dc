"""Environments that write, look at and remove ordinary files are verified all the same."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg


def replace(folder: Path) -> None:
    Path("new.txt").write_text("1")
    os.replace("new.txt", "old.txt")


def write_and_remove(folder: Path) -> None:
    path = folder / "made.txt"
    path.write_text("1")
    assert path.exists()
    path.unlink()
    assert not path.exists()


def append(folder: Path) -> None:
    number = os.open(folder / "old.txt", os.O_APPEND | os.O_WRONLY)
    os.write(number, b"more")
    os.close(number)
    assert (folder / "old.txt").read_text().endswith("more")


def parent(folder: Path) -> None:
    with open("../beside.txt", "a") as file:
        file.write("1")


def database(folder: Path) -> None:
    with sqlite3.connect("rows.db") as rows:
        rows.execute("insert into t values (1)")


def shell(folder: Path) -> None:
    subprocess.run(["sh", "-c", "echo more >> old.txt"], check=True)


class Files(gym.Env[int, int]):
    observation_space = gym.spaces.Discrete(10**6)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, habit: Any, folder: str) -> None:
        self.habit, self.folder = habit, Path(folder)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.habit(self.folder)
        return 0, {}

    def step(self, action: int) -> Any:
        self.count += 1 + int(action)
        return self.count, 0.0, False, False, {}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.parametrize("habit", [replace, write_and_remove, append, parent, database, shell])
def test_a_habit(habit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "old.txt").write_text("0")
    with sqlite3.connect("rows.db") as rows:
        rows.execute("create table t (n)")
    before = contents(tmp_path)
    env = Files(habit, str(here))
    during: list[bool] = []

    def first(folder: Path) -> None:
        during.append(contents(tmp_path) == before)

    wrapped = lg.RollbackWrapper(env, factory=lambda: Files(habit, str(here)))
    env.habit = first
    wrapped.reset(seed=0)
    assert during == [True]
    assert wrapped.backend_report.proved, str(wrapped.backend_report)
