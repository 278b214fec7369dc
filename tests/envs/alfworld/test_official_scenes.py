"""Games in ALFRED's form, from scenes of `alfred_scenes`: all six task types.

`test_alfworld_generator` has them made and played by ALFWorld.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import alfred_scenes
import gymnasium as gym
import pytest

import leafe_gym as lg

if find_spec("alfworld") is None or find_spec("fast_downward") is None:
    pytest.skip("pip install 'leafe-gym[alfworld]'", allow_module_level=True)

ENV = "leafe/ALFWorld-v0"
FILE = "game.tw-pddl"


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder above `json_2.1.1`, with the games that `alfworld-generate` would make."""
    spec = find_spec("alfworld")
    assert spec is not None
    assert spec.submodule_search_locations
    logic = Path(spec.submodule_search_locations[0]) / "data"
    root = tmp_path_factory.mktemp("alfred")
    alfred_scenes.write_sources(root)
    for source in root.rglob("initial_state.pddl"):
        game = {
            "pddl_domain": (logic / "alfred.pddl").read_text(),
            "grammar": (logic / "alfred.twl2")
            .read_text()
            .replace("UNKNOWN GOAL", source.parts[-3]),
            "pddl_problem": source.read_text(),
            "solvable": True,
            "walkthrough": None,
        }
        source.with_name(FILE).write_text(json.dumps(game))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALFWORLD_DATA", str(root))
        yield root


def game_of(games: Path, task_type: str) -> Path:
    return next(games.rglob(f"{task_type}-*/*/{FILE}"))


def test_all_are_found_in_their_split(games: Path) -> None:
    trials = [str(task.kwargs["trial"]) for task in lg.tasks(ENV, "test", data=str(games))]
    types = {trial.split("/")[1].partition("-")[0] for trial in trials}
    assert len(trials) == 6
    assert types == set(alfred_scenes.TASKS)
    heating = lg.tasks(ENV, "test", data=str(games), task_types=[4])
    assert [task.kwargs["trial"] for task in heating] == [
        trial for trial in trials if "/pick_heat" in trial
    ]


@pytest.mark.parametrize("task_type", alfred_scenes.TASKS)
def test_a_game_is_won(games: Path, task_type: str) -> None:
    """By its walkthrough, at its last command and not before."""
    env: Any = gym.make(ENV, data=str(game_of(games, task_type))).unwrapped
    observation, info = env.reset(seed=0)
    assert observation.startswith("You are in the middle of a room.")
    assert task_type in info["instruction"]
    plan = env.walkthrough()
    for command in plan:
        assert command in info["admissible_commands"]
        _, reward, terminated, _, info = env.step(command)
        assert (reward, terminated, info["won"]) == (
            (1.0, True, True) if command is plan[-1] else (0.0, False, False)
        )
    assert len(plan) >= 4


def test_a_state_goes_to_another_instance(games: Path) -> None:
    path = game_of(games, "pick_cool_then_place_in_recep")
    one, other = (gym.make(ENV, data=str(path)).unwrapped for _ in range(2))
    one.reset(seed=0)
    plan = one.walkthrough()  # type: ignore[attr-defined]
    for command in plan[:3]:
        one.step(command)
    state = one.get_state()  # type: ignore[attr-defined]
    rest = [one.step(command) for command in plan[3:]]
    other.set_state(state)  # type: ignore[attr-defined]
    assert [other.step(command) for command in plan[3:]] == rest
    assert len(rest) > 1
    assert rest[-1][1:3] == (1.0, True)
