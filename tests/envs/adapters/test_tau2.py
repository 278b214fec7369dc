"""Tickets of tau2-bench: judged as the library judges them, and restored in any process."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.adapters.tau2 import ENV_ID, Tau2Env
from leafe_gym.errors import ResetNeeded, UsageError

pytest.importorskip("tau2.domains", reason="pip install 'leafe-gym[tau2]'")
TOGGLE = json.dumps({"name": "toggle_roaming", "arguments": {}})
CHECK = json.dumps({"name": "check_network_status"})
DONE = json.dumps({"name": "done", "arguments": {}})


def library_reward(env: Tau2Env, calls: list[str]) -> float:
    """What the library's evaluator says about a trajectory."""
    from tau2.data_model.message import AssistantMessage, ToolCall
    from tau2.domains.telecom.environment import get_environment
    from tau2.evaluator.evaluator_env import EnvironmentEvaluator

    task, world = env._task(), env._new_world()
    start = task.initial_state
    world.set_state(start.initialization_data, start.initialization_actions, [])
    messages: list[Any] = []
    for number, call in enumerate(map(json.loads, calls)):
        made = ToolCall(id=str(number), requestor="assistant", **call)
        messages += [
            AssistantMessage(role="assistant", tool_calls=[made]),
            world.get_response(made),
        ]
    found = EnvironmentEvaluator.calculate_reward(get_environment, task, messages, solo_mode=True)
    return float(found.reward)


def test_own_solutions_are_judged_as_the_library_does(counts: Callable[[int, int], int]) -> None:
    env = Tau2Env(max_steps=None)
    won = 0
    for seed in range(counts(6, 100)):
        env.reset(seed=seed)
        *calls, done = env.walkthrough()
        for call in calls:
            assert env.step(call)[1:4] == (0.0, False, False)
        *_, info = env.step(done)
        assert info["score"] == float(info["won"]) == library_reward(env, calls)
        won += info["won"]
        env.reset(seed=seed)
        *_, info = env.step(done)
        assert info["score"] == library_reward(env, [])
    assert won >= counts(3, 70)


def test_contracts() -> None:
    check_env(gym.make(ENV_ID).unwrapped, skip_render_check=True)
    report = lg.check_rollback(
        ENV_ID, actions=[TOGGLE, CHECK], seeds=(0,), backends=["native"], other_process=False
    )
    report.raise_for_failures()


def test_a_state_goes_to_another_instance() -> None:
    env, other = Tau2Env(), Tau2Env()
    env.reset(seed=3)
    env.step(TOGGLE)
    state = pickle.loads(pickle.dumps(env.get_state()))
    after = [env.step(one) for one in (CHECK, TOGGLE, CHECK, DONE)]
    for _ in range(2):
        other.set_state(state)
        assert [other.step(one) for one in (CHECK, TOGGLE, CHECK, DONE)] == after
    with pytest.raises(ResetNeeded):
        other.step(DONE)


@pytest.mark.parametrize(
    "action",
    ["", "toggle_roaming", "[1]", '{"name": 3}', '{"name": "done", "arguments": 1}', "[" * 9999,
     '{"name": "__class__"}', '{"name": "toggle_roaming", "arguments": {"requestor": "user"}}'],
)  # fmt: skip
def test_what_is_no_tool_call_changes_nothing(action: str) -> None:
    env = Tau2Env()
    env.reset(seed=1)
    before = env.get_state()
    said, reward, over, _, info = env.step(action)
    assert (said.startswith("Error"), reward, over) == (True, 0.0, False)
    assert info["feedback"] == said
    assert env.get_state()[3:] == before[3:]


def test_splits_share_no_task() -> None:
    listed = [[t.kwargs["task"] for t in lg.tasks(ENV_ID, s)] for s in ("train", "val", "test")]
    assert sum(map(len, listed)) == len({name for part in listed for name in part}) == 114
    assert len(listed[2]) == 40
    with pytest.raises(UsageError, match="no task"):
        Tau2Env(task=listed[0][0], split="test")
    with pytest.raises(UsageError, match="selects one task"):
        lg.tasks(ENV_ID, task=listed[0][0])
