"""Names of one's own modules on the command line, policies that fail everywhere, --version."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import pytest

from leafe_gym.cli import main

MODULE = """
import gymnasium as gym
import leafe_gym as lg
from leafe_gym.prompts.chat import ChatPrompts
from sibling import TURN


class Guess(gym.Env):
    observation_space = action_space = lg.TextSpace()

    def __init__(self, highest=8):
        self.highest = highest

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(1, self.highest + 1))
        return "Guess.", {"instruction": f"Guess a number from 1 to {self.highest}."}

    def step(self, action):
        won = action == str(self.number)
        return "Right." if won else "No.", float(won), won, False, {"won": won}


gym.register("mine/Guess-v0", Guess, max_episode_steps=4)


def act(messages, sampling):
    if sampling.purpose == "reflect":
        return '{"step": 0, "experience": "Another number."}'
    return f"Action: {1 + sampling.seed % 8}"


class Player:
    def complete(self, messages):
        return "Action: 3"


def make():
    return Player()


def fails(messages):
    raise KeyError("no key")


def unusable(messages):
    return None


def gone(messages):
    from leafe_gym.errors import PolicyUnavailable
    raise PolicyUnavailable("wrong key: mend it")


class Own(lg.IndependentSamplingAgent):
    method = "own"


def no_agent(policy, config):
    return 3


class Terse(ChatPrompts):
    name = "terse"
    templates = {"turn": TURN}
"""
GUESS = "mine:mine/Guess-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("modules")
    (found / "mine.py").write_text(MODULE)
    (found / "sibling.py").write_text('TURN = "$observation"\n')
    before = list(sys.path)
    yield found
    sys.path[:] = before
    gym.registry.pop("mine/Guess-v0", None)
    for name in ("mine", "sibling", "healing"):
        sys.modules.pop(name, None)


def leafe(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command; -P: like an installed script, without the current folder on the path."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "leafe_gym.cli", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


@pytest.fixture
def here(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command in this process, in the folder: exit code, stdout, stderr."""
    monkeypatch.chdir(folder)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["leafe", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, shown.out, shown.err

    return run


def test_a_function_of_the_current_folder(folder: Path, tmp_path: Path) -> None:
    command = ["explore", GUESS, "-n", "2", "--interactions", "24", "--out", tmp_path / "run"]
    done = leafe(folder, *command, "--model", "mine:act", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledger"]["steps"] > 0


Here = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "more",
    [
        ["--model", "mine:Player"],
        ["--model", "mine:make", "--method", "best-first"],
        ["--model", "mine:act", "--method", "mine:Own"],
        ["--model", "mine:act", "--prompts", "mine:Terse", "-s", "highest=3"],
    ],
    ids=["class", "factory", "method", "prompts"],
)
def test_what_a_module_of_the_current_folder_defines(
    here: Here, tmp_path: Path, more: list[str]
) -> None:
    command = ["explore", GUESS, "-n", "2", "--interactions", "24", "--out", tmp_path / "run"]
    code, out, err = here(*command, *more, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["ledger"]["steps"] > 0
    code, out, err = here("view", tmp_path / "run", "-n", "0")
    assert code == 0, err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--model", "mine:fails"], 2, "policy fails: KeyError: 'no key'"),
        (["--model", "mine:unusable"], 2, "policy unusable returned NoneType; expected str"),
        (["--model", "scripted"], 2, "no board"),
        (["--model", "mine:gone"], 1, "wrong key: mend it"),
        (["--model", "mine:Player", "-s", "highst=3"], 2, "highst"),
        (["--model", "mine:nothing"], 2, "'mine' has no 'nothing'"),
        (["--model", "nothing:act"], 2, "cannot import 'nothing'"),
        (["--model", "mine:no_agent"], 2, "policy no_agent returned int; expected str"),
        (["--model", "openai"], 2, "name the model itself, --model NAME --base-url URL"),
        (["--model", "mine:act", "--method", "mine:no_agent"], 2, "it made 3"),
        (["--model", "mine:act", "--method", "mine:act"], 2, "--method mine:act"),
        (["--model", "mine:act", "--prompts", "mine:act"], 2, "prompt set"),
        (["--model", "mine:act", "--max-depth", "-1"], 2, "--max-depth -1: expected a whole"),
        (["--model", "mine:act", "--attempts-per-root", "0"], 2, "--attempts-per-root 0"),
        (["--model", "mine:act", "--stop", "sovled"], 2, "expected one of solved, budget"),
        (["--model", "mine:act", "--interactions", "1e3"], 2, "--interactions 1e3"),
        (["--model", "mine:act", "--backend", "nativ"], 2, "nativ"),
    ],
)
def test_what_cannot_work_is_named(
    here: Here, tmp_path: Path, more: list[str], code: int, said: str
) -> None:
    given = ["-n", "3", "--out", tmp_path / "run", "--interactions", "24"]
    found, out, err = here("explore", GUESS, *given, *more)
    assert found == code, err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""


def test_an_outage_uses_up_no_task(
    here: Here, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder / "healing.py"
    source.write_text(
        "import os\nfrom leafe_gym.errors import PolicyUnavailable\n"
        "def act(messages):\n"
        "    if 'KEY' not in os.environ:\n        raise PolicyUnavailable('no key')\n"
        "    return 'Action: 3'\n"
    )
    command = ["explore", GUESS, "-n", "2", "--out", tmp_path / "r", "--model", "healing:act"]
    assert here(*command, "--json", "-")[0] == 1
    monkeypatch.setenv("KEY", "1")
    code, out, err = here(*command, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["tasks"] == 2


def test_an_edited_policy_does_not_continue_a_run(folder: Path, tmp_path: Path) -> None:
    source = folder / "edited.py"
    command = ["explore", GUESS, "-n", "1", "--out", tmp_path / "r", "--model", "edited:act"]
    source.write_text("def act(messages):\n    return 'Action: 3'\n")
    assert leafe(folder, *command).returncode == 0
    source.write_text("def act(messages):\n    # any number\n    return 'Action: 3'\n")
    assert leafe(folder, *command).returncode == 0, "a comment changes nothing"
    source.write_text("def act(messages):\n    return 'Action: 4'\n")
    done = leafe(folder, *command)
    assert done.returncode == 2
    assert "policy" in done.stderr


def test_version_and_ids_without_a_module(here: Here, tmp_path: Path) -> None:
    assert here("--version") == (0, f"leafe-gym {version('leafe-gym')}\n", "")
    code, _, err = here("explore", "other/Guess-v0", "--out", tmp_path / "run")
    assert code == 2
    assert "module:other/Guess-v0" in " ".join(err.split())
