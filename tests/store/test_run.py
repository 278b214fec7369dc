"""Run folders: what is refused, what is read back, what damage looks like."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import leafe_gym as lg
from leafe_gym.errors import ConfigMismatch, StoreBusy, StoreCorrupt, StoreError, UsageError
from leafe_gym.store.records import checksum, read_tree, tree_json
from leafe_gym.store.writer import RunWriter
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
    with RunWriter(folder, CONFIG, TASKS) as run:
        for number, task in enumerate(TASKS):
            start = lg.Start(observation=TEXT, instruction="do it")
            tree = lg.Tree(task=task, start=start, stopped="budget")
            run.record_opened(number, start)
            for item in (branch(0), branch(1, 0)):
                run.record_began(number, item.id)
                run.record_committed(number, item)
                tree.add(item)
            run.record_finished(number, tree)


def test_trees_come_back_as_they_were(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with lg.RunReader(tmp_path) as run:
        trees = list(run.trees())
    assert [tree.task.id for tree in trees] == ["t0", "t1", "t2"]
    assert trees[1].branches == [branch(0), branch(1, 0)]
    assert trees[1].start == lg.Start(observation=TEXT, instruction="do it")


def test_export_is_json_lines_that_read_back(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    with lg.RunReader(tmp_path / "run") as run:
        assert run.export(tmp_path / "trees.jsonl") == 3
        lines = (tmp_path / "trees.jsonl").read_text().splitlines()
        assert [tree_json(read_tree(json.loads(line))) for line in lines] == [
            tree_json(tree) for tree in run.trees()
        ]
        with pytest.raises(StoreError, match="cannot write the export"):
            run.export(tmp_path / "no" / "such" / "folder.jsonl")


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with pytest.raises(ConfigMismatch, match="made with seed=1, now it is 2"):
        RunWriter(tmp_path, CONFIG | {"seed": 2}, TASKS)
    RunWriter(tmp_path / "nested", {"agent": {"k": 3}}, TASKS).close()
    with pytest.raises(ConfigMismatch, match=r"made with agent\.k=3, now it is null"):
        RunWriter(tmp_path / "nested", {"agent": {}}, TASKS)
    RunWriter(tmp_path, CONFIG, TASKS).close()


def test_a_run_grows_by_tasks_at_its_end(tmp_path: Path) -> None:
    more = [*TASKS, lg.Task(id="t3", env_id="me/T-v0"), lg.Task(id="t4", env_id="me/T-v0")]
    finished_run(tmp_path)
    with RunWriter(tmp_path, CONFIG, TASKS[:2]) as run:
        assert run.open_tasks() == []
        assert len(run.tasks()) == 3, "a shorter list takes nothing away"
    with RunWriter(tmp_path, CONFIG, more) as run:
        assert [(n, task.id) for n, task in run.open_tasks()] == [(3, "t3"), (4, "t4")]
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        assert run.open_tasks() == [], "open tasks that were not asked for are left alone"
    with lg.RunReader(tmp_path) as run:
        assert run.tasks() == more


@pytest.mark.parametrize(
    "tasks",
    [
        [TASKS[1], TASKS[0], TASKS[2]],
        [TASKS[0], lg.Task(id="t1", env_id="me/T-v0", kwargs={"n": 9}, seed=1), TASKS[2]],
        [lg.Task(id="other", env_id="me/T-v0"), *TASKS],
    ],
)
def test_other_tasks_are_refused_by_name(tmp_path: Path, tasks: list[lg.Task]) -> None:
    finished_run(tmp_path)
    with pytest.raises(ConfigMismatch, match=r"task \d of this run is 't\d' .*now it is"):
        RunWriter(tmp_path, CONFIG, tasks)


def test_a_failure_leaves_a_task_open_and_is_told(tmp_path: Path) -> None:
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        run.record_failure(1, "no Java \ud800")
        assert len(run.open_tasks()) == 3
        assert run.failures() == {1: "no Java ?"}
        tree = lg.Tree(task=TASKS[1], start=lg.Start(observation="go"), stopped="budget")
        run.record_opened(1, tree.start)
        run.record_finished(1, tree)
        assert [n for n, _ in run.open_tasks()] == [0, 2]
        assert run.failures() == {}


def read_only_copy(folder: Path, target: Path, *, live: bool) -> Path:
    """The run's files where nobody may write, as a root-proof check: opened as immutable."""
    target.mkdir()
    for name in ("run.sqlite", "run.sqlite-wal") if live else ("run.sqlite",):
        (target / name).write_bytes((folder / name).read_bytes())
        (target / name).chmod(0o444)
    target.chmod(0o555)
    return target


