"""ScienceWorld: restores are exact, games are independent, results equal the simulator's."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from java_games import need_java, quick_java

import leafe_gym as lg
from leafe_gym.envs.scienceworld.game_pool import MAX_IDLE, GameHandle, GamePool
from leafe_gym.envs.scienceworld.interpreter import Interpreter
from leafe_gym.envs.scienceworld.jvm import Simulator
from leafe_gym.envs.scienceworld.task_catalogue import (
    SIMPLIFICATIONS,
    TASKS,
    VARIATIONS,
    variations,
)
from leafe_gym.errors import RestoreMismatch
from leafe_gym.testing.players.follower import Follower
from leafe_gym.testing.triples import triples

pytestmark = pytest.mark.jvm
ENV = "leafe/ScienceWorld-v0"
Counts = Callable[[int, int], int]
SHORT: dict[str, Any] = {
    "task": "lifespan-longest-lived",
    "variation": 1,
    "max_steps": 10,
    "admissible": False,
}
"""A game that is won in 6 steps; the same in all tests, so that backends are verified once."""


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """One Java process for all tests of the module that do not want their own."""
    need_java()
    with quick_java():
        handle = GameHandle()
        handle.pool()
        yield
        handle.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as them:
        yield them


def made(
    stack: ExitStack, task: str | None = None, variation: int | None = 0, **kwargs: Any
) -> Any:
    env = gym.make(ENV, task=task, variation=variation if task else None, **kwargs)
    stack.callback(env.close)
    return env.unwrapped


def alone(env: Any) -> Any:
    """Give an environment a Java process of its own, fresh."""
    pool = GamePool(Simulator())
    pool.users = 1
    env.unwrapped._handle.close()
    env.unwrapped._handle._pool = pool
    return env


def wander(env: Any, rng: random.Random, steps: int, seed: int = 0) -> list[Any]:
    """Reset and take random actions; everything that came of it, and the actions."""
    outcomes = [env.reset(seed=seed)]
    actions = []
    for _ in range(steps):
        commands = outcomes[-1][-1]["admissible_commands"]
        actions.append(rng.choice([one for one in commands if not one.startswith("focus")]))
        outcomes.append(env.step(actions[-1]))
    return [actions, outcomes]


# Rollback


def test_contracts(counts: Counts) -> None:
    plain = gym.make(ENV, task="power-component", split="train", admissible=False).unwrapped
    check_env(plain, skip_render_check=True)
    plain.close()
    report = lg.check_rollback(
        ENV,
        make_kwargs={"task": "power-component", "split": "train"},
        backends=["native", "replay"][: counts(1, 2)],
        seeds=[3],
        other_process=bool(counts(0, 1)),
    )
    report.raise_for_failures()
    assert not report.unproved, str(report)


def test_auto_chooses_native(stack: ExitStack) -> None:
    env = lg.RollbackWrapper(gym.make(ENV, **SHORT))
    stack.callback(env.close)
    env.reset(seed=0)
    env.step("look in blast furnace")
    snapshot = env.snapshot()
    assert env.backend_report.chosen == "native", str(env.backend_report)
    assert snapshot.scope == "portable"


def test_triples(counts: Counts) -> None:
    """Ten tasks at a time; what is left alone has a fresh Java process of its own."""
    for group, simplifications in list(enumerate(("easy", "openDoors", "")))[: counts(1, 3)]:
        tasks = list(VARIATIONS)[group::3][: counts(4, 10)]
        made_so_far = 0

        def make(tasks: list[str] = tasks, simplifications: str = simplifications) -> Any:
            nonlocal made_so_far
            made_so_far += 1
            env = Several(tasks, simplifications)
            return alone(env) if made_so_far == 2 else env

        found = triples(
            make, counts(5, 70), backend="native", longest=counts(3, 10), seeds=len(tasks)
        )
        assert found == []


class Several(gym.Wrapper[Any, Any, Any, Any]):
    """The task is that of the seed's number."""

    def __init__(self, tasks: list[str], simplifications: str) -> None:
        super().__init__(gym.make(ENV, simplifications=simplifications, max_steps=25).unwrapped)
        self._tasks = tasks

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.unwrapped._task = self._tasks[(seed or 0) % len(self._tasks)]  # type: ignore[attr-defined]
        return self.env.reset(seed=seed, options=options)


def test_a_state_is_a_value_and_goes_to_other_processes(stack: ExitStack) -> None:
    one, other = made(stack, "melt"), alone(made(stack, "boil", 2, admissible=False))
    wander(one, random.Random(0), 4)
    state = one.get_state()
    expected = one.step("look around")[:4], one.get_state()
    other.set_state(state)  # never reset, another task, another Java process
    assert (other.step("look around")[:4], other.get_state()) == expected
    one.set_state(state)
    assert (one.step("look around")[:4], one.get_state()) == expected


