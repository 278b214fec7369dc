"""ALFWorld: coming back is exact, and the texts are the library's own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.alfworld.game_file import FILE, ALFWorldGame
from leafe_gym.envs.alfworld.generate import generate
from leafe_gym.envs.alfworld.room_tables import TASK_TYPES
from leafe_gym.testing.players.follower import Follower
from leafe_gym.testing.triples import triples

if find_spec("alfworld") is None or find_spec("fast_downward") is None:
    pytest.skip("pip install 'leafe-gym[alfworld]'", allow_module_level=True)

ENV = "leafe/ALFWorld-v0"
Counts = Callable[[int, int], int]


@pytest.fixture(autouse=True)
def no_official_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def made(**kwargs: Any) -> Any:
    return gym.make(ENV, games="generated", **kwargs)


def test_contracts() -> None:
    check_env(made().unwrapped, skip_render_check=True)
    report = lg.check_rollback(
        ENV,
        make_kwargs={"games": "generated"},
        backends=["native", "replay"],
        actions=["look", "inventory", "help"],
        seeds=[3],
    )
    report.raise_for_failures()
    assert not report.unproved, str(report)


def test_triples(counts: Counts) -> None:
    # Seeds 0 to 5 are of different task types; the counts include won and truncated episodes.
    found = triples(
        lambda: made(max_steps=20), counts(30, 240), backend="native", longest=20, seeds=6
    )
    assert found == []


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_walkthrough_from_a_restored_state(task_type: str) -> None:
    env = lg.RollbackWrapper(made(task_types=task_type), "native")
    _, info = env.reset(seed=11)
    start = env.snapshot()
    plan = env.unwrapped.walkthrough()
    rng = random.Random(0)
    for _ in range(4):
        _, _, over, _, info = env.step(rng.choice(info["admissible_commands"]))
        assert not over
    assert env.unwrapped.walkthrough() == plan
    outcomes = []
    for _ in range(2):
        env.restore(start)
        rewards = [env.step(command)[1] for command in plan]
        outcomes.append(rewards)
    assert outcomes[0] == outcomes[1] == [0.0] * (len(plan) - 1) + [1.0]
    env.close()


def test_trees_of_tasks(tmp_path: Path) -> None:
    tasks = lg.tasks(ENV, "train", games="generated", max_steps=12)[:3]
    ways = {}
    for task in tasks:
        env = gym.make(task.env_id, **task.kwargs).unwrapped
        _, info = env.reset(seed=task.seed)
        ways[info["instruction"].split("\n")[0]] = env.walkthrough()
        env.close()
    agent = lg.ReflectiveTreeAgent(Follower(ways, noise=0.2))
    with lg.explore(
        agent, tasks, budget=lg.Budget(interactions=400), out=tmp_path, concurrency=2
    ) as run:
        trees = list(run.trees())
    assert [tree.solved for tree in trees] == [True] * 3
    branches = [branch for tree in trees for branch in tree.branches if branch.experience]
    assert branches
    assert any(branch.won for branch in branches)


def test_states_go_to_other_instances_and_games() -> None:
    one, other = made().unwrapped, made().unwrapped
    _, info = one.reset(seed=2)
    for command in info["admissible_commands"][:3]:
        one.step(command)
    state = one.get_state()
    expected = one.step("look")
    other.set_state(state)  # never reset
    assert other.step("look") == expected
    other.reset(seed=4)
    other.step("look")
    other.set_state(state)  # another game
    assert other.step("look") == expected
    assert other.walkthrough() == one.walkthrough()


@pytest.mark.parametrize("seed", [1, 8])
def test_the_library_says_the_same(tmp_path: Path, seed: int, monkeypatch: Any) -> None:
    """TextWorld's own environment with ALFWorld's demangler, step by step."""
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs import PddlEnv

    path = tmp_path / FILE
    layout = generate(seed)
    path.write_text(json.dumps(ALFWorldGame.generated(layout).as_json()))
    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    library = AlfredDemangler(PddlEnv(infos), shuffle=False)
    library.load(json.loads(path.read_text()))  # given a path, it leaves the file open
    state = library.reset()
    env = gym.make(ENV, trial=str(path)).unwrapped
    observation, info = env.reset(seed=0)
    assert observation in state.feedback
    assert info["instruction"].split("\n")[0] in state.feedback
    assert info["admissible_commands"] == state.admissible_commands
    rng = random.Random(seed)
    commands = [rng.choice(state.admissible_commands), "fly to the moon", *env.walkthrough()]
    commands[4:4] = ["inventory", "look", "help"]
    for number in range(len(commands)):
        command = commands[number]
        if command not in state.admissible_commands:
            assert env.step(command)[0] == library.step(command)[0].feedback.strip()
            continue
        observation, reward, terminated, _, info = env.step(command)
        state, score, done = library.step(command)
        assert observation == state.feedback.strip()
        assert (reward, terminated) == (score, done)
        assert info["admissible_commands"] == state.admissible_commands
    assert terminated
