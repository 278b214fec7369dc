"""An outage of a model server uses up nothing; a failed call costs one attempt."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.errors import PolicyError, PolicyUnavailable, RunIncomplete, UsageError
from leafe_gym.testing.players.sokoban import SokobanPlayer
from leafe_gym.types import Completion, Message, Sampling

KWARGS = {"size": 6, "boxes": 1, "max_steps": 12}
TASKS = lg.tasks("leafe/Sokoban-v0", split="train", **KWARGS)[:5]


class Server(SokobanPlayer):
    """The scripted player behind a connection that comes and goes."""

    def __init__(self, fails: Any = lambda number: None) -> None:
        super().__init__()
        self.fails, self.asked = fails, 0

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.asked += 1
        if (error := self.fails(self.asked)) is not None:
            raise error
        return await super().complete(messages, sampling)


def explore(folder: Path, server: Server, concurrency: int = 3, **config: Any) -> lg.RunReader:
    agent = lg.ReflectiveTreeAgent(server, lg.AgentConfig(reflect_every=4))
    return lg.explore(
        agent, TASKS, budget=lg.Budget(interactions=60), out=folder, concurrency=concurrency,
        config=lg.ExploreConfig(**config),
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    with explore(tmp_path_factory.mktemp("run"), Server()) as run:
        return run.fingerprint()


@pytest.mark.parametrize("begins", [1, 2, 17, 60, 110])
@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_an_outage_ends_the_run_and_uses_up_nothing(
    undisturbed: str, tmp_path: Path, begins: int, concurrency: int
) -> None:
    refused = PolicyUnavailable("connection refused: start the server")
    down = Server(lambda number: refused if number >= begins else None)
    with pytest.raises(PolicyUnavailable, match="connection refused: start the server"):
        explore(tmp_path, down, concurrency)
    with lg.RunReader(tmp_path) as run:
        committed = [b for n in range(len(TASKS)) for b in run.branches(n)]
    assert not any(b.ending == "policy_error" for b in committed)
    with explore(tmp_path, Server(), concurrency) as run:
        assert run.fingerprint() == undisturbed


def test_outages_one_after_the_other_end_in_the_undisturbed_run(
    undisturbed: str, tmp_path: Path
) -> None:
    for attempt in range(400):
        shaky = Server(lambda n: PolicyUnavailable("quota") if n > 30 else None)
        try:
            run = explore(tmp_path, shaky)
        except PolicyUnavailable:
            continue
        assert attempt > 1
        assert run.fingerprint() == undisturbed
        run.close()
        return
    raise AssertionError("the run never ended")


def test_a_failed_call_costs_one_attempt_which_does_not_count(tmp_path: Path) -> None:
    flaky = Server(lambda number: PolicyError("bad request") if number % 40 == 3 else None)
    agent = lg.IndependentSamplingAgent(flaky, lg.AgentConfig(max_attempts=6))
    with lg.explore(
        agent, TASKS, budget=lg.Budget(interactions=10**6), out=tmp_path, concurrency=4
    ) as run:
        trees = list(run.trees())
    failed = [b for t in trees for b in t.branches if b.ending == "policy_error"]
    assert failed
    assert all("bad request" in b.reason for b in failed)
    for tree in trees:
        assert sum(b.ending != "policy_error" for b in tree.branches) == 6
        assert tree.stopped == "attempts"


def test_calls_that_keep_failing_leave_the_task_open_and_the_next_run_goes_on(
    tmp_path: Path,
) -> None:
    class Picky(Server):
        async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
            if self.fails(0) and "#" in messages[1]["content"].partition("\n")[2][:40]:
                raise PolicyError("refused by a filter")
            return await super().complete(messages, sampling)

    def go(broken: bool, tasks: Any = TASKS) -> lg.RunReader:
        agent = lg.IndependentSamplingAgent(
            Picky(lambda number: None if not broken or number else True),
            lg.AgentConfig(max_attempts=4),
        )
        return lg.explore(agent, tasks, budget=lg.Budget(interactions=10**6), out=tmp_path)

    with pytest.raises((RunIncomplete, UsageError), match="refused by a filter"):
        go(True)
    with lg.RunReader(tmp_path) as run:
        assert run.failures()
    with go(False) as run:
        assert run.failures() == {}
        for tree in run.trees():
            assert sum(b.ending in ("won", "failed") for b in tree.branches) == 4


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        SystemExit(3),
        BaseExceptionGroup("g", [SystemExit()]),
        RuntimeError("x"),
    ],
)
def test_what_a_policy_raises_never_ends_the_others(error: BaseException, tmp_path: Path) -> None:
    odd = Server(lambda number: error if number == 30 else None)
    with explore(tmp_path, odd) as run:
        trees = list(run.trees())
    assert len(trees) == len(TASKS), "no task is left out"
    assert all(tree.stopped == "budget" for tree in trees)


def test_a_policy_that_fails_everywhere_is_an_error_not_a_result(tmp_path: Path) -> None:
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", **KWARGS)[:40]
    broken = Server(lambda number: PolicyError("the template has no system role"))
    agent = lg.ReflectiveTreeAgent(broken)
    with pytest.raises(UsageError, match=r"40 of 40 tasks .*no system role.*no attempt .* act"):
        lg.explore(agent, tasks, budget=lg.Budget(interactions=60), out=tmp_path, concurrency=4)
    assert broken.asked < 40 * 3, "it gives up early"


class SlowStart(gym.Env[str, str]):
    """Its reset fails until a file is there."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self, needs: str) -> None:
        self.needs = needs

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        if not Path(self.needs).exists():
            raise FileNotFoundError(f"{self.needs}: download the games first")
        return "go", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "done", 1.0, True, False, {"won": True}


