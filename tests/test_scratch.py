"""Temporary folders are removed at the end, after errors, and after a kill by the next process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leafe_gym._scratch import remove_stale, scratch_folder

HOLD = """
import sys, time
from leafe_gym._scratch import scratch_folder
with scratch_folder("verify") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def aged(folder: Path) -> Path:
    """The folder, an hour old."""
    then = time.time() - 3600
    os.utime(folder, (then, then))
    return folder


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing(temporary: Path, error: type[BaseException]) -> None:
    def use() -> None:
        with scratch_folder("eval") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            raise error

    with pytest.raises(error):
        use()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_killed_process_leaves_is_removed_later(temporary: Path, ending: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        aged(folder)
        assert remove_stale(temporary) == [], "its process lives"
        assert (folder / "file").exists()
        holder.send_signal(ending)
    assert folder.exists() == (ending != signal.SIGINT)
    with scratch_folder("run") as own:
        assert own.exists()
        assert not folder.exists()


def test_only_stale_folders_of_this_kind_are_removed(temporary: Path) -> None:
    target = temporary / "target"
    (target / "kept").mkdir(parents=True)
    link = temporary / "leafe-a.scratch"
    link.symlink_to(target)
    fresh = temporary / "leafe-fresh.scratch"
    other = temporary / "leafe-data"
    stale = temporary / "leafe-stale.scratch"
    for folder in (fresh, other, stale):
        folder.mkdir()
    aged(other)
    aged(stale)
    assert remove_stale(temporary) == [stale]
    with scratch_folder("run") as own:
        aged(own)
        remove_stale(temporary)
        assert own.exists()
    assert not stale.exists()
    assert fresh.exists()
    assert other.exists()
    assert (target / "kept").exists()
