"""The engine is killed during a run: no attempt counts as failed, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import leafe_gym as lg

pytest.importorskip("docker", reason="pip install 'leafe-gym[docker]'")
pytestmark = [pytest.mark.engine, pytest.mark.root, pytest.mark.usefixtures("engine")]
ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("docker_child.py")


class OwnEngine:
    """A second engine that these tests may kill."""

    folder = Path("/run/leafe-docker-2")

    def __init__(self) -> None:
        self.environ = dict(os.environ, LEAFE_ENGINE_DIR=str(self.folder))
        self.environ["LEAFE_DOCKER_HOST"] = f"unix://{self.folder}/docker.sock"

    def script(self, what: str) -> None:
        command = [str(ROOT / ".ci" / "docker-engine"), what]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        os.kill(int((self.folder / "docker.pid").read_text()), signal.SIGKILL)

    def begin(self, folder: Path, patience: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILD), str(folder), str(patience)]
        return subprocess.Popen(command, env=self.environ, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    if os.geteuid() != 0:
        pytest.skip("an engine of its own needs root")
    engine = OwnEngine()
    engine.script("stop")
    engine.script("start")
    yield engine
    engine.script("stop")


@pytest.fixture(scope="module")
def whole(own: OwnEngine, tmp_path_factory: Any) -> tuple[Path, float]:
    """An undisturbed run, and its duration in seconds."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    began = time.monotonic()
    end(own.begin(folder, 0.0))
    return folder, time.monotonic() - began


def end(child: subprocess.Popen[str]) -> None:
    """Wait until a run is done."""
    _, said = child.communicate(timeout=900)
    assert child.returncode == 0, said


def fingerprint(folder: Path) -> str:
    with lg.RunReader(folder) as run:
        return str(run.fingerprint())


def endings(folder: Path) -> list[tuple[str, str]]:
    with lg.RunReader(folder) as run:
        return [(one.ending, one.reason) for one in run.branches(0)]


def killed(own: OwnEngine, folder: Path, patience: float, took: float) -> subprocess.Popen[str]:
    """A run whose engine was killed before the run was complete."""
    child = own.begin(folder, patience)
    time.sleep(0.7 * took)
    assert child.poll() is None, child.communicate()
    own.kill()
    return child


def test_an_engine_that_stays_away_ends_the_run_which_goes_on_later(
    own: OwnEngine, whole: tuple[Path, float], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    child = killed(own, folder, 0.5, whole[1])
    _, said = child.communicate(timeout=900)
    assert child.returncode != 0
    assert "no container engine answers" in said
    assert "LEAFE_DOCKER_HOST" in said
    so_far = endings(folder)
    assert so_far == endings(whole[0])[: len(so_far)]  # none failed for the engine
    own.script("start")
    end(own.begin(folder, 0.0))
    assert fingerprint(folder) == fingerprint(whole[0])


def test_an_engine_that_comes_back_passes_unnoticed(
    own: OwnEngine,
    whole: tuple[Path, float],
    tmp_path: Path,
    counts: Callable[[int, int], int],
) -> None:
    if not counts(0, 1):
        pytest.skip("--full-counts runs it")
    folder = tmp_path / "run"
    child = killed(own, folder, 30.0, whole[1])
    own.script("start")
    end(child)
    assert fingerprint(folder) == fingerprint(whole[0])
