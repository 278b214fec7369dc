"""`leafe play`: lines are actions, commands begin with a colon, errors do not end the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import typer
from typer.testing import CliRunner

from leafe_gym.cli import play
from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import UsageError

SOKOBAN, ECHO = "leafe/Sokoban-v0", "test/Echo-v0"
LEVEL = "; 0\n######\n#@$ .#\n#    #\n######\n"


class Echo(gym.Env[str, str]):
    """Repeats every action; `boom` raises, `end` ends the episode."""

    observation_space = action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.said: list[str] = []
        return "begin", {"instruction": "Say \x1b[2Jsomething."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "boom":
            raise RuntimeError("it broke")
        self.said.append(action)
        return f"heard {self.said}\x1b]0;x\x07", 0.0, action == "end", False, {}

    def get_state(self) -> list[str]:
        return list(self.said)

    def set_state(self, state: list[str]) -> None:
        self.said = list(state)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gym.register(ECHO, Echo)  # type: ignore[arg-type]
    yield
    del gym.registry[ECHO]


def played(env_id: str, lines: list[str], *options: str) -> Any:
    app = typer.Typer()
    app.command()(play.command)
    return CliRunner().invoke(app, [env_id, *options], input="".join(f"{one}\n" for one in lines))


def outputs(env_id: str, *lines: str) -> str:
    done = played(env_id, list(lines))
    assert done.exception is None, done.exception
    return str(done.output)


def test_undo_and_redo_with_the_keys_of_the_environment(tmp_path: Path) -> None:
    levels = tmp_path / "level.txt"
    levels.write_text(LEVEL)
    lines = "d w :undo :u :redo :r :r :help :to_0 d :to_9 dance :undo :undo d d w :q"
    script = [line.replace("_", " ") for line in lines.split()]
    done = played(SOKOBAN, script, "--split", "all", "--data", str(levels))
    assert done.exit_code == 0, done.exception
    for text in (
        "a wall is in the way",
        "there is nothing to redo",
        ":to 9: 1 action is taken, so use :to 0 to :to 1",
        "unknown action 'dance'",
        "Keys: w = up",
        "Won.",
        "the episode is over: :undo or :quit",
    ):
        assert text in done.output


@pytest.mark.parametrize(
    "line", ["help", "undo", "q", "quit", "undo 99", "?", "redo", "w", "to 3", "exit", "snapshot"]
)
def test_words_without_a_colon_reach_the_game(line: str) -> None:
    assert f"heard ['{line}']" in outputs(ECHO, line)


@pytest.mark.parametrize(("line", "action"), [("::undo", ":undo"), ("::", ":"), ("::q x", ":q x")])
def test_two_colons_send_one(line: str, action: str) -> None:
    assert f"heard ['{action}']" in outputs(ECHO, line)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (":undo 99", ":undo 99: 3 actions are taken, so use :undo 1 to :undo 3"),
        (":undo 0", "so use :undo 1 to :undo 3"),
        (":undo x", ":undo x: 3 actions"),
        (":to", ":to: 3 actions are taken, so use :to 0 to :to 3"),
        (":to -1", ":to -1: 3 actions"),
        (":to 3", "3 actions are taken already"),
        (":restore a", "there is no such state; saved: -"),
        (":restore", "saved states: none"),
        (":dance", ":dance is not a command; :help lists them"),
        (":undo 1 2", ":undo takes at most one argument"),
        (":", ":undo [N]"),
        (":actions", "does not list its actions"),
    ],
)
def test_a_wrong_command_says_what_is_possible(line: str, answer: str) -> None:
    said = outputs(ECHO, "a", "b", "c", line, "d")
    assert answer in said
    assert "heard ['a', 'b', 'c', 'd']" in said


def test_undo_takes_a_count_and_new_actions_end_redo() -> None:
    said = outputs(ECHO, "a", "b", "c", ":undo 2", ":redo", ":redo", ":undo", "d", ":redo")
    assert "heard ['a', 'b', 'd']" in said
    assert "there is nothing to redo" in said


def test_named_snapshots() -> None:
    said = outputs(ECHO, "a", ":snapshot", "b", ":s two", "c", ":restore", ":restore 1", "d")
    assert "saved states: 1 (1 actions), two (2 actions)" in said
    assert said.rstrip(" >\n").endswith("action 2   reward +0")
    assert "heard ['a', 'd']" in said


def test_an_error_of_the_environment_does_not_end_the_session() -> None:
    said = outputs(ECHO, "a", "boom", "b", "end", "more", ":undo", "c")
    assert "it broke" in said
    assert "the episode is over" in said
    assert "back in the state before that action" in said
    assert "heard ['a', 'b', 'c']" in said


def test_nothing_of_the_environment_steers_the_terminal() -> None:
    assert not set(outputs(ECHO, "a", "b\x1b[2J")) & {"\x1b", "\x07"}


@pytest.mark.parametrize("number", ["1", "7"])
def test_a_task_that_is_not_there_is_named(tmp_path: Path, number: str) -> None:
    levels = tmp_path / "level.txt"
    levels.write_text(LEVEL)
    done = played(SOKOBAN, [], "--split", "all", "--data", str(levels), "-n", number)
    assert isinstance(done.exception, UsageError)
    assert f"-n {number}: the split 'all' has 1 tasks" in str(done.exception)
