"""Code environments after a fork: a child gets an error, never another process's result."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
from forking import in_child

from leafe_gym.errors import ForkedUse, SandboxError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
IDS = ("leafe/MBPP-v0", "leafe/CodeContests-v0", "leafe/PythonREPL-v0")
ACTION = {IDS[0]: "def f(): pass", IDS[1]: "print(1)", IDS[2]: "x = 'parent'"}
UNSANDBOXED = {"sandbox": "unsandboxed", "allow_unsandboxed": True}


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[{}, UNSANDBOXED], ids=["embedded", "unsandboxed"])
def env(env_id: str, request: pytest.FixtureRequest) -> Iterator[gym.Env[Any, Any]]:
    """An environment whose sandbox runs."""
    made = gym.make(env_id, **request.param)
    made.reset(seed=0)
    made.step(ACTION[env_id])
    yield made
    made.close()


def test_every_use_in_a_child_raises(env: Any) -> None:
    bare = env.unwrapped
    state = bare.get_state()
    calls = [
        lambda: env.step("x = 'child'"),
        bare.get_state,
        lambda: bare.set_state(state),
        lambda: env.reset(seed=1),
    ]
    assert in_child(*calls) == ["ForkedUse"] * len(calls)
    assert env.step("x")[0]  # the parent goes on
    bare.set_state(state)
    if bare.spec.id == IDS[2]:
        assert env.step("x")[0] == "'parent'"


def test_an_environment_that_was_only_reset_is_refused_too(env_id: str) -> None:
    env = gym.make(env_id)
    env.reset(seed=0)
    assert in_child(lambda: env.step(ACTION[env_id])) == ["ForkedUse"]
    env.step(ACTION[env_id])
    env.close()


def test_one_that_was_never_used_belongs_to_whoever_uses_it_first(env_id: str) -> None:
    env = gym.make(env_id)

    def play() -> str:
        env.reset(seed=0)
        shown = env.step(ACTION[env_id])[0]
        env.close()
        return str(shown)

    expected = in_child(play)
    assert " " in expected[0]  # an observation, not the name of an exception
    assert in_child(play) == expected
    assert [play()] == expected


def test_close_and_exit_in_a_child_leave_the_parent_alone(env: Any) -> None:
    bare = env.unwrapped
    state = bare.get_state()

    def release() -> None:
        if hasattr(bare, "release_state"):
            bare.release_state(state)

    done = in_child(release, bare.close, bare.close, gc.collect, run_exit_handlers=True)
    assert done[:3] == ["None"] * 3
    bare.set_state(state)
    env.step("x")


def test_after_close_a_child_can_start_its_own(env: Any, env_id: str) -> None:
    def own() -> str:
        env.close()
        env.reset(seed=0)
        shown = env.step(ACTION[env_id])[0]
        env.close()
        return str(shown)

    env.reset(seed=0)
    expected = env.step(ACTION[env_id])[0]
    assert in_child(own) == [expected]
    env.step("x")


def test_a_state_of_the_parent_is_refused_by_a_childs_own_session() -> None:
    parent = gym.make(IDS[2]).unwrapped
    parent.reset(seed=0)
    state = parent.get_state()

    def adopt() -> None:
        child = gym.make(IDS[2]).unwrapped
        child.reset(seed=0)
        try:
            child.set_state(state)
        finally:
            child.close()

    assert in_child(adopt) == ["ForkedUse"]
    parent.set_state(state)
    parent.close()


def test_a_state_that_a_child_forgets_is_kept_in_the_parent() -> None:
    env = gym.make(IDS[2]).unwrapped
    env.reset(seed=0)
    env.step("x = 1")
    states = [env.get_state()]
    env.step("x = 2")

    def forget() -> None:
        states.clear()
        gc.collect()

    assert in_child(forget) == ["None"]
    env.set_state(states[0])
    assert env.step("x")[0] == "1"
    env.close()


PROGRAMS = [
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "wrong"),
    ("1 / 0", "ZeroDivisionError"),
    ("print('nothing')", "nothing"),
]


def _judge(env: Any, number: int, results: Any) -> None:
    for turn in range(8):
        code, expected = PROGRAMS[(number + turn) % len(PROGRAMS)]
        try:
            env.reset(seed=0)
            shown = env.step(f"{code}\n# {number} {turn}")[0]
        except (ForkedUse, SandboxError) as error:
            results.put((type(error).__name__, True))
        else:
            results.put(("judged", expected.lower() in shown.lower()))
    os._exit(0)


def test_children_of_one_environment_never_get_each_others_results() -> None:
    """Both a wrong result and a failing connection are errors that the guard prevents."""
    env = gym.make(IDS[1], problem="carousel")
    env.reset(seed=0)
    env.step("print(1)")
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=_judge, args=(env, n, results)) for n in range(3)]
    for child in children:
        child.start()
    told = [results.get() for _ in range(8 * len(children))]
    for child in children:
        child.join()
    assert told == [("ForkedUse", True)] * len(told)
    assert env.step("1 / 0")[0].count("ZeroDivisionError") == 1
    env.close()
