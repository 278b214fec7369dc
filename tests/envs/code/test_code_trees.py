"""Trees on code problems: recovered mistakes, kill -9, sandboxes killed during a run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from code_kinds import holder, write_lines

import leafe_gym as lg
from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.problem import Case
from leafe_gym.sandbox.base import make_sandbox
from leafe_gym.testing.players.coder import coder

CHILD = Path(__file__).with_name("code_child.py")
NAMES = ("carousel", "steep-climb", "widest-gap")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built-in problems as a file, with the hidden tests that their wrong solutions fail."""

    def columns(tests: tuple[Case, ...]) -> dict[str, list[str]]:
        return {"input": [t.input for t in tests], "output": [t.output for t in tests]}

    records = []
    for name in NAMES:
        tests = contest_set.problem(name).tests
        hidden = tuple(one for one in tests.hidden if len(one.input) < 500)[:4]
        records.append(
            {
                "name": name,
                "description": contest_set.builtin_problems()[name].statement,
                "public_tests": columns(tests.public[:1]),
                "private_tests": columns(hidden),
                "time_limit": 2.0,
            }
        )
    return write_lines(tmp_path_factory.mktemp("problems") / "small.jsonl", records)


def start(folder: Path, small: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(CHILD), str(folder), str(small)])


def finished(folder: Path, small: Path) -> str:
    assert start(folder, small).wait(timeout=900) == 0
    with lg.RunReader(folder) as run:
        return str(run.fingerprint())


def test_a_killed_run_resumes_to_the_same_trees(
    small: Path, tmp_path: Path, counts: Callable[[int, int], int]
) -> None:
    begun = time.monotonic()
    expected = finished(tmp_path / "whole", small)
    took = time.monotonic() - begun
    with lg.RunReader(tmp_path / "whole") as run:
        trees = list(run.trees())
    assert {tree.task.env_id for tree in trees} == {"leafe/CodeContests-v0", "leafe/MBPP-v0"}
    for tree in trees:  # each holds a mistake and its repair
        assert any(branch.ending == "failed" for branch in tree.branches)
        assert any(branch.won and branch.experience for branch in tree.branches)
        assert not any(branch.reason for branch in tree.branches)
    rng, inside = random.Random(0), 0
    for trial in range(counts(1, 40)):
        folder = tmp_path / f"killed{trial}"
        for _ in range(counts(1, 3)):
            child = start(folder, small)
            while child.poll() is None and not (folder / "run.sqlite").exists():
                time.sleep(0.01)  # how long a start takes depends on what else runs
            time.sleep(rng.uniform(0, 0.5) * took)
            child.send_signal(signal.SIGKILL)
            inside += child.wait() == -signal.SIGKILL
        assert finished(folder, small) == expected
    assert inside, "no kill landed inside a run: the test proves nothing"


class Killer:
    """Repeatedly kills the process of a sandbox while a run uses it.

    Args:
        pause: seconds between two kills.
        most: kills after which it leaves them alone.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pause: float, most: int) -> None:
        self.kills = 0
        self._pause, self._most = pause, most
        self._made: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        monkeypatch.setattr("leafe_gym.envs.code.program_runner.make_sandbox", self._make)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _make(self, *arguments: Any, **keywords: Any) -> Any:
        self._made.append(make_sandbox(*arguments, **keywords))
        return self._made[-1]

    def _run(self) -> None:
        while self.kills < self._most and not self._stop.wait(self._pause):
            pid = holder(self._made[-1]) if self._made else None
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1


def grown(problem: str, calls: int) -> Any:
    env = lg.RollbackWrapper(gym.make("leafe/CodeContests-v0", problem=problem))
    player = coder(fails=0.9, kinds=("wrong", "crash"))
    agent = lg.ReflectiveTreeAgent(player, lg.AgentConfig(reflect_every=None, prompts="code"))
    try:
        return agent.run(env, budget=lg.Budget(interactions=calls), seed=2, stop="budget")
    finally:
        env.close()


def test_a_run_whose_sandboxes_are_killed_comes_out_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = grown("carousel", 20)
    with Killer(monkeypatch, pause=0.12, most=2) as killer:
        tree = grown("carousel", 20)
    assert killer.kills == 2
    assert (tree.branches, tree.spent) == (expected.branches, expected.spent)
    assert any("Wrong" in step.observation for one in tree.branches for step in one.steps)


def test_a_sandbox_that_cannot_be_kept_alive_is_no_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Killer(monkeypatch, pause=0.005, most=10**6) as killer:
        tree = grown("carousel", 20)
    assert killer.kills > 5
    assert tree.stopped == "errors"
    assert {branch.ending for branch in tree.branches} == {"env_error"}
    assert all("SandboxError" in branch.reason for branch in tree.branches)
    assert not any(branch.reflections or branch.experience for branch in tree.branches)
