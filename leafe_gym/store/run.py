"""A run folder: one SQLite file (WAL) and a lock.

A branch is written in one transaction as soon as it is committed, so a process killed at any
moment loses the attempts that were under way and nothing else. Every row carries a checksum;
nothing in the folder is ever unpickled.

Not covered: two machines writing one folder over a network file system that has no `flock`.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from leafe_gym.budget import UNITS
from leafe_gym.errors import ConfigMismatch, StoreBusy, StoreCorrupt, StoreError, UsageError
from leafe_gym.store import records
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Start, Task

FORMAT = 1
FILE = "run.sqlite"
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, sum TEXT NOT NULL,
    start TEXT, start_sum TEXT, result TEXT, result_sum TEXT, repeated INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE branches (
    task INTEGER NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, sum TEXT NOT NULL,
    PRIMARY KEY (task, id)
) WITHOUT ROWID;
CREATE TABLE under_way (task INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (task, id))
    WITHOUT ROWID;
"""


class Run:
    """The folder of one exploration.

    Use `Run.open` to write or resume, `Run.read` to look; both are context managers.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection, lock: int | None) -> None:
        self.folder = folder
        self._db = database
        self._lock = lock
        self._batching = False

    @classmethod
    def open(cls, folder: str | Path, config: Json, tasks: Sequence[Task]) -> Self:
        """Create the run, or resume it if it was made by the same configuration.

        Args:
            folder: made if absent.
            config: JSON; everything that decides what the run holds.
            tasks: the problems, in order.

        Raises:
            StoreBusy: if another process is writing it.
            ConfigMismatch: if it was made by another configuration or with other tasks.
            StoreError: if it cannot be written.
            StoreCorrupt: if it cannot be read.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: cannot make the run folder: {error}") from error
        lock = _take_lock(path)
        run: Self | None = None
        try:
            run = cls(path, _connect(path / FILE), lock)
            run._guard(lambda: run._begin(config, tasks))
        except BaseException:
            run.close() if run is not None else os.close(lock)
            raise
        return run

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Open an existing run for reading; a writer may be at work.

        Raises:
            UsageError: if there is no run in the folder.
            StoreCorrupt: if it cannot be read.
        """
        path = Path(folder)
        if not (path / FILE).is_file():
            raise UsageError(f"{path}: no run here ({FILE} is missing)")
        run = cls(path, _connect(path / FILE), None)
        try:
            run._guard(run._check_format)
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Close the file and give up the lock; safe to call twice."""
        with suppress(sqlite3.Error):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing -------------------------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write what is written inside in one transaction: all of it is kept, or nothing.

        A crash inside loses the whole batch, so it is for copying and merging, not for exploring.

        Raises:
            UsageError: within another batch.
            StoreError: if the folder cannot be written.
        """
        if self._batching:
            raise UsageError("Run.batch() cannot stand within another one")
        self._guard(lambda: self._db.execute("BEGIN IMMEDIATE"))
        self._batching = True
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        else:
            self._guard(lambda: self._db.execute("COMMIT"))
        finally:
            self._batching = False

    def began(self, task: int, branch: int) -> None:
        """Note that an attempt is under way, so that a crash can say how many it cost."""
        self._write(("INSERT OR REPLACE INTO under_way VALUES (?, ?)", (task, branch)))

    def opened(self, task: int, start: Start) -> None:
        """Note what the task begins with.

        Raises:
            StoreCorrupt: if it began with something else before.
        """
        before = self._guard(
            lambda: self._db.execute(
                "SELECT start, start_sum FROM tasks WHERE idx = ?", (task,)
            ).fetchone()
        )
        text = records.dump(records.start_json(start))
        if before[0] is None:
            sql = "UPDATE tasks SET start = ?, start_sum = ? WHERE idx = ?"
            self._write((sql, (text, records.checksum(text), task)))
        elif _sound(before[0], before[1], "start") != json.loads(text):
            raise StoreCorrupt(
                f"{self.folder}: task {task} began differently when the run was made: the "
                "environment, its data or its version has changed; use a new folder"
            )

    def committed(self, task: int, branch: Branch) -> None:
        """Keep a branch."""
        text = records.dump(records.branch_json(branch))
        self._write(
            ("INSERT INTO branches VALUES (?, ?, ?, ?)",
             (task, branch.id, text, records.checksum(text))),
            ("DELETE FROM under_way WHERE task = ? AND id = ?", (task, branch.id)),
        )  # fmt: skip

    def finished(self, task: int, tree: Tree | None, error: str = "") -> None:
        """Keep a task's outcome: its ledger, or why it could not be explored."""
        result: Json = {"error": error, "branches": len(tree.branches) if tree is not None else 0}
        if tree is not None:
            result |= {
                "instruction": tree.task.instruction,
                "spent": tree.spent.as_dict(),
                "solved_at": tree.solved_at.as_dict() if tree.solved_at else None,
                "stopped": tree.stopped,
                "token_source": tree.token_source,
            }
        text = records.dump(result)
        self._write(
            ("UPDATE tasks SET result = ?, result_sum = ? WHERE idx = ?",
             (text, records.checksum(text), task)),
            ("DELETE FROM under_way WHERE task = ?", (task,)),
        )  # fmt: skip

    def note_backend(self, choice: dict[str, Json]) -> None:
        """Keep which rollback backend a kind of environment uses; see `export_choice`."""
        text = records.dump(choice)
        sql = "INSERT OR IGNORE INTO meta VALUES (?, ?, ?)"
        self._write((sql, (f"backend:{choice['kind']}", text, records.checksum(text))))

    # --- reading -------------------------------------------------------------------------------

    @property
    def config(self) -> Json:
        """The configuration the run was made by."""
        return self._meta("config")

    def backends(self) -> list[dict[str, Json]]:
        """The rollback backends in use, one record per kind of environment."""
        rows = self._rows("SELECT value, sum FROM meta WHERE key LIKE 'backend:%' ORDER BY key")
        return [_sound(value, total, "backend") for value, total in rows]

    def tasks(self) -> list[Task]:
        """All problems, in order."""
        return list(self._each_task())

    def open_tasks(self) -> list[tuple[int, Task]]:
        """Problems that are not finished, with their numbers."""
        rows = self._rows("SELECT idx, body, sum FROM tasks WHERE result IS NULL ORDER BY idx")
        return [(idx, records.read_task(_sound(body, s, "task"))) for idx, body, s in rows]

    def branches(self, task: int) -> list[Branch]:
        """The committed branches of one problem, in order."""
        rows = self._rows("SELECT body, sum FROM branches WHERE task = ? ORDER BY id", task)
        return [_branch(body, total) for body, total in rows]

    def repeated(self, task: int) -> int:
        """Attempts of this problem that crashes of the process cut short."""
        row = self._rows("SELECT repeated FROM tasks WHERE idx = ?", task)
        return int(row[0][0])

    def trees(self) -> Iterator[Tree]:
        """Finished trees, one at a time, in task order."""
        for idx, error, _ in self.outcomes():
            if not error:
                yield self.tree(idx)

    def tree(self, task: int) -> Tree:
        """The tree of one problem, finished or not.

        Raises:
            UsageError: if there is no such task, or it was never begun.
        """
        rows = self._rows(
            "SELECT body, sum, start, start_sum, result, result_sum FROM tasks WHERE idx = ?", task
        )
        if not rows or rows[0][2] is None:
            raise UsageError(f"{self.folder}: task {task} has no tree")
        body, total, start, start_sum, result, result_sum = rows[0]
        done = _sound(result, result_sum, "result") if result else {}
        data = {
            "task": _sound(body, total, "task") | {"instruction": done.get("instruction", "")},
            "start": _sound(start, start_sum, "start"),
            "spent": done.get("spent", {}),
            "solved_at": done.get("solved_at"),
            "stopped": done.get("stopped", ""),
            "token_source": done.get("token_source", ""),
            "branches": [],
        }
        tree = records.read_tree(data)
        found = self.branches(task)
        if len(found) != done.get("branches", len(found)):
            raise StoreCorrupt(
                f"{self.folder}: task {task} had {done['branches']} branches, {len(found)} are left"
            )
        for branch in found:
            _attach(tree, branch)
        return tree

    def outcomes(self) -> Iterator[tuple[int, str, Json]]:
        """(task number, error, result) of every finished task; read a page at a time."""
        idx = -1
        while page := self._rows(
            "SELECT idx, result, result_sum FROM tasks WHERE result IS NOT NULL AND idx > ? "
            "ORDER BY idx LIMIT 64",
            idx,
        ):
            for idx, result, total in page:
                data = _sound(result, total, "result")
                yield idx, data["error"], data

    def fingerprint(self) -> str:
        """A hash of tasks, trees and budget units: equal for equal runs, whatever interrupted them.

        Overhead and replayed steps are left out: they tell how a run went, not what it found.
        """
        total, number = records.Checksum(), -1
        for number, task in enumerate(self._each_task()):
            total.add(("," if number else "[") + records.dump(records.task_json(task)))
        total.add("]" if number >= 0 else "[]")
        for idx, error, result in self.outcomes():
            spent = {unit: result["spent"][unit] for unit in UNITS} if not error else {}
            branches = self._rows("SELECT body FROM branches WHERE task = ? ORDER BY id", idx)
            total.add("\n" + records.dump([idx, error, spent, result.get("stopped"), branches]))
        return total.hex()

    def export(self, path: str | Path) -> int:
        """Write finished trees as JSON lines, one a line; returns how many.

        Raises:
            StoreError: if the file cannot be written.
        """
        target, count = Path(path), 0
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("w", encoding="utf-8") as out:
                for tree in self.trees():
                    out.write(records.dump(records.tree_json(tree)) + "\n")
                    count += 1
            partial.replace(target)
        except OSError as error:
            raise StoreError(f"{target}: cannot write the export: {error}") from error
        return count

    # --- inside --------------------------------------------------------------------------------

    def _each_task(self) -> Iterator[Task]:
        idx = -1
        sql = "SELECT idx, body, sum FROM tasks WHERE idx > ? ORDER BY idx LIMIT 64"
        while page := self._rows(sql, idx):
            for _, body, total in page:
                yield records.read_task(_sound(body, total, "task"))
            idx = page[-1][0]

    def _begin(self, config: Json, tasks: Sequence[Task]) -> None:
        known = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if known:
            self._check_format()
            self._check_config(config, tasks)
            self._count_repeated()
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            for key, value in {"format": FORMAT, "config": config, "tasks": len(tasks)}.items():
                text = records.dump(value)
                self._db.execute(
                    "INSERT INTO meta VALUES (?, ?, ?)", (key, text, records.checksum(text))
                )
            for idx, task in enumerate(tasks):
                text = records.dump(records.task_json(task))
                self._db.execute(
                    "INSERT INTO tasks (idx, id, body, sum) VALUES (?, ?, ?, ?)",
                    (idx, task.id, text, records.checksum(text)),
                )

    def _check_format(self) -> None:
        found = self._meta("format")
        if found != FORMAT:
            raise StoreError(
                f"{self.folder}: this run has format {found}, this version reads {FORMAT}; "
                "read it with the version of leafe-gym that made it"
            )
        count = self._meta("tasks")
        held = self._rows("SELECT count(*), total(idx) FROM tasks NOT INDEXED")[0]
        if held != (count, count * (count - 1) / 2):
            raise StoreCorrupt(f"{self.folder}: {count} tasks were written, {held[0]} are left")

    def _check_config(self, config: Json, tasks: Sequence[Task]) -> None:
        before = self.config
        now = json.loads(records.dump(config))
        if before != now:
            keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
            raise ConfigMismatch(
                f"{self.folder}: this run was made with another {', '.join(keys)}; "
                "use its own settings to resume it, or a new folder"
            )
        if [task.id for task in self.tasks()] != [task.id for task in tasks]:
            raise ConfigMismatch(f"{self.folder}: this run has other tasks; use a new folder")

    def _count_repeated(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "UPDATE tasks SET repeated = repeated + "
                "(SELECT count(*) FROM under_way WHERE under_way.task = tasks.idx)"
            )
            self._db.execute("DELETE FROM under_way")

    def _meta(self, key: str) -> Json:
        rows = self._rows("SELECT value, sum FROM meta WHERE key = ?", key)
        if not rows:
            raise StoreCorrupt(f"{self.folder}: the run has no {key!r}")
        return _sound(rows[0][0], rows[0][1], key)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._guard(lambda: self._db.execute(sql, values).fetchall())

    def _write(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        def transaction() -> None:
            with nullcontext() if self._batching else self._db:
                if not self._batching:
                    self._db.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    self._db.execute(sql, values)

        self._guard(transaction)

    def _guard(self, call: Callable[[], T]) -> T:
        """`call()`, with what SQLite raises turned into this package's errors."""
        try:
            return call()
        except (sqlite3.OperationalError, OSError) as error:
            raise StoreError(
                f"{self.folder}: {error}; free space or repair the disk, then run the same "
                "command again: what was committed is kept"
            ) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreCorrupt(f"{self.folder}: {FILE} is damaged: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        database.execute("PRAGMA synchronous = NORMAL")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"{path}: cannot be opened as a run: {error}") from error
    return database


def _take_lock(folder: Path) -> int:
    path = folder / "lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with closing(os.fdopen(lock, "r")) as holder:
            owner = holder.read().strip() or "unknown"
        raise StoreBusy(f"{folder}: process {owner} is writing this run; wait for it") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _sound(text: str, total: str, what: str) -> Json:
    """The JSON in a row, if its checksum holds."""
    if not isinstance(text, str) or records.checksum(text) != total:
        raise StoreCorrupt(f"a {what} row of the run is damaged: its checksum does not hold")
    return json.loads(text)


def _attach(tree: Tree, branch: Branch) -> None:
    try:
        tree.add(branch)
    except UsageError as error:
        raise StoreCorrupt(f"the branches of {tree.task.id} do not follow: {error}") from error


def _branch(body: str, total: str) -> Branch:
    data = _sound(body, total, "branch")
    try:
        return records.read_branch(data)
    except (TypeError, KeyError, ValueError) as error:
        raise StoreCorrupt(f"a branch row of the run is damaged: {error}") from error
