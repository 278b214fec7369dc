"""The three environments: Gymnasium's checks, rollback, tasks, sandbox failures."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from code_kinds import holder, write_lines
from gymnasium.utils.env_checker import check_env
from problem_records import CONTEST, MBPP

import leafe_gym as lg
from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.errors import (
    ResetNeeded,
    SandboxError,
    SandboxUnavailable,
    SnapshotUnsupported,
    UsageError,
)
from leafe_gym.sandbox.base import ProgramResult, SandboxLimits
from leafe_gym.wrappers.backends import make_backend

IDS = ["leafe/CodeContests-v0", "leafe/MBPP-v0", "leafe/PythonREPL-v0"]
ACTIONS = {
    IDS[0]: ["print(1)", "print(2)", "1 / 0", "print("],
    IDS[1]: ["def f(): pass", "x = 1", "1 / 0", "def f(:"],
    IDS[2]: ["n = globals().get('n', 0) + 1; n", "open('log', 'a').write('x')", "n / 0"],
}
CAROUSEL = contest_set.builtin_problems()["carousel"].solutions


@pytest.fixture
def make() -> Iterator[Callable[..., gym.Env[Any, Any]]]:
    made: list[gym.Env[Any, Any]] = []

    def one(env_id: str, **kwargs: Any) -> gym.Env[Any, Any]:
        made.append(gym.make(env_id, **kwargs))
        return made[-1]

    yield one
    for env in made:
        env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_and_rollback_are_content(env_id: str, make: Any) -> None:
    check_env(make(env_id).unwrapped, skip_render_check=True)
    report = lg.check_rollback(env_id, actions=ACTIONS[env_id], seeds=(0,))
    report.raise_for_failures()
    assert report.verdict("native").outcome == "right"
    assert (report.won_rule, report.elsewhere) == ("info", "same")


@pytest.mark.parametrize("env_id", IDS)
def test_tasks_are_in_one_split_each(env_id: str, make: Any) -> None:
    found = {split: lg.tasks(env_id, split) for split in ("train", "val", "test")}
    ids = [task.id for tasks in found.values() for task in tasks]
    assert len(ids) == len(set(ids))
    assert all(found.values())
    for split, tasks in found.items():
        assert {task.split for task in tasks} == {split}
    contents: dict[str, str] = {}
    for split, tasks in found.items():
        for task in tasks[:2]:
            env = gym.make(task.env_id, **task.kwargs)
            _, info = env.reset(seed=task.seed)
            goal = getattr(env.unwrapped, "_goal", None)  # a session's job is in files, variables
            content = info["instruction"] + (repr((goal.files, goal.setup)) if goal else "")
            assert contents.setdefault(content, split) == split
            env.close()
    with pytest.raises(UsageError, match="split='dev'"):
        lg.tasks(env_id, "dev")


def test_a_file_of_contests_and_of_functions(tmp_path: Path, make: Any) -> None:
    contests = write_lines(tmp_path / "c.jsonl", [{**CONTEST, "name": f"p{n}"} for n in range(40)])
    functions = write_lines(tmp_path / "f.jsonl", [MBPP, {**MBPP, "task_id": 12}])
    for env_id, path, code in (
        (IDS[0], contests, "print(2 * int(input()))"),
        (IDS[1], functions, "def double(n): return n + n"),
    ):
        tasks = lg.tasks(env_id, "all", problems=str(path))
        assert len({task.id for task in tasks}) == (40 if path == contests else 2)
        env = gym.make(env_id, **tasks[1].kwargs)
        env.reset(seed=tasks[1].seed)
        assert env.step(code)[1:3] == (1.0, True)
        env.close()
    with pytest.raises(UsageError, match="there is no"):
        gym.make(IDS[0], problems="absent.parquet")


def test_an_episode_is_four_submissions(make: Any) -> None:
    env = make(IDS[0], problem="carousel")
    observation, info = env.reset(seed=0)
    assert "Attempts left: 4" in observation
    assert "turns" not in info
    for left in (3, 2, 1, 0):
        observation, reward, terminated, truncated, info = env.step("print(1)")
        assert (reward, terminated, truncated, info["won"]) == (0.0, left == 0, False, False)
        assert ("Attempts left" in observation) == (left > 0)
        assert info["feedback"] == "wrong answer on public test 1"
        assert "16" not in observation
    with pytest.raises(ResetNeeded):
        env.step("print(1)")
    env.reset(seed=0)
    env.step(CAROUSEL["wrong"])
    observation, reward, terminated, _, info = env.step(
        f"So:\n```python\n{CAROUSEL['reference']}```"
    )
    assert (observation, reward, terminated) == ("Accepted: all tests passed.", 1.0, True)
    assert (info["won"], info["score"], info["feedback"]) == (True, 1.0, "")
    env.reset(seed=0)
    assert env.step("```text\nnothing\n```")[0].startswith("No code.")


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        (IDS[0], {"max_attempts": 0}),
        (IDS[0], {"time_scale": 0}),
        (IDS[0], {"language": "cobol"}),
        (IDS[0], {"problem": "absent"}),
        (IDS[0], {"split": "dev"}),
        (IDS[1], {"max_attempts": True}),
        (IDS[1], {"time_scale": float("nan")}),
        (IDS[1], {"problem": "absent"}),
        (IDS[2], {"kind": "absent"}),
        (IDS[2], {"goal": -1}),
        (IDS[2], {"max_steps": 0}),
        (IDS[2], {"cell_seconds": 0}),
        (IDS[2], {"split": "all"}),
        (IDS[0], {"split": ["train"]}),
        (IDS[0], {"problems": 3}),
        (IDS[0], {"problem": 3}),
        (IDS[0], {"language": None}),
        (IDS[1], {"problems": ""}),
        (IDS[1], {"time_scale": "1"}),
        (IDS[1], {"sandbox": 3}),
        (IDS[2], {"kind": ["inbox"]}),
        (IDS[2], {"sandbox": None}),
        (IDS[2], {"allow_unsandboxed": 1}),
        (IDS[2], {"sandbox_options": "image"}),
    ],
)
def test_arguments_that_cannot_be_used(env_id: str, kwargs: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(kwargs))}="):
        gym.make(env_id, **kwargs)


@pytest.mark.parametrize("env_id", IDS)
def test_a_sandbox_is_checked_before_anything_starts(env_id: str) -> None:
    with pytest.raises(UsageError, match="allow_unsandboxed=True"):
        gym.make(env_id, sandbox="unsandboxed")
    with pytest.raises(UsageError, match="did you mean: embedded"):
        gym.make(env_id, sandbox="embeded")
    env = gym.make(env_id, sandbox_options={"imge": "x"})

    def play() -> None:
        env.reset(seed=0)
        env.step("print(1)")

    with pytest.raises(UsageError, match="imge"):
        play()


@pytest.mark.parametrize("env_id", IDS)
def test_values_of_the_wrong_type_are_usage_errors(env_id: str, make: Any) -> None:
    env = make(env_id).unwrapped
    for wrong in ({"seed": "1"}, {"seed": -1}, {"seed": 1.5}, {"options": 3}, {"options": {1: 2}}):
        with pytest.raises(UsageError):
            env.reset(**wrong)
    env.reset(seed=0)
    for action in (3, None, b"x", ["x"]):
        with pytest.raises(UsageError, match="give a string"):
            env.step(action)
    for state in (None, "x", (), (1, 2, 3), {}):
        with pytest.raises(UsageError, match="expected what get_state"):
            env.set_state(state)
    for split in (3, None, ["train"]):
        with pytest.raises(UsageError, match="split="):
            type(env).tasks(split)
    with pytest.raises(UsageError, match="unknown arguments"):
        type(env).tasks("train", problemz="x")


class Faulty(ProgramRunner):
    """A runner whose first sandboxes fail."""

    def __init__(self, fails: int) -> None:
        super().__init__("embedded")
        self.fails = fails
        self.started: list[Any] = []

    def _started(self, prepared: Sequence[str]) -> Any:
        sandbox = super()._started(prepared)
        if sandbox not in self.started:
            self.started.append(sandbox)
        if self.fails:
            self.fails -= 1
            raise SandboxError("the daemon went away")
        return sandbox


ECHO = (("python3", "-c", "print(1)"), "", SandboxLimits())


def test_a_sandbox_that_fails_is_replaced() -> None:
    runner = Faulty(2)
    assert isinstance(runner.run(*ECHO), ProgramResult)
    assert len(runner.started) == 3
    runner.close()
    runner = Faulty(3)
    with pytest.raises(SandboxError, match="daemon"):
        runner.run(*ECHO)
    assert runner.run(*ECHO).stdout == "1\n"
    runner.close()


@pytest.mark.parametrize(
    ("number", "seconds", "memory", "timed"),
    [(9, 1.2, False, True), (24, 0.95, False, True), (9, 0.3, False, False), (9, 1.2, True, False),
     (11, 1.2, False, False)],
)  # fmt: skip
def test_the_kernels_end_of_what_used_up_its_time_is_known(
    number: int, seconds: float, memory: bool, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some sandboxes report a signal only."""
    ended = ProgramResult(exit_code=-1, signal=number, out_of_memory=memory, seconds=seconds)
    runner = ProgramRunner("embedded")
    monkeypatch.setattr(type(runner._started(())), "run_program", lambda *_, **__: ended)
    assert runner.run((), "", SandboxLimits(cpu_s=1.0)).timed_out is timed
    runner.close()


