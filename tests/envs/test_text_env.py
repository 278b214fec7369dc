"""What `TextEnv` checks and counts, on environments of the package and on small ones."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.adapters.toy_text import FrozenLakeEnv, TaxiEnv
from leafe_gym.envs.code.mbpp import MbppEnv
from leafe_gym.envs.code.repl import PythonReplEnv
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.errors import ResetNeeded, UsageError


class Faulty(lg.TextEnv):
    """Counts its actions; "break" and the option "break" raise an error."""

    reset_options = ("break", "start")

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> lg.Opening:
        self.taken: list[str] = []
        if "break" in options:
            raise RuntimeError("no beginning")
        return lg.Opening(str(options.get("start", 0)), "Say go.", 0.25)

    def play(self, action: str) -> lg.StepOutcome:
        if action == "break":
            raise RuntimeError("no step")
        self.taken.append(action)
        won = action == "win"
        return lg.StepOutcome(f"{len(self.taken)}", 2 * won, won, action == "cut", won)

    def actions(self) -> list[str]:
        return ["go", "win"]


MADE: list[Callable[[], Any]] = [
    lambda: Faulty(max_steps=2),
    lambda: SokobanEnv(max_steps=2),
    lambda: FrozenLakeEnv(max_steps=2),
    lambda: TaxiEnv(max_steps=2),
]
each = pytest.mark.parametrize("make", MADE, ids=["Faulty", "Sokoban", "FrozenLake", "Taxi"])


@each
def test_no_step_before_a_reset_after_the_end_or_after_close(make: Callable[[], Any]) -> None:
    env = make()
    with pytest.raises(ResetNeeded, match="no episode is running"):
        env.step("go")
    env.reset(seed=0)
    assert [env.step("nothing")[2:4] for _ in range(2)] == [(False, False), (False, True)]
    with pytest.raises(ResetNeeded):
        env.step("go")
    env.reset(seed=0)
    env.close()
    with pytest.raises(ResetNeeded):
        env.step("go")
    assert env.reset(seed=0)[1]["won"] is False


@each
@pytest.mark.parametrize("action", [None, 3, b"go", ["go"], {}])
def test_an_action_that_is_no_text_changes_nothing(make: Callable[[], Any], action: Any) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(UsageError, match="give a string"):
        env.step(action)
    assert [env.step("nothing")[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_action_that_raises_counts_no_step(place: int) -> None:
    env = Faulty(max_steps=3)
    env.reset(seed=0)
    for number in range(3):
        if number == place:
            for _ in range(5):
                with pytest.raises(RuntimeError, match="no step"):
                    env.step("break")
        assert env.step("go")[3] == (number == 2)
    assert env.taken == ["go"] * 3


def test_a_failed_judgement_counts_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    env = MbppEnv(max_attempts=1, allow_unsandboxed=True)
    env.reset(seed=0)

    def fails(*_: Any) -> Any:
        raise RuntimeError("no judge")

    monkeypatch.setattr(env, "judge", fails)
    for code in ("x = 1", "y = 2"):
        with pytest.raises(RuntimeError):
            env.step(code)
        assert env.get_state()[1:] == (0, False)
    env.close()


@pytest.mark.parametrize("before", [[], ["go"], ["go", "go"]])
def test_a_beginning_that_raises_leaves_no_episode(before: list[str]) -> None:
    env = Faulty(max_steps=3)
    env.reset(seed=0)
    for action in before:
        env.step(action)
    with pytest.raises(RuntimeError, match="no beginning"):
        env.reset(options={"break": True})
    with pytest.raises(ResetNeeded):
        env.step("go")
    assert env.reset(options={"start": 7})[0] == "7"
    assert [env.step("go")[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("options", [{"brake": 1}, {1: 2}, {"start": 1, "x": 0}])
def test_unknown_options_leave_the_episode_as_it_was(options: dict[Any, Any]) -> None:
    env = Faulty(max_steps=9)
    env.reset(seed=0)
    env.step("go")
    with pytest.raises(UsageError, match="unknown reset options"):
        env.reset(options=options)
    assert env.step("go")[0] == "2"


def test_info_ends_and_rewards() -> None:
    env = Faulty(max_steps=2, render_mode="ansi")
    assert env.reset(seed=0)[1] == {
        "instruction": "Say go.", "won": False, "score": 0.25, "admissible_commands": ["go", "win"],
    }  # fmt: skip
    assert env.step("cut")[1:4] == (0.0, False, True)
    env.reset(seed=0)
    env.step("go")
    observation, reward, terminated, truncated, info = env.step("win")
    assert (observation, reward, terminated, truncated) == ("2", 2.0, True, False)
    assert env.render() == "2"
    assert (type(reward), info["won"], info["feedback"]) == (float, True, "")
    check_env(Faulty(max_steps=5), skip_render_check=True)


@pytest.mark.parametrize("arguments", [{"max_steps": 0}, {"max_steps": True}, {"render_mode": "x"}])
def test_arguments_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        Faulty(**arguments)


@pytest.mark.parametrize("kind", [MbppEnv, PythonReplEnv])
def test_what_holds_a_process_cannot_be_copied(kind: Any) -> None:
    env = kind(allow_unsandboxed=True)
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copied(env)
    env.close()
    pickle.dumps(SokobanEnv())


def test_a_goal_of_the_session_is_one_task() -> None:
    from leafe_gym.envs.tasks import one_task

    task = one_task("leafe/PythonREPL-v0", goal=3)
    assert task is not None
    assert task.kwargs == {"goal": 3}
    with pytest.raises(UsageError, match="goal=3 selects one task"):
        lg.tasks("leafe/PythonREPL-v0", goal=3)
    with pytest.raises(UsageError, match="problem='x'"):
        gym.make("leafe/MBPP-v0", problem="x")
