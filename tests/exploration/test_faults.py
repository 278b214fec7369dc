"""A full disk, broken environments: a clear error, a sound folder, the same result afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.errors import LeafeError, RunIncomplete, StoreError, UsageError
from leafe_gym.store.reader import RunReader
from leafe_gym.store.writer import RunWriter
from leafe_gym.testing.players.sokoban import SokobanPlayer
from leafe_gym.wrappers.backends.fork import ForkBackend
from leafe_gym.wrappers.backends.fork_client import ForkTimeouts

KWARGS = {"size": 6, "boxes": 1, "max_steps": 12}


def explore(folder: Path, **more: Any) -> str:
    """A small exploration; its fingerprint."""
    agent = lg.ReflectiveTreeAgent(SokobanPlayer(), lg.AgentConfig(reflect_every=5))
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", **KWARGS)[:3]
    options = {"budget": lg.Budget(interactions=60), "concurrency": 2} | more
    with lg.explore(agent, tasks, out=folder, **options) as run:
        return run.fingerprint()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return explore(tmp_path_factory.mktemp("sound"))


class Full:
    """Makes the n-th write of a run meet a full disk, inside SQLite itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.writes = 0
        self.number = number
        self.plain = RunWriter._write
        monkeypatch.setattr(RunWriter, "_write", self.write())

    def write(self) -> Callable[..., None]:
        def method(run: RunWriter, *statements: Any) -> None:
            self.writes += 1
            if self.writes == self.number:
                pages = run._db.execute("PRAGMA page_count").fetchone()[0]
                run._db.execute(f"PRAGMA max_page_count = {pages}")
                filler = ("INSERT INTO branches VALUES (9999, 0, ?, '')", ("x" * 100_000,))
                self.plain(run, *statements, filler)
            self.plain(run, *statements)

        return method


def test_a_disk_full_at_any_write_is_named_and_survived(
    expected: str, tmp_path: Path, counts: Callable[[int, int], int]
) -> None:
    number, stride = 1, counts(5, 1)
    refused: list[str] = []
    while True:
        folder = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            full = Full(patch, number)
            try:
                explore(folder)
            except StoreError as error:
                refused.append(str(error))
        with RunReader(folder) as run:
            list(run.trees())
        assert explore(folder) == expected, f"disk full at write {number}"
        if full.writes < number:
            break
        number += stride
    assert len(refused) > 3
    for said in refused:
        assert "disk is full" in said
        assert "run the same command again" in said


LIMITED = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
sys.path.insert(0, sys.argv[3])
from test_faults import explore
from leafe_gym.errors import LeafeError, RunIncomplete, StoreError, UsageError
try:
    explore(Path(sys.argv[1]))
except StoreError as error:
    sys.exit(f"StoreError: {error}")
"""


@pytest.mark.parametrize("size", [2_000, 30_000, 70_000, 120_000])
def test_a_file_that_may_not_grow_is_named_and_survived(
    expected: str, tmp_path: Path, size: int
) -> None:
    here = str(Path(__file__).parent)
    child = [sys.executable, "-c", LIMITED, str(tmp_path / "run"), str(size), here]
    # Coverage would write its own file in the child, and meet the limit too.
    environ = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    done = subprocess.run(child, capture_output=True, text=True, timeout=900, env=environ)
    assert done.returncode == 1, "the limit was never met: the test proves nothing"
    assert "StoreError" in done.stderr
    assert "Traceback" not in done.stderr
    assert explore(tmp_path / "run") == expected


class Broken(gym.Env[str, str]):
    """Counts; raises when told to."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self, when: str = "never") -> None:
        if when == "make":
            raise OSError("no such game")
        self.when = when

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        if self.when == "reset" or (self.when == "odd" and (seed or 0) % 2):
            raise OSError("the game would not start")
        self.count = 0
        return "0", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += 1
        if self.when == "step" and self.count == 2:
            raise OSError("the game crashed")
        won = self.count == 3
        return str(self.count), float(won), won, False, {"won": won}


