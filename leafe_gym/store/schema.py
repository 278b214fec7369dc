"""The SQLite file of a run folder: tables, checksums, and how it is opened.

Every row carries a checksum; branches are compressed JSON; nothing in the folder is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leafe_gym._scratch import scratch_folder
from leafe_gym.errors import StoreCorrupt, StoreError, UsageError
from leafe_gym.store import records
from leafe_gym.types import Json, Task

FORMAT = 3
FILE = "run.sqlite"
PAGE_BYTES = 16384
"""Size of a database page; most compressed branches fit into one."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, sum TEXT NOT NULL,
    start TEXT, start_sum TEXT, result TEXT, result_sum TEXT, failure TEXT,
    repeated INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE branches (
    task INTEGER NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL, sum TEXT NOT NULL,
    PRIMARY KEY (task, id)
) WITHOUT ROWID;
CREATE TABLE under_way (task INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (task, id))
    WITHOUT ROWID;
"""


class RunFile:
    """An open run: queries that check what they read."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = database

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what SQLite raises into this package's errors."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise StoreError(
                f"{self.folder}: {error}; free space or repair the disk, then run the same "
                "command again: what was committed is kept"
            ) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreCorrupt(f"{self.folder}: {FILE} is damaged: {error}") from error

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        with self.guarded():
            return self._db.execute(sql, values).fetchall()

    def meta(self, key: str) -> Json:
        """A value that was written when the run was made."""
        rows = self.rows("SELECT value, sum FROM meta WHERE key = ?", key)
        if not rows:
            raise StoreCorrupt(f"{self.folder}: the run has no {key!r}")
        return sound(rows[0][0], rows[0][1], key)

    def each_task(self) -> Iterator[Task]:
        """All tasks, in order, read a page at a time."""
        idx = -1
        sql = "SELECT idx, body, sum FROM tasks WHERE idx > ? ORDER BY idx LIMIT 64"
        while page := self.rows(sql, idx):
            for _, body, total in page:
                yield records.read_task(sound(body, total, "task"))
            idx = page[-1][0]

    def check_format(self) -> None:
        """Check that this version can read the run and no task is missing.

        Raises:
            StoreError: for a run of another format.
            StoreCorrupt: if tasks are missing.
        """
        found = self.meta("format")
        if found != FORMAT:
            raise StoreError(
                f"{self.folder}: this run has format {found}, this version reads format {FORMAT}; "
                "read it with the version of leafe-gym that made it, or make it again"
            )
        count = self.meta("tasks")
        held = self.rows("SELECT count(*), total(idx) FROM tasks NOT INDEXED")[0]
        if held != (count, count * (count - 1) / 2):
            raise StoreCorrupt(f"{self.folder}: {count} tasks were written, {held[0]} are left")

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with suppress(sqlite3.Error):
            self._db.close()


def open_to_write(folder: Path) -> sqlite3.Connection:
    """The database of a run, made if absent."""
    return _connect(str(folder / FILE), folder, uri=False)


def open_to_read(folder: Path) -> sqlite3.Connection:
    """The database of an existing run; works in a folder that cannot be written.

    Raises:
        UsageError: if there is no run in the folder.
        StoreCorrupt: if it is empty or not a run.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{folder}: no run here ({FILE} is missing)")
    if not path.stat().st_size:
        raise StoreCorrupt(
            f"{path} is empty: the run was interrupted before it began; delete the folder"
        )
    # SQLite needs files of its own beside a database in WAL mode.
    if os.access(folder, os.W_OK) and os.access(path, os.W_OK):
        return _connect(f"{path.absolute().as_uri()}?mode=rw", folder, uri=True)
    wal = path.with_name(f"{FILE}-wal")
    if not (wal.is_file() and wal.stat().st_size):
        return _connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", folder, uri=True)
    with scratch_folder("run") as scratch:
        for file in (path, wal):
            shutil.copy(file, scratch)
        copied = _connect(str(scratch / FILE), folder, uri=False)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        copied.backup(memory)
        copied.close()
    return memory


def _connect(name: str, folder: Path, *, uri: bool) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(name, isolation_level=None, timeout=10.0, uri=uri)
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        raise StoreError(f"{folder / FILE}: cannot be opened: {error}") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"{folder / FILE}: cannot be opened as a run: {error}") from error
    return database


def sound(text: str, total: str, what: str) -> Json:
    """The JSON in a row, if its checksum holds.

    Raises:
        StoreCorrupt: if it does not.
    """
    if not isinstance(text, str) or records.checksum(text) != total:
        raise StoreCorrupt(f"a {what} row of the run is damaged: its checksum does not hold")
    return json.loads(text)
