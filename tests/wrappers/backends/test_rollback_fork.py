"""Environments in processes of their own: exact, separate, and gone when they should be."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fork_envs as forks
import gymnasium as gym
import pytest
import toy_envs as toys
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from rollback_model import build_toy, machine
from toy_envs import ACTIONS, make

from leafe_gym.errors import (
    BackendError,
    EnvironmentFailure,
    RestoreMismatch,
    SnapshotUnsupported,
)
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.backends import fork_wire
from leafe_gym.wrappers.backends.fork import ForkBackend, private_bytes
from leafe_gym.wrappers.backends.fork_client import ForkTimeouts
from leafe_gym.wrappers.rollback.remote import RemoteEnv

PROBE = ["draw", "add", "double"]
PATH = ("draw", "double", "draw", "add")


@pytest.fixture
def fork() -> Iterator[Callable[..., RollbackWrapper]]:
    """Makes started environments with backend fork, and closes them."""
    made: list[RollbackWrapper] = []

    def start(cls: Any = forks.InC, backend: Any = "fork", **kwargs: Any) -> RollbackWrapper:
        env = RollbackWrapper(make(cls, **kwargs), backend, probe_actions=PROBE)
        made.append(env)
        env.reset(seed=3)
        return env

    yield start
    for env in made:
        env.close()


def walk(env: RollbackWrapper, actions: Any = PATH) -> list[Any]:
    return [env.step(action)[:4] for action in actions]


def processes() -> list[int]:
    """Those that run environments for this one, zombies included."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            line = Path(f"/proc/{name}/cmdline").read_text()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ours = f"\0{os.getpid()}\0" in line and "fork_host" in line
        if ours or (state[0] == "Z" and int(state[1]) == os.getpid()):
            found.append(int(name))
    return found


