"""`leafe view`: lists, trees, pages, `--json`, and folders that hold several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from leafe_gym.cli import view
from leafe_gym.errors import UsageError
from leafe_gym.store.writer import RunWriter
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Start, Step, Task

BOARD = "######\n#-@$.#\n######"


def make_run(folder: Path, count: int = 2, finished: int = 1) -> Path:
    """A run with the first tasks finished and the rest open."""
    tasks = [Task(id=f"task-{n}\x1b[2J", env_id="leafe/Sokoban-v0") for n in range(count)]
    with RunWriter(folder, {}, tasks) as run:
        for number in range(finished):
            tree = solved(tasks[number])
            run.record_opened(number, tree.start)
            for branch in tree.branches:
                run.record_committed(number, branch)
            run.record_finished(number, tree)
    return folder


def solved(task: Task) -> Tree:
    tree = Tree(task=task, start=Start(observation=BOARD), stopped="solved")
    tree.add(Branch(id=0, steps=(Step(action="left", reply="left", observation=BOARD),)))
    won = Step(action="right", reply="right", observation=BOARD, terminated=True)
    experience = Experience(step=0, text="not left")
    tree.add(Branch(id=1, parent=0, experience=experience, steps=(won,), ending="won"))
    tree.spent.steps, tree.spent.act_calls = 2, 3
    tree.solved_at = tree.spent
    return tree


def viewed(*arguments: str | Path) -> Any:
    app = typer.Typer()
    app.command()(view.command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output(*arguments: str | Path) -> str:
    done = viewed(*arguments)
    assert done.exception is None, done.exception
    return str(done.output)


def test_json_on_stdout_is_all_of_the_output(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    listed = json.loads(output(run, "--json", "-"))
    assert [task["outcome"] for task in listed["tasks"]] == ["solved", "open"]
    assert listed["tasks"][0]["interactions"] == 5
    tree = json.loads(output(run, "-n", "0", "--json", "-"))
    assert [branch["ending"] for branch in tree["branches"]] == ["failed", "won"]
    page = json.loads(output(run, "--html", tmp_path / "page.html", "--json", "-"))
    assert (page["shown"], page["left_out"]) == (1, 0)


@pytest.mark.parametrize("more", [(), ("-n", "0"), ("--html", "page.html")])
def test_json_in_a_file_comes_beside_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "run")
    assert "t" in output(run, *more, "--json", "out.json")
    assert json.loads((tmp_path / "out.json").read_text())


def test_a_folder_of_runs_shows_the_tree_or_names_them(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    make_run(bench / "is")
    assert "solved" in output(bench), "the only run"
    make_run(bench / "refine")
    done = viewed(bench)
    assert isinstance(done.exception, UsageError)
    assert f"{bench / 'is'}, {bench / 'refine'}" in str(done.exception)
    make_run(bench / "tree", count=3)
    assert f"showing {bench / 'tree'}" in output(bench).replace("\n", "")
    assert len(json.loads(output(bench, "--json", "-"))["tasks"]) == 3
    with pytest.raises(UsageError, match="no run here"):
        raise viewed(tmp_path).exception


def test_no_text_of_a_run_steers_the_terminal(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert not set(output(run) + output(run, "-n", "0")) & {"\x1b", "\x07"}
