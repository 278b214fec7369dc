"""`RunWriter.batch`: all of it is kept, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from leafe_gym.errors import StoreCorrupt, UsageError
from leafe_gym.store.reader import RunReader
from leafe_gym.store.writer import RunWriter
from leafe_gym.tree import Branch
from leafe_gym.types import Start, Task

TASK = Task(id="t", env_id="me/T-v0")


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with RunWriter(tmp_path, {}, [TASK]) as run:
        run.record_opened(0, Start(observation="go"))
        with run.batch():
            for number in range(3):
                run.record_committed(0, Branch(id=number))
        with pytest.raises(StoreCorrupt), run.batch():
            _commit_twice(run, 3)
        run.record_committed(0, Branch(id=3, ending="won"))
        with run.batch(), pytest.raises(UsageError, match="cannot be nested"), run.batch():
            pass
    with RunReader(tmp_path) as run:
        assert [branch.won for branch in run.branches(0)] == [False, False, False, True]


def _commit_twice(run: RunWriter, number: int) -> None:
    run.record_committed(0, Branch(id=number))
    run.record_committed(0, Branch(id=number))
