"""Trees as page data and in the terminal: grids, rollbacks, untrusted text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
from rich.console import Console

from leafe_gym.envs.display import TextGrid, render_hook
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Reflection, Start, Step, Task
from leafe_gym.view.page_data import asked_by, prefix, tree_record
from leafe_gym.view.terminal import render_tree

BOARD = "######\n#-@$.#\n######"
ESCAPES = "a\x1b]52;c;aGk=\x07\x1b[2Jb\r\x9b31m\u202e[bold]c[/bold]"


class Letters(gym.Env[str, str]):
    """Draws every text as one row."""

    @staticmethod
    def render_text(text: str) -> TextGrid | None:
        if text == "broken":
            raise RuntimeError("a hook that fails")
        return TextGrid("", (text,), "", {"x": "wall evil<script>", "y": "floor goal"})


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gym.register("test/Letters-v0", Letters)  # type: ignore[arg-type]
    gym.register("test/Missing-v0", "no_such_package.envs:Env")
    yield
    del gym.registry["test/Letters-v0"], gym.registry["test/Missing-v0"]


def step(action: str | None, observation: str = BOARD) -> Step:
    return Step(action=action, reply=action or "?", observation=observation)


def tree(env_id: str = "leafe/Sokoban-v0", task_id: str = "t", **more: Any) -> Tree:
    made = Tree(task=Task(id=task_id, env_id=env_id), start=Start(observation=BOARD))
    steps = (step("left"), step(None), step("right"), step("up"))
    made.add(Branch(id=0, steps=steps, **more))
    return made


@pytest.mark.parametrize(
    ("env_id", "grid"),
    [
        ("leafe/Sokoban-v0", True),
        ("some_module:leafe/Sokoban-v0", True),
        ("leafe/FrozenLake-v0", False),
        ("test/Missing-v0", False),
        ("nobody/Knows-v0", False),
        ("os:nobody/Knows-v0", False),
        ("", False),
    ],
)
def test_the_environment_decides_what_is_a_grid(env_id: str, grid: bool) -> None:
    record = tree_record(tree(env_id))
    entry = record["texts"][record["start"]]
    assert entry == (["", BOARD.split("\n"), ""] if grid else BOARD)
    assert bool(record["tiles"]) == grid


def test_an_environment_of_ones_own_draws_its_texts_with_known_shapes() -> None:
    made = tree("test/Letters-v0")
    made.add(Branch(id=1, steps=(step("go", "broken"),)))
    record = tree_record(made)
    assert record["texts"][record["start"]] == ["", [BOARD], ""]
    assert record["tiles"] == {"x": "wall", "y": "floor goal"}
    assert "broken" in record["texts"], "a hook that fails leaves the text as it is"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"You are here:\n{BOARD}\nGo on.", ("You are here:", "Go on.")),
        (f"{BOARD}\n\n#####\n#@.$#\n#####", (BOARD, "")),
        (BOARD.replace("@", "-"), None),
        (BOARD.replace("$", "-").replace(".", "-"), None),
        ("####\n#@$.#", None),
        ("", None),
    ],
)
def test_sokoban_finds_the_last_board(text: str, found: tuple[str, str] | None) -> None:
    hook = render_hook("leafe/Sokoban-v0")
    assert hook is not None
    grid = hook(text)
    assert (grid and (grid.before, grid.after)) == found


def test_histories_of_rollbacks_with_and_without_an_experience() -> None:
    experience = Experience(step=2, text="no")
    twice = Reflection(after=4, reply="{}", verdict="branch", experience=experience)
    made = tree(reflections=(twice, twice))
    made.add(Branch(id=1, parent=0, experience=experience, steps=(step("down"),)))
    made.add(Branch(id=2, parent=0, experience=experience, steps=(step("down"),)))
    made.add(Branch(id=3, parent=1, start=1, steps=(step("left"),), ending="won"))
    made.add(Branch(id=4, parent=0, restart=True, experience=Experience(step=0, text="again")))
    # The unusable reply between the actions is part of the history.
    assert prefix(made, made.branches[1]) == [[0, 3]]
    assert prefix(made, made.branches[3]) == [[0, 2]]
    assert prefix(made, made.branches[4]) == []
    for branch in made.branches:
        count = sum(count for _, count in prefix(made, branch))
        whole = made.history(branch.id)
        assert len(whole) == count + len(branch.steps)
    assert [asked_by(made, branch) for branch in made.branches] == [-1, 0, 1, -1, -1]
    assert made.recovered


@pytest.mark.parametrize(
    "made",
    [
        tree(task_id=ESCAPES),
        tree(ending=ESCAPES),
        tree(reason=ESCAPES),
        tree(reflections=(Reflection(after=1, reply="", verdict="bad", reason=ESCAPES),)),
        Tree(task=Task(id="t", env_id="e", instruction=ESCAPES), start=Start(observation=ESCAPES)),
    ],
)
def test_no_text_steers_the_terminal(made: Tree) -> None:
    if not made.branches:
        made.add(Branch(id=0, steps=(step(ESCAPES),)))
    out = io.StringIO()
    Console(file=out, force_terminal=False, width=200).print(render_tree(made))
    assert not set(out.getvalue()) & {"\x1b", "\x07", "\r", "\x9b", "\u202e"}
    assert "[bold]c[/bold]" in out.getvalue()