def test_another_outcome_is_noticed(stack: ExitStack) -> None:
    env = made(stack, "melt", admissible=False)
    env.reset(seed=0)
    for action in ("wait1", "open cupboard", "inventory"):
        env.step(action)
    state = env.get_state()
    for at, step in ((0, None), (2, 1)):
        history = list(state.history)
        history[at] = history[at]._replace(answer=0)
        with pytest.raises(RestoreMismatch) as error:
            env.set_state(state._replace(history=tuple(history)))
        assert error.value.step == step
    assert "'open cupboard'" in str(error.value)
    env.set_state(state)
    assert env.step("inventory")[0]


def test_a_held_game_is_restored_without_work(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = made(stack, "melt", admissible=False)
    env.reset(seed=0)
    env.step("open cupboard")
    state = env.get_state()
    env.hold()
    env.hold(state)
    expected = env.step("look around")
    env.step("open door to kitchen")
    pool = env._handle.pool()
    assert pool.held() == 2

    def no(*_: Any) -> None:
        raise AssertionError("work was done")

    with monkeypatch.context() as patch:
        patch.setattr(Interpreter, "step", no)
        env.set_state(state)
    assert env.step("look around") == expected
    assert pool.held() == 1
    env.release_state(state)
    assert pool.held() == 0
    env.set_state(state)
    assert env.step("look around") == expected


def test_games_are_given_up(stack: ExitStack) -> None:
    env = alone(made(stack, "melt", admissible=False))
    states = []
    for variation in range(3):
        env._variation = variation
        env.reset(seed=0)
        for _ in range(4):
            env.step("wait1")
            states.append(env.get_state())
    for state in states + states[::-1]:
        env.set_state(state)
    assert len(env._handle.pool()._idle) <= MAX_IDLE


# Independent games


def together(stack: ExitStack, tasks: dict[str, str]) -> list[Any]:
    """Play in one fresh Java process, taking turns at random; actions and what came of them."""
    rng = random.Random(4)
    first = alone(made(stack, next(iter(tasks)), simplifications=next(iter(tasks.values()))))
    envs = [first]
    for task, simplifications in list(tasks.items())[1:]:
        envs.append(made(stack, task, simplifications=simplifications))
        envs[-1]._handle._pool = first._handle.pool()
        first._handle.pool().users += 1
    played: list[Any] = [[[], [env.reset(seed=0)]] for env in envs]
    for number in rng.choices(range(len(envs)), k=6 * len(envs)):
        actions, outcomes = played[number]
        commands = outcomes[-1][-1]["admissible_commands"]
        wait = rng.random() < 0.5
        actions.append("wait1" if wait else rng.choice([c for c in commands if "focus" not in c]))
        outcomes.append(envs[number].step(actions[-1]))
    for one, env in zip(played, envs, strict=True):
        one.append(random_state(env))
    return played


MEETING = {"find-animal": "easy", "grow-plant": "", "test-conductivity": "openDoors"}


def random_state(env: Any) -> Any:
    """The next number of a game's generator, and the id of its next object."""
    game = env._handle.game
    with game.jvm.active(game._statics) as wire:
        return wire.call(game._statics.random, "nextInt"), wire.call(game.jvm._ids, "count")


def separately(stack: ExitStack, played: list[Any]) -> list[bool]:
    """Whether each game comes out the same by itself in another process, without lists."""
    equal = []
    for (task, simplifications), (actions, outcomes, lucky) in zip(
        MEETING.items(), played, strict=True
    ):
        env = made(stack, task, simplifications=simplifications, admissible=False)
        again = [env.reset(seed=0), *(env.step(action) for action in actions)]
        last = outcomes[-1][-1]["admissible_commands"]
        env.admissible, env._commands = True, None
        same = last == env.actions() and lucky == random_state(env)
        for *_, info in outcomes:
            info.pop("admissible_commands")
        equal.append(again == outcomes and same)
    return equal


def test_games_in_one_process_are_independent(stack: ExitStack) -> None:
    assert separately(stack, together(stack, MEETING)) == [True] * 3


def test_they_would_if_statics_were_left_alone(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test above shows something."""
    with monkeypatch.context() as patch:
        patch.setattr(Simulator, "_set_static", lambda *_: None)
        played = together(stack, MEETING)
    assert not any(separately(stack, played))


# The simulator


def test_the_catalogue_is_the_simulators(stack: ExitStack) -> None:
    handle = GameHandle()
    stack.callback(handle.close)
    game = Interpreter(handle.pool().jvm)
    listed = str(game.ask("getTaskNames")).strip("[]").split(", ")
    assert sorted(listed) == sorted(TASKS)
    assert sorted(str(game.ask("getPossibleSimplifications")).split(", ")) == sorted(
        SIMPLIFICATIONS
    )
    for task, count in VARIATIONS.items():
        assert game.ask("getTaskMaxVariations", task) == count
        game.ask("taskStr_$eq", task)
        for split, name in (("train", "Train"), ("val", "Dev"), ("test", "Test")):
            said = str(game.ask(f"getVariations{name}"))
            assert said == str(list(variations(task, split)))


def test_gold_paths_win(stack: ExitStack, counts: Counts) -> None:
    for task in TASKS if counts(0, 1) else ("find-plant", "lifespan-longest-lived"):
        env = made(stack, task, admissible=False, max_steps=None)
        _, info = env.reset(seed=0)
        assert info["instruction"].startswith("Your task is to ")
        assert "Actions: " in info["instruction"]
        start = round(100 * info["score"])
        outcomes = [env.step(action) for action in env.walkthrough()]
        assert sum(outcome[1] for outcome in outcomes) == 100.0 - start
        assert [outcome[2] for outcome in outcomes] == [False] * (len(outcomes) - 1) + [True]
        assert (outcomes[-1][4]["won"], outcomes[-1][4]["score"]) == (True, 1.0)


def test_the_library_says_the_same(stack: ExitStack) -> None:
    """ScienceWorld's own environment in another process, step by step."""
    env = made(stack, "melt", 3)
    observation, info = env.reset(seed=0)
    way = [*env.walkthrough()[:4], "open the sky", "focus on agent"]
    script = Path(__file__).with_name("play_with_scienceworld.py")
    given = json.dumps(["melt", 3, "easy", way])
    environ = {
        **os.environ,
        "JAVA_TOOL_OPTIONS": "-XX:+UnlockExperimentalVMOptions -XX:hashCode=2 "
        "-XX:TieredStopAtLevel=1 -Xmx512m",
    }
    run = subprocess.run(
        [sys.executable, str(script), given],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    start, *theirs = json.loads(run.stdout.splitlines()[-1])
    assert start[0] == observation
    assert len(start[1]) == len(info["admissible_commands"])
    for action, (said, reward, done) in zip(way, theirs, strict=True):
        outcome = env.step(action)
        assert outcome[:3] == (said, float(reward), done), action
        if action == "open the sky":
            assert outcome[4]["feedback"] == said == "No known action matches that input."
    assert outcome[1:3] == (-float(sum(reward for _, reward, _ in theirs[:-1])) - 100, True)
    assert (outcome[4]["won"], outcome[4]["score"]) == (False, 0.0)


@pytest.mark.parametrize(
    ("task", "points"), [("find-plant", 8), ("find-living-thing", 8), ("find-animal", 8)]
)
def test_points_of_the_start_are_no_reward(stack: ExitStack, task: str, points: int) -> None:
    env = made(stack, task, 0, admissible=False)
    _, info = env.reset(seed=0)
    assert info["score"] == points / 100
    state = env.get_state()
    _, reward, *_, info = env.step("look around")
    assert (reward, info["score"]) == (0.0, points / 100)
    env.set_state(state)
    assert env.step("look around")[1] == 0.0


def test_a_tree(stack: ExitStack) -> None:
    env = lg.RollbackWrapper(gym.make(ENV, **SHORT), "native")
    stack.callback(env.close)
    env.reset(seed=0)
    way = env.unwrapped.walkthrough()  # type: ignore[attr-defined]
    player = Follower({"": way}, noise=0.3, wrong=("open the sky", "wait1"))
    tree = lg.ReflectiveTreeAgent(player).run(env, budget=lg.Budget(interactions=200), seed=1)
    assert tree.solved
    assert any(branch.experience and branch.won for branch in tree.branches)


@pytest.mark.parametrize(
    "action",
    ["", "\0", "open\ndoor to\tkitchen", "köchin \ud800 🧪", "x" * 10_000, "3", "\\n", "!"],
)
def test_any_words_are_taken(stack: ExitStack, action: str) -> None:
    env = made(stack, "melt", admissible=False)
    env.reset(seed=0)
    said, reward, terminated, _, _ = env.step(action)
    assert said
    assert (reward, terminated) == (0.0, False)
    assert env.step("inventory")[0].startswith("In your inventory")
