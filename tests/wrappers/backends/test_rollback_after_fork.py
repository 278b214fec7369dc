"""Environments in a process of their own, used after a fork of the program that made them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.envs.space import TextSpace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="backend 'fork' is for Linux")


class Counter(gym.Env[str, str]):
    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return "count 0", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return f"count {self.count}", 0.0, False, False, {}


def in_a_child(function: Callable[[], str]) -> str:
    """What `function` returns in a fork of this process, or the name and text of its error."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = function()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(theirs, said.encode()[:4000])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def env() -> Any:
    made = lg.RollbackWrapper(Counter(), "fork", factory=Counter, probe_actions=["a", "b"])
    made.reset(seed=0)
    made.step("a")
    snapshot = made.snapshot()
    made.step("a")
    yield made, snapshot
    made.close()


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "step": lambda env, snapshot: env.step("a"),
    "reset": lambda env, snapshot: env.reset(seed=0),
    "restore": lambda env, snapshot: env.restore(snapshot),
    "snapshot": lambda env, snapshot: env.snapshot(),
    "rollback": lambda env, snapshot: env.rollback(0),
    "fork": lambda env, snapshot: env.fork(),
    "attribute": lambda env, snapshot: env.get_wrapper_attr("count"),
    "render": lambda env, snapshot: env.render(),
}


@pytest.mark.parametrize("name", CALLS)
def test_use_in_a_child_raises_at_once(env: Any, name: str) -> None:
    made, snapshot = env
    said = in_a_child(lambda: str(CALLS[name](made, snapshot)))
    assert said.startswith("ForkedUse: ")
    assert "make the environment in the process that uses it" in said
    assert made.step("a")[0] == "count 3"
    assert made.restore(snapshot)[0] == "count 1"


def test_closing_in_a_child_leaves_the_parent_alone(env: Any) -> None:
    made, snapshot = env
    assert in_a_child(lambda: str(made.close())) == "None"
    assert in_a_child(lambda: str(made.release(snapshot))) == "None"
    assert made.step("a")[0] == "count 3"
    assert made.restore(snapshot)[0] == "count 1"


def test_a_child_can_make_its_own(env: Any) -> None:
    def play() -> str:
        own = lg.RollbackWrapper(Counter(), "fork", factory=Counter, probe_actions=["a", "b"])
        own.reset(seed=0)
        own.step("a")
        snapshot = own.snapshot()
        own.step("a")
        own.restore(snapshot)
        said = str(own.step("a")[0])
        own.close()
        return said

    assert in_a_child(play) == "count 2"
    assert env[0].step("a")[0] == "count 3"


def test_two_children_at_the_same_time(env: Any) -> None:
    made, _ = env

    def many() -> str:
        said = set()
        for _ in range(20):
            try:
                made.reset(seed=1)
                said.add(made.step("a")[0])
            except errors.ForkedUse:
                said.add("refused")
        return " ".join(sorted(said))

    assert [in_a_child(many) for _ in range(2)] == ["refused", "refused"]
    assert made.step("a")[0] == "count 3"


SCRIPT = """
    import dataclasses, enum, sys
    import gymnasium as gym
    import leafe_gym as lg
    from leafe_gym.envs.space import TextSpace

    @dataclasses.dataclass
    class Command:
        text: str

    class Kind(enum.Enum):
        SET = 1
        ADD = 2

    class Word(str):
        pass

    class Store(gym.Env):
        observation_space = action_space = TextSpace()
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.kept = []
            return "start", {}
        def step(self, action):
            known = isinstance(action, (Command, Kind, Word))
            self.kept.append(action)
            return [known, action], 0.0, False, False, {}

    if __name__ == "__main__":
        actions = [Command("set 1"), Kind.ADD, Word("go")]
        env = lg.RollbackWrapper(Store(), "fork", factory=Store, probe_actions=actions)
        env.reset(seed=0)
        env.step(actions[0])
        snapshot = env.snapshot()
        first = [env.step(one)[0] for one in actions]
        env.restore(snapshot)
        assert [env.step(one)[0] for one in actions] == first
        assert all(known and type(shown) is type(one)
                   for (known, shown), one in zip(first, actions)), first
        env.close()
        print("right")
"""


def test_classes_of_the_program_itself(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == "right\n", done.stderr


class Unloadable:
    """Can be written, but not read anywhere else."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> Any:
        return _load, (self.pid,)


def _load(pid: int) -> Unloadable:
    if os.getpid() != pid:
        raise LookupError("there is no such session here")
    return Unloadable()


class Hands(Counter):
    def step(self, action: Any) -> Any:
        shown, *rest = super().step("")
        return (Unloadable() if action == "bad" else shown, *rest)


def test_what_cannot_be_read_is_named() -> None:
    env = lg.RollbackWrapper(Hands(), "fork", factory=Hands, probe_actions=["a", "b"])
    env.reset(seed=0)
    env.step("a")
    snapshot = env.snapshot()
    with pytest.raises(errors.BackendError, match="cannot read what was passed to step"):
        env.step([Unloadable()])
    env.restore(snapshot)
    with pytest.raises(errors.BackendError, match="no such session"):
        env.step("bad")
    env.restore(snapshot)
    assert env.step("a")[0] == "count 2"
    env.close()
