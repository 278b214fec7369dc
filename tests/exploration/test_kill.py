"""kill -9 at any moment, the same command again: the finished run equals the uninterrupted one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import leafe_gym as lg
from leafe_gym.store.writer import RunWriter

CHILD = Path(__file__).with_name("crash_child.py")


def start(folder: Path, concurrency: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(CHILD), str(folder), str(concurrency)])


def finish(folder: Path, concurrency: int) -> None:
    assert start(folder, concurrency).wait(timeout=900) == 0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """Fingerprint of the uninterrupted run, and how long it takes from start to end."""
    folder = tmp_path_factory.mktemp("reference")
    finish(folder / "warm", 8)  # a first start reads everything from disk
    begun = time.monotonic()
    finish(folder / "run", 8)
    took = time.monotonic() - begun
    with lg.RunReader(folder / "run") as run:
        return run.fingerprint(), took


def test_killed_runs_resume_to_the_same_result(
    reference: tuple[str, float], tmp_path: Path, counts: Callable[[int, int], int]
) -> None:
    expected, took = reference
    rng = random.Random(0)
    inside = 0
    for trial in range(counts(6, 200)):
        folder = tmp_path / str(trial)
        child = start(folder, 8)
        time.sleep(rng.uniform(0.2, 1.0) * took)
        child.send_signal(signal.SIGKILL)
        killed = child.wait() == -signal.SIGKILL
        inside += killed and (folder / "run.sqlite").exists()
        finish(folder, 8)
        with lg.RunReader(folder) as run:
            assert run.fingerprint() == expected, f"trial {trial}"
    assert inside, "no kill landed inside a run: the test proves nothing"


def test_a_run_killed_many_times_is_still_the_same(
    reference: tuple[str, float], tmp_path: Path
) -> None:
    expected, took = reference
    for _ in range(4):
        child = start(tmp_path, 4)
        time.sleep(0.7 * took)
        child.kill()
        child.wait()
    finish(tmp_path, 4)
    with lg.RunReader(tmp_path) as run:
        assert run.fingerprint() == expected


def test_finishing_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    finish(tmp_path, 2)
    with lg.RunReader(tmp_path) as run:
        before = run.fingerprint()
    finish(tmp_path, 2)
    with lg.RunReader(tmp_path) as run:
        assert run.fingerprint() == before


def test_a_second_resumer_refuses_at_once(tmp_path: Path) -> None:
    first = RunWriter(tmp_path, {"a": 1}, [])
    try:
        command = [sys.executable, str(CHILD), str(tmp_path), "1"]
        child = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert child.returncode != 0
        assert "StoreBusy" in child.stderr
        assert "is writing this run" in child.stderr
    finally:
        first.close()