def test_no_sandbox_here_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise SandboxUnavailable("this host refuses namespaces")

    monkeypatch.setattr("leafe_gym.envs.code.program_runner.make_sandbox", refuse)
    with pytest.raises(SandboxUnavailable, match="refuses namespaces"):
        ProgramRunner("embedded").run(*ECHO)
    assert len(calls) == 1


def test_a_failed_sandbox_is_no_failed_attempt(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt ends with an error and no reflection; the run continues."""
    env = lg.RollbackWrapper(make(IDS[0], problem="carousel"))
    env.reset(seed=0)
    env.release(env.snapshot())
    from leafe_gym.testing.players.coder import coder

    agent = lg.ReflectiveTreeAgent(
        coder(fails=1.0), lg.AgentConfig(reflect_every=None, prompts="code")
    )
    real = ProgramRunner.run
    broken = [True] * 2

    def flaky(runner: ProgramRunner, *arguments: Any, **keywords: Any) -> Any:
        if broken:
            broken.pop()
            raise SandboxError("the daemon went away")
        return real(runner, *arguments, **keywords)

    monkeypatch.setattr(ProgramRunner, "run", flaky)
    tree = agent.run(env, budget=lg.Budget(interactions=30), seed=0, stop="budget")
    endings = [branch.ending for branch in tree.branches]
    assert endings[:2] == ["env_error", "env_error"]
    assert all("daemon went away" in branch.reason for branch in tree.branches[:2])
    assert not any(branch.reflections for branch in tree.branches[:2])
    assert "failed" in endings


def kill(env: Any) -> None:
    pid = holder(env.unwrapped._sandbox)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_session_killed_from_outside_is_made_again(make: Any) -> None:
    env = lg.RollbackWrapper(make(IDS[2], kind="inbox"))
    env.reset(seed=1)
    env.step("first = inbox.take(); open('f', 'w').write(str(first))")
    snapshot = env.snapshot()
    kill(env)
    assert env.step("first == inbox.take() or len(inbox) > 3, len(open('f').read()) > 3")[0] == (
        "(True, True)"
    )
    kill(env)
    env.restore(snapshot)
    assert env.step("str(first) == open('f').read()")[0] == "True"
    kill(env)
    assert env.reset(seed=1)[0] == "Files: none"
    assert env.step("len(inbox) > 5")[0] == "True"


@pytest.mark.parametrize("cell", ["import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_a_cell_that_ends_the_session_is_told_so(make: Any, cell: str) -> None:
    env = make(IDS[2], kind="inbox")
    env.reset(seed=1)
    env.step("n = 7; open('f', 'w').write('x')")
    observation, reward, over, _, info = env.step(cell)
    assert "ended" in observation  # in the sandbox's words, or ours where it dies of it
    assert (reward, over, info["won"]) == (0.0, False, False)
    assert env.step("n, open('f').read(), len(inbox) > 5")[0] == "(7, 'x', True)"


def test_a_session_that_cannot_be_made_again_is_a_sandbox_error(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make(IDS[2], kind="inbox")
    env.reset(seed=1)
    env.step("import time; t = time.time()")
    env.step("t")  # shows something else each time
    kill(env)
    with pytest.raises(SandboxError, match="output of replayed cell 1 differs"):
        env.step("1")
    env.reset(seed=1)
    kill(env)

    def refuse(*_: Any, **__: Any) -> Any:
        raise SandboxUnavailable("no more processes")

    monkeypatch.setattr("leafe_gym.envs.code.repl.make_sandbox", refuse)
    with pytest.raises(SandboxError, match="no more processes"):
        env.step("1")


@pytest.mark.parametrize("env_id", IDS[::2])
def test_the_docker_backend_insists_on_a_container(env_id: str, make: Any) -> None:
    """It equals `native` for containers, and checks again once the sandbox has started."""
    wrapped = lg.RollbackWrapper(make(env_id), "docker")
    wrapped.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match=r"sandbox is .*make it with sandbox='docker'"):
        wrapped.snapshot()
    fallen = lg.RollbackWrapper(gym.make(env_id, sandbox="docker", allow_unsandboxed=True))
    env = fallen.unwrapped
    backend = make_backend("docker")
    assert backend.refusal(env) is None or env.sandbox_kind != "docker"
    env.reset(seed=0)
    env.step(ACTIONS[env_id][0])
    assert env.sandbox_kind in ("docker", "docker-commit", "unsandboxed")
    assert (backend.refusal(env) is None) == (env.sandbox_kind != "unsandboxed")
    fallen.close()
    assert "nothing in a sandbox" in str(backend.refusal(gym.make("leafe/Sokoban-v0")))
