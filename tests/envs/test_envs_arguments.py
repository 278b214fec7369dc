"""Wrong arguments of environments, resets and task lists are `UsageError`s that name them."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.envs.adapters.toy_text import BlackjackEnv, FrozenLakeEnv
from leafe_gym.envs.alfworld.env import ALFWorldEnv
from leafe_gym.envs.data_files import data_argument, find_data
from leafe_gym.envs.scienceworld.env import ScienceWorldEnv
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.envs.space import TextSpace
from leafe_gym.envs.tasks import _warn_of_repeats
from leafe_gym.envs.textworld.env import TextWorldEnv
from leafe_gym.envs.textworld.jericho import JerichoEnv
from leafe_gym.envs.webshop.env import WebShopEnv
from leafe_gym.errors import LeafeError, MissingExtra, UsageError

CLASSES: list[Any] = [
    SokobanEnv,
    FrozenLakeEnv,
    TextWorldEnv,
    JerichoEnv,
    ALFWorldEnv,
    ScienceWorldEnv,
    WebShopEnv,
]
WRONG: list[Any] = [-1, 2.5, float("nan"), "no such thing", b"x", [], [None], {}, {1: 2}, object()]
PLACES = [
    pytest.param(cls, name, id=f"{cls.__name__}-{name}")
    for cls in CLASSES
    for name in inspect.signature(cls.__init__).parameters
    if name not in ("self", "kwargs")
]


@pytest.mark.parametrize(("cls", "name"), PLACES)
def test_a_constructor_takes_a_value_or_names_it(cls: Any, name: str) -> None:
    refused = 0
    for value in WRONG:
        try:
            cls(**{name: value}).close()
        except MissingExtra as error:
            pytest.skip(str(error))
        except UsageError as error:
            refused += bool(str(error))
    assert refused >= 5, "most of these values make no sense for any argument"


@pytest.mark.parametrize("make", [SokobanEnv, FrozenLakeEnv, BlackjackEnv])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": "1"}, "seed='1'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.0}, "seed=1.0"),
        ({"seed": True}, "seed=True"),
        ({"options": 3}, "options=3"),
        ({"options": ["board"]}, "options="),
        ({"options": {"bord": "x"}}, "bord"),
        ({"options": {1: "x"}}, "unknown reset options"),
    ],
)
def test_a_reset_names_what_it_refuses(make: Any, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make().reset(**arguments)


@pytest.mark.parametrize("action", [None, 3, b"up", ["up"], {"move": "up"}])
def test_a_step_refuses_what_is_not_text(action: Any) -> None:
    for env in (SokobanEnv(), FrozenLakeEnv()):
        env.reset(seed=0)
        with pytest.raises(UsageError, match="give a string"):
            env.step(action)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((None,), "env_id=None"),
        ((3,), "env_id=3"),
        ((SokobanEnv,), "env_id="),
        (("leafe/Sokoban-v0", 3), "split=3"),
        (("leafe/Sokoban-v0", None), "split=None"),
        (("leafe/FrozenLake-v0", ["train"]), "split="),
        (("leafe/Sokoban-v0", "dev"), "split='dev'"),
        (("", "train"), "no environment ''"),
        ((":", "train"), "no environment"),
    ],
)
def test_tasks_names_what_it_refuses(arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        lg.tasks(*arguments)


@pytest.mark.parametrize(
    ("env_id", "wrong", "near"),
    [
        ("leafe/Sokoban-v0", "bxes", "boxes"),
        ("leafe/TextWorld-v0", "quest_lenght", "quest_length"),
        ("leafe/ALFWorld-v0", "task_type", "task_types"),
        ("leafe/ScienceWorld-v0", "simplification", "simplifications"),
        ("leafe/WebShop-v0", "gaol", "goal"),
        ("CartPole-v1", "sutton_barto", "sutton_barto_reward"),
    ],
)
def test_tasks_knows_the_arguments_of_the_environment(env_id: str, wrong: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"{env_id} takes no argument '{wrong}'.*{near}"):
        lg.tasks(env_id, **{wrong: 1})


@pytest.mark.parametrize("name", ["me/LockBox-v0", "you/Game-v3", "LockBox-v0"])
def test_an_unknown_id_says_how_to_name_its_module(name: str) -> None:
    with pytest.raises(UsageError, match=rf"'module:{name}'") as error:
        lg.tasks(name)
    assert "Sokoban" not in str(error.value)


@pytest.mark.parametrize("length", [-1, 2.5, "3", True])
def test_text_spaces_refuse_lengths(length: Any) -> None:
    with pytest.raises(UsageError, match="max_length="):
        TextSpace(length)


def test_a_list_by_seeds_warns_once_that_tasks_may_repeat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _warn_of_repeats.cache_clear()
    with caplog.at_level(logging.WARNING, "leafe_gym"):
        lg.tasks("leafe/FrozenLake-v0", "train")
        lg.tasks("leafe/FrozenLake-v0", "test")
        lg.tasks("leafe/Taxi-v0", "test")
        lg.tasks("leafe/Sokoban-v0", "test")
    warned = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert warned == ["leafe/FrozenLake-v0", "leafe/Taxi-v0"]


def test_data_files_are_found_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "levels").mkdir()
    level = tmp_path / "levels" / "mine.txt"
    level.write_text("; 0\n#####\n#@$.#\n#####\n")
    monkeypatch.setenv("LEAFE_DATA", str(tmp_path))
    monkeypatch.chdir("/")
    for name in ("data", "levels"):
        env = SokobanEnv(**{name: "levels/mine.txt"})  # type: ignore[arg-type]
        assert env.reset(seed=0)[0] == "#####\n#@$.#\n#####"
        (task,) = lg.tasks("leafe/Sokoban-v0", "all", **{name: "levels/mine.txt"})
        assert task.kwargs == {"data": "levels/mine.txt", "level": 0}
        gym.make(task.env_id, **task.kwargs).reset(seed=0)
    assert find_data(level) == level
    with pytest.raises(UsageError, match=r"there is no nowhere\.txt or .*nowhere\.txt\. Get it"):
        find_data("nowhere.txt", "Get it.")


@pytest.mark.parametrize(
    ("data", "value", "named"),
    [("a", "b", "data='a' and levels='b'"), (None, 3, "levels=3"), ("", None, "data=''")],
)
def test_data_and_its_older_name_are_one_argument(data: Any, value: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        data_argument(data, "levels", value)


def test_every_error_of_a_constructor_is_one_of_ours() -> None:
    for env_id, kwargs in (
        ("leafe/FrozenLake-v0", {"map_nam": "4x4"}),
        ("leafe/Taxi-v0", {"is_rany": 1}),
        ("leafe/Blackjack-v0", {"sutton": 1}),
    ):
        with pytest.raises(LeafeError):
            gym.make(env_id, **kwargs)
