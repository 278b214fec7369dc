"""Games that ALFWorld's own `alfworld-generate` makes, in step with the library."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import alfred_scenes
import gymnasium as gym
import pytest

import leafe_gym as lg

PROGRAM = Path(sys.executable).with_name("alfworld-generate")
SPEC = find_spec("alfworld")
if SPEC is None or find_spec("fast_downward") is None:
    pytest.skip("pip install 'leafe-gym[alfworld]'", allow_module_level=True)

ENV = "leafe/ALFWorld-v0"
FILE = "game.tw-pddl"


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder above `json_2.1.1`, with games that ALFWorld's program made."""
    assert SPEC is not None
    assert SPEC.submodule_search_locations
    package = Path(SPEC.submodule_search_locations[0])
    # Beside the package where this interpreter only borrows the packages of another.
    program = PROGRAM if PROGRAM.is_file() else package.parents[3] / "bin" / PROGRAM.name
    if not program.is_file():
        pytest.skip("the program alfworld-generate is not installed")
    root = tmp_path_factory.mktemp("alfred")
    alfred_scenes.write_sources(root / "source")
    given = {
        "data_path": root / "source",
        "save_path": root / "made",
        "domain": package / "data" / "alfred.pddl",
        "grammar": package / "data" / "alfred.twl2",
        "expert_type": "planner",
        "end": 99,  # its default leaves the last game out
    }
    argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    environ = {**os.environ, "ALFWORLD_DATA": str(root / "made")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALFWORLD_DATA", str(root / "made"))
        subprocess.run(
            [sys.executable, str(program), *argv], env=environ, check=True, capture_output=True
        )
        yield root / "made"


def test_all_are_found(games: Path) -> None:
    trials = [str(task.kwargs["trial"]) for task in lg.tasks(ENV, "test", data=str(games))]
    assert {trial.split("/")[1].partition("-")[0] for trial in trials} == set(alfred_scenes.TASKS)
    assert len(trials) == 6


@pytest.mark.parametrize("task_type", alfred_scenes.TASKS)
def test_a_game_is_won_and_reads_as_in_the_library(games: Path, task_type: str) -> None:
    """In step with TextWorld's own environment: random commands, then the walkthrough."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs import PddlEnv

    path = next(games.rglob(f"{task_type}-*/*/{FILE}"))
    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    library = AlfredDemangler(PddlEnv(infos), shuffle=False)
    library.load(json.loads(path.read_text()))
    env: Any = gym.make(ENV, data=str(path)).unwrapped
    rng = random.Random(task_type)
    for plan in ([""] * 2, None):
        state = library.reset()
        observation, info = env.reset(seed=0)
        assert observation in state.feedback
        assert info["instruction"].split("\n")[0] in state.feedback
        for command in env.walkthrough() if plan is None else plan:
            assert info["admissible_commands"] == state.admissible_commands
            command = command or rng.choice(state.admissible_commands)
            observation, reward, terminated, _, info = env.step(command)
            state, score, done = library.step(command)
            assert observation == state.feedback.strip()
            assert (reward, terminated, info["won"]) == (score, done, state.won)
    assert done
    assert reward == 1
