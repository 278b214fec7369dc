"""The command line: what it prints, its exit codes, and that bad input never shows a traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from leafe_gym.cli import main
from leafe_gym.evals.bench import find_method
from leafe_gym.view.sanitize import safe

SMALL = ["-s", "size=6", "-s", "boxes=1", "-s", "max_steps=20"]
SOKOBAN = "leafe/Sokoban-v0"
METHODS = "is,ir,tree,best-first,tree-other-experience"


def here(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["leafe", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    code = stop.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["play", "leafe/Sokobann-v0"], "leafe/Sokoban-v0"),
        (["check", "FrozenLak-v1"], "FrozenLake-v1"),
        (["explore", SOKOBAN, "--out", "x", "--method", "best"], "no method is called 'best'"),
        (["explore", SOKOBAN, "--out", "x", "--split", "trian"], "train"),
        (["explore", SOKOBAN, "--out", "x", "--model", "scriptd"], "scripted"),
        (["explore", SOKOBAN, "--out", "x", "-s", "boxes"], "KEY=VALUE"),
        (["explore", SOKOBAN, "--out", "x", "-s", "bxes=1"], "bxes"),
        (["explore", SOKOBAN, "--out", "x", "--data", "no.txt"], "no.txt"),
        (["explore", SOKOBAN], "--out"),
        (["explore", SOKOBAN, "--out", "x", "-n", "0"], "-n"),
        (["explore", "no_such_module:me/X-v0", "--out", "x"], "cannot import no_such_module"),
        (["bench", SOKOBAN, "--out", "x", "--methods", "is,is"], "each once"),
        (
            ["bench", SOKOBAN, "--out", "x", "--methods", "tree-other-experience"],
            "name tree before it",
        ),
        (["view", "nowhere"], "no run here"),
        (["dance"], "dance"),
    ],
)
def test_bad_input_is_named_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here(monkeypatch, *arguments) == 2
    shown = capsys.readouterr()
    assert said in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_explore_view_and_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, figures, trees = tmp_path / "run", tmp_path / "f.json", tmp_path / "trees.jsonl"
    command = ["explore", SOKOBAN, "-n", "3", "--interactions", "120", "--out", run, *SMALL]
    assert here(monkeypatch, *command, "--json", figures, "--export", trees) == 0
    first = json.loads(figures.read_text())
    assert first["tasks"] == 3
    assert first["ledger"]["interactions"] <= 3 * 120
    assert first["meta"]["versions"]["gymnasium"]
    assert len(trees.read_text().splitlines()) == 3
    assert here(monkeypatch, *command, "--json", figures) == 0
    assert json.loads(figures.read_text())["fingerprint"] == first["fingerprint"]
    assert here(monkeypatch, *command, "--seed", "9") == 2
    assert "seed=0, now it is 9" in " ".join(capsys.readouterr().err.split())
    assert here(monkeypatch, "view", run) == 0
    assert "leafe/Sokoban-v0:train:2" in capsys.readouterr().out.replace("\n", "")
    assert here(monkeypatch, "view", run, "-n", "0") == 0
    assert "#0" in capsys.readouterr().out
    assert here(monkeypatch, "view", run, "-n", "0", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["branches"][0]["id"] == 0
    assert here(monkeypatch, "view", run, "-n", "5") == 2


def test_bench_writes_table_picture_and_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figures = tmp_path / "b", tmp_path / "b.json"
    arguments = ["bench", SOKOBAN, "-n", "4", "--interactions", "80", "--json", figures]
    arguments += ["--out", out, "--methods", METHODS, *SMALL]
    assert here(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().out
    assert "independent" in shown
    assert "tree - independent sampling at 80 interactions" in shown
    assert "Token budgets are derived" in shown
    data = json.loads(figures.read_text())
    assert set(data["methods"]) == set(METHODS.split(","))
    assert data["differences"]["tree_minus_is"]["interactions"]["verdict"] in {
        "more",
        "fewer",
        "undecided",
    }
    for method in data["methods"].values():
        assert (
            method["interactions"]["low"]
            <= method["interactions"]["mean"]
            <= method["interactions"]["high"]
        )
        assert method["ledger"]["interactions"] <= 4 * 80
    assert (out / "solved.png").read_bytes().startswith(b"\x89PNG")
    drawn = json.loads((out / "solved.json").read_text())
    for name, method in data["methods"].items():
        assert drawn["interactions"][name][-1]["mean"] == method["interactions"]["mean"]
        spent = drawn["interactions_spent"][find_method(name).title]
        assert sum(spent.values()) == method["ledger"]["interactions"]


def test_demo_reflects_rolls_back_and_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert here(monkeypatch, "demo", "-n", "20", "--out", out) == 0
    shown = capsys.readouterr().out
    assert "Reflection: step" in shown
    assert "restored to step" in shown
    figures = json.loads((out / "demo.json").read_text())
    assert figures["first_attempt"] < figures["tree"] <= figures["levels"] == 20
    assert figures["solved_by_base_again"] < figures["solved_by_trained"] <= figures["failed"]
    assert figures["loss"][-1] < figures["loss"][0] / 3
    assert f"{figures['solved_by_trained']} of {figures['failed']}" in shown
    assert "page.html" in shown
    (out / "mine.txt").touch()
    assert here(monkeypatch, "demo", "-n", "20", "--out", out) == 2
    assert "mine.txt" in capsys.readouterr().err


def test_view_writes_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    assert (
        here(monkeypatch, "explore", SOKOBAN, "-n", "2", "--interactions", "60", "--out", run) == 0
    )
    assert here(monkeypatch, "view", run, "--html", page) == 0
    assert "2 trees" in capsys.readouterr().out
    assert page.read_text("utf-8").count('id="tree-') == 2


def test_check_reports_backends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(monkeypatch, "check", SOKOBAN, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)
    assert here(monkeypatch, "check", SOKOBAN) == 0
    assert "native" in capsys.readouterr().out


def test_an_interrupted_run_exits_130_and_goes_on(tmp_path: Path) -> None:
    cases = [
        (signal.SIGINT, 130, signal.default_int_handler),
        (signal.SIGTERM, 143, signal.default_int_handler),
        (signal.SIGTERM, 143, signal.SIG_IGN),  # as a shell script starts its background jobs
    ]
    for number, code, interrupt in cases:
        out = tmp_path / f"{code} {interrupt}"
        command = ["explore", SOKOBAN, "-n", "400", "--interactions", "300", "--out", str(out)]
        child = subprocess.Popen(
            [sys.executable, "-m", "leafe_gym.cli", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, interrupt),
        )
        deadline = time.monotonic() + 600
        while not (out / "run.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        child.send_signal(number)
        _, said = child.communicate(timeout=900)
        assert child.returncode == code, said
        assert "Traceback" not in said


def test_strangers_text_cannot_steer_the_terminal() -> None:
    nasty = "a\x1b]52;c;aGk=\x07\x1b[2Jb\r\x9b31mc\u202ed[/bold][link=x]e\ud800"
    cleaned = safe(nasty)
    assert not set(cleaned) & {"\x1b", "\x07", "\r", "\x9b", "\u202e", "\ud800"}
    assert "[/bold]" in cleaned