@pytest.mark.parametrize("live", [False, True])
def test_a_folder_that_cannot_be_written_is_read(
    tmp_path: Path, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(tmp_path / "run")
    with RunWriter(tmp_path / "run", CONFIG, TASKS) as writer:
        if live:
            writer.record_backend({"kind": "in the log only"})
        copy = read_only_copy(tmp_path / "run", tmp_path / "copy", live=live)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    before = sorted((p.name, p.stat().st_mtime_ns) for p in copy.iterdir())
    with lg.RunReader(copy) as run:
        assert len(list(run.trees())) == 3
        assert bool(run.backends()) == live
    assert sorted((p.name, p.stat().st_mtime_ns) for p in copy.iterdir()) == before
    copy.chmod(0o755)


def test_each_unusable_folder_has_a_message_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.sqlite").touch()
    with pytest.raises(StoreCorrupt, match="is empty: the run was interrupted"):
        lg.RunReader(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=r"cannot lock files .*a local disk"):
        RunWriter(tmp_path / "nfs", CONFIG, TASKS)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="cannot be written"):
        RunWriter(tmp_path / "run", CONFIG, TASKS)
    assert (tmp_path / "precious").read_text() == "keep"


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with RunWriter(tmp_path, CONFIG, TASKS):
        with pytest.raises(StoreBusy, match=f"process {os.getpid()} is writing"):
            RunWriter(tmp_path, CONFIG, TASKS)
        with lg.RunReader(tmp_path) as run:
            assert len(list(run.trees())) == 3
    RunWriter(tmp_path, CONFIG, TASKS).close()


def test_attempts_cut_short_are_counted_at_the_next_start(tmp_path: Path) -> None:
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        run.record_began(0, 0)
        run.record_began(0, 1)
        run.record_committed(0, branch(0))
        run.record_began(2, 0)
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        assert [run.repeated(number) for number in range(3)] == [1, 0, 1]
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        assert [run.repeated(number) for number in range(3)] == [1, 0, 1]


def test_a_task_that_begins_differently_is_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path, CONFIG, TASKS) as run:
        run.record_opened(0, lg.Start(observation="a"))
        run.record_opened(0, lg.Start(observation="a"))
        with pytest.raises(StoreCorrupt, match="began differently"):
            run.record_opened(0, lg.Start(observation="b"))


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here"):
        lg.RunReader(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        RunWriter(tmp_path / "file", CONFIG, TASKS)
    finished_run(tmp_path / "run")
    with lg.RunReader(tmp_path / "run") as run, pytest.raises(UsageError, match="task 7"):
        run.tree(7)


@pytest.mark.parametrize("found", ["1", "2", "99"])
def test_another_format_is_refused(tmp_path: Path, found: str) -> None:
    finished_run(tmp_path)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        database.execute(
            "UPDATE meta SET value = ?, sum = ? WHERE key = 'format'", (found, checksum(found))
        )
    database.close()
    with pytest.raises(
        StoreError, match=f"this run has format {found}, this version reads format 3"
    ):
        lg.RunReader(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: zlib.compress(zlib.decompress(body).replace(b"-0.1", b"-0.2"), 1),
        lambda body: zlib.decompress(body).decode(),
        lambda body: body[:-1],
    ],
    ids=["edited", "text", "cut"],
)
def test_an_edited_row_is_noticed(tmp_path: Path, edit: Callable[[bytes], object]) -> None:
    finished_run(tmp_path)
    with sqlite3.connect(tmp_path / "run.sqlite") as database:
        (body,) = database.execute("SELECT body FROM branches LIMIT 1").fetchone()
        edited = edit(body)
        database.execute("UPDATE branches SET body = ?", (edited,))
    database.close()
    with lg.RunReader(tmp_path) as run:
        with pytest.raises(StoreCorrupt, match="checksum"):
            list(run.trees())
        with pytest.raises(StoreCorrupt, match="checksum"):
            run.fingerprint()


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
        with lg.RunReader(folder) as run:
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
