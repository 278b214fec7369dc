"""`leafe check`: its exit codes, and that it names the options of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import gymnasium as gym
import pytest
from commands import leafe

MODULE = '''
import gymnasium as gym
import leafe_gym as lg

class Door(gym.Env):
    """Opens at a word that stands nowhere."""
    observation_space = action_space = lg.TextSpace()
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.words = 0
        return "A door.", {"instruction": "Open it."}
    def step(self, action):
        self.words += action == "sesame"
        return f"A door, {self.words} times open.", 0.0, False, False, {}
    def get_state(self):
        return self.words
    def set_state(self, state):
        self.words = state

class Deaf(Door):
    """Hears nothing."""
    def step(self, action):
        return "A door.", 0.0, False, False, {}

class Leaky(Door):
    """Loses its state."""
    def set_state(self, state):
        self.words = 0

for cls in (Door, Deaf, Leaky):
    gym.register(f"my/{cls.__name__}-v0", cls, max_episode_steps=20)
'''


@pytest.fixture(scope="module", autouse=True)
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module `doors`, as a user has it on the path."""
    folder = tmp_path_factory.mktemp("doors")
    (folder / "doors.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop("doors", None)
    for name in ("Door", "Deaf", "Leaky"):
        gym.registry.pop(f"my/{name}-v0", None)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["doors:my/Door-v0", "-a", "sesame"], 0, "ok"),
        (["doors:my/Leaky-v0", "-a", "sesame"], 1, "FAILED: get_state/set_state"),
        (["doors:my/Door-v0"], 3, "UNPROVED"),
        (["doors:my/Door-v0", "--action", "knock"], 3, "pass some with -a/--action"),
        (["doors:my/Deaf-v0", "-a", "sesame"], 3, "UNPROVED"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, said: str) -> None:
    done = leafe("check", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    assert said in text
    assert "actions=" not in text


def test_unproved_is_not_ok_in_json() -> None:
    done = leafe("check", "doors:my/Deaf-v0", "--json", "-")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["unproved"]) == (3, False, True)
    assert report["failures"] == []
