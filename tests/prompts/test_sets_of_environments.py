"""The prompt set that an environment names in its metadata."""

from __future__ import annotations

import pytest

from leafe_gym.envs.adapters.gem import GemEnv
from leafe_gym.envs.adapters.textarena import TextArenaEnv
from leafe_gym.envs.adapters.toy_text import FrozenLakeEnv
from leafe_gym.envs.alfworld.env import ALFWorldEnv
from leafe_gym.envs.code.contests import CodeContestsEnv
from leafe_gym.envs.code.mbpp import MbppEnv
from leafe_gym.envs.code.repl import PythonReplEnv
from leafe_gym.envs.scienceworld.env import ScienceWorldEnv
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.envs.textworld.env import TextWorldEnv
from leafe_gym.envs.textworld.jericho import JerichoEnv
from leafe_gym.envs.webshop.env import WebShopEnv
from leafe_gym.prompts.base import prompt_set


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (MbppEnv, "program"),
        (CodeContestsEnv, "program"),
        (PythonReplEnv, "code"),
        (TextWorldEnv, "react"),
        (JerichoEnv, "react"),
        (ALFWorldEnv, "react"),
        (ScienceWorldEnv, "react"),
        (TextArenaEnv, "react"),
        (WebShopEnv, "shop"),
        (SokobanEnv, "chat"),
        (FrozenLakeEnv, "chat"),
        (GemEnv, "chat"),
    ],
)
def test_every_environment_names_a_prompt_set(environment: type, name: str) -> None:
    found = environment.metadata["prompts"]  # type: ignore[attr-defined]
    assert found == name == prompt_set(found).name
