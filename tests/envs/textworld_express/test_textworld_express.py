"""TextWorldExpress: equal to the library's own environment, and restored in any process."""

from __future__ import annotations

import gc
import os
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from java_games import need_java, quick_java

import leafe_gym as lg
from leafe_gym.envs.textworld_express.engine import LIBRARY
from leafe_gym.envs.textworld_express.env import ENV_ID, GAMES, TextWorldExpressEnv
from leafe_gym.errors import EnvironmentFailure, ResetNeeded, RestoreMismatch, UsageError

library = pytest.importorskip(
    "textworld_express", reason="pip install 'leafe-gym[textworld-express]'"
)
pytestmark = pytest.mark.jvm
SMALL = {"numLocations": 3}


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[TextWorldExpressEnv]:
    """An environment that keeps the Java process for all tests."""
    need_java(LIBRARY)
    with quick_java():
        env = TextWorldExpressEnv()
        env.reset(seed=0)
        yield env
        env.close()


def play(env: Any, actions: list[str]) -> list[Any]:
    seen = []
    for action in actions:
        seen.append(env.step(action))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_episodes_equal_the_library_s(counts: Callable[[int, int], int]) -> None:
    theirs = library.TextWorldExpressEnv(envStepLimit=1000)
    rng = random.Random(0)
    try:
        for number in range(counts(8, 200)):
            game, split = GAMES[number % 8], ("train", "dev", "test")[number % 3]
            variation = (0, 10_000, 20_000)[number % 3] + rng.randrange(1000)
            ours = TextWorldExpressEnv(game, variation=variation, max_steps=None)
            said, info = ours.reset(seed=0)
            text, other = theirs.reset(variation, split, game, "")
            assert (said, info["score"]) == (text.strip(), max(0, other["score"]))
            assert theirs.getTaskDescription() in info["instruction"]
            for _ in range(15):
                choices = [*sorted(other["validActions"]), "xyzzy", "help"]
                assert info["admissible_commands"] == choices[:-2]
                action = rng.choice(choices)
                said, reward, over, _, info = ours.step(action)
                text, points, done, other = theirs.step(action)
                assert (said, reward, over) == (text.strip(), points, done), (game, action)
                if over:
                    break
    finally:
        theirs.close()
        del theirs
        gc.collect()  # it leaves its sockets and pipes open


@pytest.mark.parametrize("game", GAMES)
def test_the_walkthrough_wins(game: str) -> None:
    env = TextWorldExpressEnv(game, max_steps=None)
    env.reset(seed=4)
    *_, last = play(env, env.walkthrough())
    assert (last[2], last[4]["won"], last[4]["score"]) == (True, True, 1.0)


def test_contracts() -> None:
    make: dict[str, Any] = {"game": "coin", "params": SMALL}
    check_env(gym.make(ENV_ID, **make).unwrapped, skip_render_check=True)
    report = lg.check_rollback(ENV_ID, seeds=(0,), make_kwargs=make, backends=["native"])
    report.raise_for_failures()
    assert report.verdict("native").outcome == "right", str(report)


def test_games_of_one_process_do_not_touch_each_other(counts: Callable[[int, int], int]) -> None:
    rng = random.Random(1)
    for seed in range(counts(2, 20)):
        alone = []
        for game in GAMES:
            env = TextWorldExpressEnv(game, max_steps=None)
            _, info = env.reset(seed=seed)
            actions = [rng.choice(info["admissible_commands"]) for _ in range(6)]
            alone.append((actions, play(env, actions)))
        envs = [TextWorldExpressEnv(game, max_steps=None) for game in GAMES]
        for env in envs:
            env.reset(seed=seed)
        for turn in range(6):
            for env, (actions, seen) in zip(envs, alone, strict=True):
                if turn < len(seen):
                    assert env.step(actions[turn]) == seen[turn]


def test_a_state_is_restored_in_another_instance_and_after_java_was_lost() -> None:
    env = TextWorldExpressEnv("twc", params=SMALL)
    _, info = env.reset(seed=5)
    env.step(info["admissible_commands"][0])
    state = pickle.loads(pickle.dumps(env.get_state()))
    after = [env.step(action) for action in ("look around", "xyzzy")]
    other = TextWorldExpressEnv("twc", params=SMALL)
    other.set_state(state)
    assert [other.step(action) for action in ("look around", "xyzzy")] == after
    other._game._java._process._process.kill()  # type: ignore[union-attr]
    with pytest.raises(EnvironmentFailure, match="Java process of TextWorldExpress is gone"):
        other.step("look around")
    other.set_state(state)
    assert [other.step(action) for action in ("look around", "xyzzy")] == after
    with pytest.raises(RestoreMismatch, match="another answer"):
        other.set_state(state._replace(digest=1))


def test_a_forked_child_has_a_java_of_its_own(java: TextWorldExpressEnv) -> None:
    java.reset(seed=1)
    state, expected = java.get_state(), None
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            java.set_state(state)
            os.write(write, java.step("look around")[0].encode())
        finally:
            os._exit(0)
    os.close(write)
    expected = java.step("look around")[0]
    with os.fdopen(read, "rb") as answer:
        assert answer.read().decode() == expected
    os.waitpid(child, 0)


def test_tasks_are_the_library_s_variations() -> None:
    seen: set[Any] = set()
    for split, first in (("train", 0), ("val", 10_000), ("test", 20_000)):
        tasks = lg.tasks(ENV_ID, split, game="sorting")
        assert (len(tasks), tasks[7].kwargs["variation"], tasks[7].split) == (
            1000,
            first + 7,
            split,
        )
        seen |= {task.id for task in tasks[:50]}
    assert len(seen) == 150
    with pytest.raises(UsageError, match="variation=3 selects one task"):
        lg.tasks(ENV_ID, game="sorting", variation=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"game": "chess"}, "game='chess'"),
        ({"variation": 5000}, "use 0 to 999"),
        ({"variation": -1}, "variation=-1"),
        ({"variation": 3, "split": "val"}, "not in split"),
        ({"params": {"numLocations": "3,x=1"}}, "whole numbers"),
        ({"params": [1]}, "whole numbers"),
        ({"split": "dev"}, "split='dev'"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TextWorldExpressEnv(**arguments)


@pytest.mark.parametrize("params", [{"nosuch": 1}, {"numLocations": -3}, {"numLocations": 10**6}])
def test_parameters_that_the_library_refuses(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot load"):
        TextWorldExpressEnv("coin", params=params).reset(seed=0)


@pytest.mark.parametrize("action", ["", "\0", "\ud800", "x" * 100_000, "a\nb", "ünïcödé 🦎"])
def test_any_text_is_answered(java: TextWorldExpressEnv, action: str) -> None:
    java.reset(seed=2)
    said, reward, over, _, info = java.step(action)
    assert said
    assert (reward, over, info["feedback"]) == (0.0, False, said)


def test_nothing_before_a_reset() -> None:
    env = TextWorldExpressEnv()
    for call in (env.get_state, env.walkthrough, env.actions, lambda: env.step("look around")):
        with pytest.raises(ResetNeeded):
            call()