def test_a_first_reset_that_failed_is_tried_again(tmp_path: Path) -> None:
    gym.register("test/SlowStart-v0", SlowStart)
    try:
        tasks = [
            lg.Task(id=name, env_id="test/SlowStart-v0", kwargs={"needs": str(tmp_path / name)})
            for name in ("here", "missing")
        ]
        (tmp_path / "here").touch()
        agent = lg.IndependentSamplingAgent(lambda m: "Action: go", lg.AgentConfig(max_attempts=1))

        def go() -> lg.RunReader:
            budget = lg.Budget(interactions=9)
            return lg.explore(agent, tasks, budget=budget, out=tmp_path / "run")

        with pytest.raises(RunIncomplete, match="download the games first") as caught:
            go()
        assert set(caught.value.reasons) == {"missing"}
        (tmp_path / "missing").touch()
        with go() as run:
            assert [tree.solved for tree in run.trees()] == [True, True]
    finally:
        gym.registry.pop("test/SlowStart-v0")


HANGS = """
import os, sys, time
import gymnasium as gym
import leafe_gym as lg

class Env(gym.Env):
    observation_space = action_space = lg.TextSpace()
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return "go", {"admissible_commands": ["a"]}
    def step(self, action):
        if action == "hang":
            os.write(1, b"inside\\n")
            time.sleep(600)
        return "on", 0.0, False, False, {}
    def get_state(self): return 0
    def set_state(self, state): pass

gym.register("me/Env-v0", Env)

def function(messages):
    if sys.argv[1] == "function":
        os.write(1, b"inside\\n")
        time.sleep(600)
    return "Action: hang"

async def blocking(messages):
    os.write(1, b"inside\\n")
    time.sleep(600)

policy = blocking if sys.argv[1] == "blocking" else function
tasks = [lg.Task(id=str(n), env_id="me/Env-v0") for n in range(4)]
lg.explore(lg.IndependentSamplingAgent(policy), tasks, budget=lg.Budget(interactions=50),
           out=sys.argv[2], concurrency=4)
"""


@pytest.mark.parametrize("what", ["step", "function", "blocking"])
def test_one_interrupt_ends_a_run_whatever_hangs(what: str, tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    environ["PYTHONFAULTHANDLER"] = "1"
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, what, str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
        # The jobs that a shell script starts in the background ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.readline() == "inside\n"
            child.send_signal(signal.SIGINT)
            child.wait(timeout=200)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)  # every thread says where it is
            pytest.fail(f"2 s on a free machine, 600 s where it waited: {child.communicate()[1]}")
        finally:
            child.kill()
        assert "KeyboardInterrupt" in child.stderr.read()
    assert child.returncode in (1, 130, -signal.SIGINT)
    with lg.RunReader(tmp_path / "run") as run:
        assert len(run.tasks()) == 4