@pytest.fixture
def broken_ids() -> Iterator[None]:
    gym.register("test/Broken-v0", Broken)
    yield
    gym.registry.pop("test/Broken-v0")


@pytest.mark.usefixtures("broken_ids")
@pytest.mark.parametrize(
    ("when", "failed", "solved"),
    [("never", 0, 4), ("odd", 2, 2), ("reset", 4, 0), ("make", 4, 0), ("step", 4, 0)],
)
def test_a_broken_environment_leaves_its_own_task_open(
    tmp_path: Path, when: str, failed: int, solved: int
) -> None:
    tasks = [
        lg.Task(id=str(n), env_id="test/Broken-v0", kwargs={"when": when}, seed=n) for n in range(4)
    ]
    agent = lg.IndependentSamplingAgent(lambda messages: "Action: go")
    error: LeafeError | None = None
    try:
        lg.explore(
            agent,
            tasks,
            budget=lg.Budget(interactions=400),
            out=tmp_path,
            concurrency=2,
            config=lg.ExploreConfig(stop="solved"),
        ).close()
    except LeafeError as raised:
        error = raised
    assert (error is None) == (failed == 0)
    with RunReader(tmp_path) as run:
        trees = list(run.trees())
        failures = run.failures()
        begun = run.branches(0)
    assert len(trees) == 4 - failed
    assert sum(tree.solved for tree in trees) == solved
    assert len(failures) == failed
    if when == "step":
        assert isinstance(error, RunIncomplete)
        assert {branch.ending for branch in begun} == {"env_error"}
        assert "the game crashed" in failures[0]
    if when in ("reset", "make"):
        assert isinstance(error, UsageError), "nothing could act: not a result"
        assert "OSError" in failures[0]
        assert "OSError" in str(error)
    if when == "odd":
        assert isinstance(error, RunIncomplete)
        assert set(error.reasons) == {"1", "3"}
        assert "2 of 4 tasks" in str(error)


class Hangs(gym.Env[str, str]):
    """Stops answering when told to sleep, eats memory when told to eat."""

    observation_space = action_space = lg.TextSpace()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return "0", {"admissible_commands": ["go"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += 1
        if action == "sleep":
            time.sleep(600)
        if action == "eat":
            self.eaten = [bytes(10**8) for _ in range(100)]
        return str(self.count), 0.0, self.count == 4, False, {"won": False}


@pytest.mark.parametrize(
    ("action", "timeouts", "said"),
    [
        ("sleep", ForkTimeouts(call=4.0), "4"),
        ("eat", ForkTimeouts(memory=2**30), "MemoryError|out of memory"),
    ],
)
def test_a_step_that_hangs_or_grows_ends_its_attempt_only(
    tmp_path: Path, action: str, timeouts: ForkTimeouts, said: str
) -> None:
    asked = 0

    def policy(messages: list[lg.Message], sampling: lg.Sampling) -> str:
        nonlocal asked
        asked += 1
        return f"Action: {action if asked == 2 else 'go'}"

    gym.register("test/Hangs-v0", Hangs)
    try:
        tasks = [lg.Task(id=str(n), env_id="test/Hangs-v0", seed=n) for n in range(2)]
        with lg.explore(
            lg.ReflectiveTreeAgent(policy, lg.AgentConfig(reflect_every=None)),
            tasks,
            budget=lg.Budget(interactions=16),
            out=tmp_path,
            concurrency=1,
            config=lg.ExploreConfig(backend=ForkBackend(timeouts=timeouts)),
        ) as run:
            branches = [branch for tree in run.trees() for branch in tree.branches]
    finally:
        gym.registry.pop("test/Hangs-v0")
    (broken,) = (branch for branch in branches if branch.reason)
    assert len(branches) > 2
    assert broken.ending in ("env_error", "backend_error")
    assert re.search(said, broken.reason)


def test_the_choice_of_auto_is_kept_in_the_run(tmp_path: Path, expected: str) -> None:
    assert explore(tmp_path) == expected
    with RunReader(tmp_path) as run:
        (choice,) = run.backends()
    assert choice["backend"] == "native"
    assert "SokobanEnv" in choice["kind"]
