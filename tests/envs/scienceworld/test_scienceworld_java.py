"""ScienceWorld's Java process: it may be missing, break or be killed, and never stays behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from java_games import need_java, quick_java

import leafe_gym as lg
from leafe_gym.envs.java import process as java_process
from leafe_gym.envs.java.py4j_client import Py4JClient
from leafe_gym.envs.java.runtime import JavaLibrary
from leafe_gym.envs.scienceworld.game_pool import GameHandle
from leafe_gym.errors import EnvironmentFailure, UsageError

pytestmark = pytest.mark.jvm
ENV = "leafe/ScienceWorld-v0"
SHORT = {"task": "lifespan-longest-lived", "variation": 1, "max_steps": 10, "admissible": False}
"""As in the tests of the environment, which verify its backends in the same process."""


@pytest.fixture(autouse=True)
def java() -> Iterator[None]:
    need_java()
    with quick_java():
        yield
    assert not java_process._running, "a Java process was left behind"


def made() -> Any:
    return gym.make(ENV, task="melt", variation=0, admissible=False)


def gone(pid: int, seconds: float = 120.0) -> bool:
    """Whether a process that is not a child of ours ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


def pid_of(env: Any) -> int:
    return int(env.unwrapped._handle.pool().jvm.pid)


@pytest.mark.parametrize(
    "how", ["closed", "forgotten", "killed", "killed with a fork alive", "forked"]
)
def test_nothing_is_left_behind(how: str) -> None:
    script = Path(__file__).with_name("scienceworld_child.py")
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if how in ("closed", "forgotten", "forked") else None,
        text=True,
        check=False,
        timeout=900,
    )
    pid = int(run.stdout.split()[0])
    assert gone(pid)
    assert run.returncode == (-signal.SIGKILL if how.startswith("killed") else 0), run.stderr
    told = (run.stderr or "").splitlines()
    assert [line for line in told if not line.startswith("starting Java")] == []
    assert not list(Path("/tmp").glob(f"hsperfdata_*/{pid}"))


def test_the_last_one_out_ends_it() -> None:
    one, other, third = made(), made(), made()
    one.reset(seed=0)
    other.reset(seed=0)
    third.reset(seed=0)
    assert pid_of(one) == pid_of(other)
    pid = pid_of(one)
    one.close()
    other.close()
    del third
    gc.collect()
    assert Path(f"/proc/{pid}").exists()  # one was not closed: it leaves when the next one comes
    handle = GameHandle()
    assert handle.pool().jvm.pid == pid
    handle.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_was_killed() -> None:
    """The error says what to do; a restore goes on in a new process, exactly."""
    env = lg.RollbackWrapper(gym.make(ENV, **SHORT), "native")
    env.reset(seed=0)
    env.step("inventory")
    env.step("wait1")
    snapshot = env.snapshot()
    expected = [env.step(action) for action in ("wait1", "look around")]
    for kill in (True, False):
        first = pid_of(env)
        if kill:
            os.kill(first, signal.SIGKILL)
        else:  # stopped: it does not answer
            os.kill(first, signal.SIGSTOP)
            env.unwrapped._handle.pool().jvm._wire._socket.settimeout(0.5)  # type: ignore[attr-defined]
        said = "was ended by signal 9" if kill else "did not answer"
        with pytest.raises(EnvironmentFailure, match=rf"{said}.*; reset\(\) or restore\(\)"):
            env.step("wait1")
        with pytest.raises(EnvironmentFailure, match=r"reset\(\) or restore\(\)"):
            env.unwrapped.step("wait1")
        assert gone(first)
        env.restore(snapshot)
        assert pid_of(env) != first
        again = [env.step(action) for action in ("wait1", "look around")]
        assert again == expected
    env.close()


def test_an_interrupt_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Java does at that time is not known, so it may not go on."""
    env = made()
    env.reset(seed=0)
    state = env.unwrapped.get_state()
    expected = env.step("look around")
    env.unwrapped.set_state(state)
    pid = pid_of(env)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Py4JClient, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.step("look around")
    assert gone(pid)
    env.unwrapped.set_state(state)
    assert env.step("look around") == expected
    env.close()


def test_an_exception_in_java() -> None:
    env = made()
    env.reset(seed=0)
    game = env.unwrapped._handle.game
    with pytest.raises(EnvironmentFailure, match=r"ScienceWorld failed: .*Text"):
        game.ask("getRunHistory" + "Text")
    with game.jvm.active(game._statics) as wire, pytest.raises(Exception, match="IndexOutOf"):
        wire.call(wire.new("java.util.ArrayList"), "get", 3)
    assert env.step("look around")[0]  # it goes on
    env.close()


def test_threads_take_turns() -> None:
    envs = [made() for _ in range(3)]
    expected = [env.reset(seed=0) for env in envs]
    actions = ["open cupboard", "wait1", "look around", "inventory"]
    played: dict[int, list[Any]] = {}

    def play(number: int) -> None:
        played[number] = [envs[number].step(action) for action in actions]

    threads = [threading.Thread(target=play, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected[0] == expected[1] == expected[2]
    assert played[0] == played[1] == played[2]
    for env in envs:
        env.close()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no such option >&2; exit 1", "ended with code 1: no such option.*JAVA_HOME"),
        ("echo Hello; exit 0", "did not start the simulator.*Java 8 or newer"),
    ],
)
def test_a_java_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    command = tmp_path / "bin" / "java"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=said):
        made().reset(seed=0)
    command.write_text("no program")
    with pytest.raises(UsageError, match=r"cannot be started.*JAVA_HOME"):
        made().reset(seed=0)


def test_a_jar_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = tmp_path / "scienceworld.jar"
    jar.write_text("<html>404</html>")
    monkeypatch.setattr(JavaLibrary, "jar_path", lambda self: jar)
    with pytest.raises(UsageError, match=r"scienceworld.jar cannot be used .*install it again"):
        made().reset(seed=0)