def gone(pids: Callable[[], list[int]] = processes, seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while pids() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not pids()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("cls", [forks.InC, forks.AllLuck])
def test_memory_and_luck_of_c_come_back(fork: Any, cls: Any) -> None:
    for name in ("pickle", "deepcopy"):
        refused = fork(cls, name)
        with pytest.raises(SnapshotUnsupported, match=r"ctypes|CDLL|FuncPtr"):
            refused.snapshot()
    env = fork(cls)
    env.step("draw")
    mark = env.snapshot()
    assert (mark.kind, mark.scope, env.backend_report.proved) == ("fork", "process", True)
    assert mark.nbytes > 10_000
    first = walk(env)
    for _ in range(3):
        assert env.restore(mark)[0].endswith("after 1")
        assert walk(env) == first
    env.rollback(3)
    assert walk(env, PATH[2:]) == first[2:]
    env.restore(mark, rng="fresh", seed=1)
    other = walk(env)
    env.restore(mark, rng="fresh", seed=1)
    assert walk(env) == other
    env.rollback(0)
    assert env.step("draw")[0].endswith("after 1")


def test_no_process_is_left(fork: Any) -> None:
    env = fork()
    marks = []
    for action in PATH:
        env.step(action)
        marks.append(env.snapshot())
        env.restore(marks[0])
    holders = [mark.payload.data[0].holder.pid for mark in marks]
    assert len(alive(holders)) == 4
    env.release(marks[1])
    env.discard_data(marks[2])
    assert gone(lambda: alive(holders[1:3]))
    assert len(alive(holders)) == 2
    assert env.restore(marks[2])[0] == env.restore(marks[2])[0]
    assert gone(lambda: processes()[4:])  # the keeper, two snapshots and the player
    assert len(processes()) == 4
    env.close()
    assert gone()


def test_forgotten_environments_end_their_processes() -> None:
    env = RollbackWrapper(make(forks.InC), "fork", probe_actions=PROBE)
    env.reset(seed=0)
    mark = env.snapshot()
    env.restore(mark)
    assert processes()
    del env, mark
    gc.collect()
    assert gone()


PROGRAM = """
import sys
sys.path[:0] = {path!r}
import fork_envs, toy_envs, time
from leafe_gym.wrappers import RollbackWrapper
env = RollbackWrapper(toy_envs.make(fork_envs.Sick), "fork", probe_actions=["add", "double"])
env.reset(seed=0)
marks = [env.snapshot() for _ in range(3)]
pids = [mark.payload.data[0].holder.pid for mark in marks]
print(*pids, env.step("pid")[0], env.env.line._host._process.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "env.step('sleep')"])
def test_a_killed_program_leaves_nothing(then: str) -> None:
    program = PROGRAM.format(path=[str(Path(__file__).parents[1])], then=then)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(one) for one in process.stdout.readline().split()]
        assert alive(pids) == pids
        process.send_signal(signal.SIGKILL)
    assert gone(lambda: alive(pids))


def test_programs_that_end_without_a_close() -> None:
    program = PROGRAM.format(path=[str(Path(__file__).parents[1])], then="")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert gone(lambda: alive([int(one) for one in done.stdout.split()]))


HELD = {
    "thread": r"runs 1 thread \(",
    "socket": "a socket open",
    "pipe": "a pipe open",
    "subprocess": r"runs a subprocess \(sleep",
    "memory": "writable shared memory",
    "file": "for writing",
}


@pytest.mark.parametrize(
    ("what", "early"), [("thread", True), ("socket", True), *((what, False) for what in HELD)]
)
def test_what_cannot_be_forked_is_named(
    what: str, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORK_TEST_PROCESS", str(os.getpid()))
    env = RollbackWrapper(make(forks.Holds, what=what, early=early), "fork", probe_actions=PROBE)
    env.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match=HELD[what]):
        env.snapshot()
    env.close()
    assert gone()


def test_a_file_that_is_read_has_a_place_of_its_own(fork: Any, tmp_path: Path) -> None:
    path = tmp_path / "luck"
    path.write_bytes(bytes(range(100)))
    env = fork(forks.Reader, path=str(path))
    env.step("draw")
    mark = env.snapshot()
    twin = env.fork()
    first = walk(env)
    assert walk(twin) == first
    env.restore(mark)
    assert walk(env) == first
    twin.close()


def test_errors_of_the_environment_are_its_own(fork: Any) -> None:
    env = fork(forks.Sick)
    mark = env.snapshot()
    env.restore(mark)
    with pytest.raises(LookupError, match="no such door") as caught:
        env.step("raise")
    assert caught.value.args == ("no such door", 7)
    assert "fork_envs.py" in caught.value.__notes__[0]
    env.restore(mark)
    with pytest.raises(EnvironmentFailure, match="Odd: x is odd"):
        env.step("odd")
    env.restore(mark)
    with pytest.raises(BackendError, match="cannot be sent"):
        env.step("handle")
    assert env.restore(mark)[0] == env.reset(seed=3)[0]


def test_a_process_that_ends_is_named_and_replaced(fork: Any) -> None:
    env = fork(forks.Sick)
    env.step("add")
    mark = env.snapshot()
    with pytest.raises(BackendError, match=r"process \d+, which ran the environment, ended during"):
        env.step("die")
    with pytest.raises(BackendError, match="reset"):
        env.step("add")
    assert env.restore(mark)[0].endswith("after 1")
    with pytest.raises(BackendError, match="ended during step"):
        env.step("die")
    assert env.reset(seed=3)[0].endswith("after 0")
    os.kill(mark.payload.data[0].holder.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match="ended during fork"):
        env.restore(mark)
    with pytest.raises(BackendError, match="gone"):
        env.restore(mark)
    env.reset(seed=3)
    os.kill(env.env.line._host._process.pid, signal.SIGKILL)
    again = env.snapshot()
    with pytest.raises(BackendError, match="ended during step"):
        env.step("die")
    assert env.restore(again)[0] == env.reset(seed=3)[0]
    with pytest.raises(BackendError, match="ended during step"):
        env.step("die")
    assert env.reset(seed=3)[0].endswith("after 0")


def test_late_answers_end_the_process(fork: Any) -> None:
    env = fork(forks.Sick, ForkBackend(timeouts=ForkTimeouts(call=3.0)))
    mark = env.snapshot()
    pid = int(env.step("pid")[0])
    with pytest.raises(BackendError, match=r"did not finish step within 3 s"):
        env.step("sleep")
    assert gone(lambda: alive([pid]))
    assert env.restore(mark)[0].endswith("after 0")


def test_long_messages_are_refused(fork: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = fork()
    env.snapshot()
    monkeypatch.setattr(fork_wire, "MAX_BYTES", 100)
    with pytest.raises(BackendError, match="longer than"):
        env.step("x" * 200)


def test_the_process_is_small(fork: Any) -> None:
    env = fork(forks.Sick)
    env.snapshot()
    assert env.step("modules")[0] == "torch False, threads 1"
    assert private_bytes(os.getpid()) > 0
    assert private_bytes(2**22 + 1) == 0


def test_other_wrappers_and_twins(fork: Any) -> None:
    env = fork()
    walk(env)
    mark = env.snapshot()
    expected = walk(env)
    other = fork()
    other.restore(mark)
    twin = other.fork()
    env.close()
    assert walk(other) == expected
    assert walk(twin) == expected
    assert twin.steps == 8
    with pytest.raises(BackendError, match="gone"):
        other.restore(mark)
    twin.close()
    other.reset(seed=3)
    assert walk(other)[0] == other.transitions[0][1:5]


def test_what_is_seen_from_outside(fork: Any) -> None:
    env = fork(forks.Sick)
    first = env.env
    mark = env.snapshot()
    assert isinstance(env.env, RemoteEnv)
    assert env.env is not first
    assert "process of its own" in str(env.env)
    assert env.get_wrapper_attr("value") == env.unwrapped.get_wrapper_attr("value")
    assert env.get_wrapper_attr("text")().endswith("after 0")
    env.unwrapped.set_wrapper_attr("goal", 3)
    assert env.get_wrapper_attr("goal") == 3
    assert env.has_wrapper_attr("trail")
    assert not env.unwrapped.has_wrapper_attr("nothing")
    assert env.render() == f"drawn {env.get_wrapper_attr('value')}"
    assert env.spec is not None
    with pytest.raises(TypeError, match="cannot be pickled"):
        env.unwrapped.__reduce__()
    with pytest.raises(TypeError, match="cannot be pickled"):
        mark.payload.data[0].__reduce__()


def test_spaces_draw_the_same() -> None:
    env = RollbackWrapper(gym.make("FrozenLake-v1"), "fork")
    env.reset(seed=0)
    env.action_space.seed(5)
    env.action_space.sample()
    mark = env.snapshot()
    drawn = [env.action_space.sample() for _ in range(8)]
    env.restore(mark)
    assert [env.action_space.sample() for _ in range(8)] == drawn
    env.close()


def test_forks_of_the_program_leave_the_processes_alone(fork: Any) -> None:
    env = fork()
    mark = env.snapshot()
    child = os.fork()
    if child == 0:
        env.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert env.restore(mark)[0].endswith("after 0")


def test_environments_that_cannot_be_built_there(fork: Any) -> None:
    class Local(toys.Native):
        def __init__(self, inside: int = os.getpid()) -> None:
            super().__init__()
            if os.getpid() != inside:
                raise OSError("not here")

    env = RollbackWrapper(Local(), "fork", factory=Local)
    env.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match="not here"):
        env.snapshot()
    bare = RollbackWrapper(toys.Locked(), "fork")
    bare.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match="cannot be pickled"):
        bare.snapshot()
    lock = threading.Lock()
    held = RollbackWrapper(toys.Native(), "fork", factory=lambda: (lock, toys.Native())[1])
    held.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match="cannot be pickled"):
        held.snapshot()


def test_any_order_in_processes(counts: Callable[[int, int], int]) -> None:
    run_state_machine_as_test(
        machine(build_toy, "fork", ACTIONS),
        settings=settings(max_examples=counts(4, 100), stateful_step_count=25),
    )
    gc.collect()
    assert gone()


def test_an_episode_that_cannot_be_repeated_there(fork: Any) -> None:
    env = fork(toys.Counter)
    env.step("draw")
    env.unwrapped.value += 1  # a change that no action made
    env.step("draw")
    with pytest.raises(RestoreMismatch, match=r"in a process of its own.*step 1") as caught:
        env.snapshot()
    assert caught.value.step == 1


def test_orphans_are_adopted_and_reaped(fork: Any) -> None:
    env = fork(forks.Sick)
    marks = [env.snapshot()]
    for _ in range(3):
        env.restore(marks[0])  # ends the player, whose own forks lose their parent
        env.step("add")
        marks.append(env.snapshot())
    keeper = env.env.line._host._process.pid
    pids = [mark.payload.data[0].holder.pid for mark in marks]

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    assert gone(lambda: [pid for pid in pids[:-1] if parent(pid) != keeper])
    other = fork(forks.Sick)
    other.snapshot()
    for mark in marks:
        env.release(mark)
    assert gone(lambda: alive(pids))
