"""Run folders: what is refused, what is read back, what damage looks like."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import leafe_gym as lg
from leafe_gym.errors import ConfigMismatch, StoreBusy, StoreCorrupt, StoreError, UsageError
from leafe_gym.store.records import read_tree, tree_json
from leafe_gym.types import Reflection

TASKS = [lg.Task(id=f"t{n}", env_id="me/T-v0", kwargs={"n": n}, seed=n) for n in range(3)]
CONFIG = {"agent": "x", "seed": 1}
TEXT = "né \ud800 \x00 \x1b[2J <|im_end|> \u202e"
STEP = lg.Step(action=TEXT, reply=TEXT, observation=TEXT, reward=-0.1, info={"won": False})


def branch(number: int, parent: int | None = None) -> lg.Branch:
    return lg.Branch(
        id=number,
        parent=parent,
        experience=None if parent is None else lg.Experience(step=0, text=TEXT),
        steps=(STEP, STEP),
        reflections=(Reflection(after=2, reply=TEXT, verdict="bad", reason="no"),),
    )


def finished_run(folder: Path) -> None:
    with lg.Run.open(folder, CONFIG, TASKS) as run:
        for number, task in enumerate(TASKS):
            start = lg.Start(observation=TEXT, instruction="do it")
            tree = lg.Tree(task=task, start=start, stopped="budget")
            run.opened(number, start)
            for item in (branch(0), branch(1, 0)):
                run.began(number, item.id)
                run.committed(number, item)
                tree.add(item)
            run.finished(number, tree)


def test_trees_come_back_as_they_were(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with lg.Run.read(tmp_path) as run:
        trees = list(run.trees())
    assert [tree.task.id for tree in trees] == ["t0", "t1", "t2"]
    assert trees[1].branches == [branch(0), branch(1, 0)]
    assert trees[1].start == lg.Start(observation=TEXT, instruction="do it")


def test_export_is_json_lines_that_read_back(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    with lg.Run.read(tmp_path / "run") as run:
        assert run.export(tmp_path / "trees.jsonl") == 3
        lines = (tmp_path / "trees.jsonl").read_text().splitlines()
        assert [tree_json(read_tree(json.loads(line))) for line in lines] == [
            tree_json(tree) for tree in run.trees()
        ]
        with pytest.raises(StoreError, match="cannot write the export"):
            run.export(tmp_path / "no" / "such" / "folder.jsonl")


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with pytest.raises(ConfigMismatch, match="another seed"):
        lg.Run.open(tmp_path, CONFIG | {"seed": 2}, TASKS)
    with pytest.raises(ConfigMismatch, match="other tasks"):
        lg.Run.open(tmp_path, CONFIG, TASKS[:2])
    lg.Run.open(tmp_path, CONFIG, TASKS).close()


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with lg.Run.open(tmp_path, CONFIG, TASKS):
        with pytest.raises(StoreBusy, match=f"process {os.getpid()} is writing"):
            lg.Run.open(tmp_path, CONFIG, TASKS)
        with lg.Run.read(tmp_path) as run:
            assert len(list(run.trees())) == 3
    lg.Run.open(tmp_path, CONFIG, TASKS).close()


def test_attempts_cut_short_are_counted_at_the_next_start(tmp_path: Path) -> None:
    with lg.Run.open(tmp_path, CONFIG, TASKS) as run:
        run.began(0, 0)
        run.began(0, 1)
        run.committed(0, branch(0))
        run.began(2, 0)
    with lg.Run.open(tmp_path, CONFIG, TASKS) as run:
        assert [run.repeated(number) for number in range(3)] == [1, 0, 1]
    with lg.Run.open(tmp_path, CONFIG, TASKS) as run:
        assert [run.repeated(number) for number in range(3)] == [1, 0, 1]


def test_a_task_that_begins_differently_is_refused(tmp_path: Path) -> None:
    with lg.Run.open(tmp_path, CONFIG, TASKS) as run:
        run.opened(0, lg.Start(observation="a"))
        run.opened(0, lg.Start(observation="a"))
        with pytest.raises(StoreCorrupt, match="began differently"):
            run.opened(0, lg.Start(observation="b"))


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here"):
        lg.Run.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the run folder"):
        lg.Run.open(tmp_path / "file", CONFIG, TASKS)
    finished_run(tmp_path / "run")
    with lg.Run.read(tmp_path / "run") as run, pytest.raises(UsageError, match="task 7"):
        run.tree(7)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    finished_run(tmp_path)
    from leafe_gym.store.records import checksum

    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        database.execute(
            "UPDATE meta SET value = '99', sum = ? WHERE key = 'format'", (checksum("99"),)
        )
    database.close()
    with pytest.raises(StoreError, match="format 99"):
        lg.Run.read(tmp_path)


def test_an_edited_row_is_noticed(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        database.execute("UPDATE branches SET body = replace(body, '-0.1', '-0.2')")
    database.close()
    with lg.Run.read(tmp_path) as run, pytest.raises(StoreCorrupt, match="checksum"):
        list(run.trees())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a finished run's file."""
    folder = tmp_path_factory.mktemp("sound")
    finished_run(folder)
    with sqlite3.connect(folder / "run.sqlite") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return (folder / "run.sqlite").read_bytes()


def check_damage(data: bytes, folder: Path) -> bool:
    """Reading damaged bytes gives the right trees or a store error; whether it was an error."""
    for leftover in folder.iterdir():
        leftover.unlink()
    (folder / "run.sqlite").write_bytes(data)
    try:
        with lg.Run.read(folder) as run:
            for tree in run.trees():
                assert tree.branches == [branch(0), branch(1, 0)]
    except StoreError:
        return True
    return False


def damage(sound: bytes, rng: random.Random) -> bytes:
    """A file as disks and people leave it behind."""
    kind = rng.choice(["flip", "noise", "cut", "drop", "zero", "garbage"])
    at = rng.randrange(len(sound))
    length = rng.choice([1, 3, 40, 400, 5000])
    if kind == "flip":
        return sound[:at] + bytes([sound[at] ^ (1 << rng.randrange(8))]) + sound[at + 1 :]
    if kind == "noise":
        return sound[:at] + rng.randbytes(length) + sound[at + length :]
    if kind == "cut":
        return sound[:at]
    if kind == "drop":
        return sound[:at] + sound[at + length :]
    if kind == "zero":
        return sound[:at] + bytes(length) + sound[at + length :]
    return rng.randbytes(length)


def test_damage_is_noticed(sound: bytes, tmp_path: Path, counts: Callable[[int, int], int]) -> None:
    rng = random.Random(0)
    noticed = sum(check_damage(damage(sound, rng), tmp_path) for _ in range(counts(120, 1000)))
    assert noticed > 10
