"""The comparison that the differential tests share finds what differs, and counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leafe_gym.envs.sokoban.env import SokobanEnv

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "differential"
sys.path.insert(0, str(FOLDER))
compare = pytest.importorskip("_compare")
sys.path.remove(str(FOLDER))

BOARD = "#######\n#@$--.#\n#-----#\n#######"
WORDS = ("up", "down", "left", "right")


def side(change: dict[int, dict[str, Any]]) -> Any:
    """An episode of Sokoban whose fields are replaced at some steps."""
    env = SokobanEnv(max_steps=30)
    taken = 0

    def start() -> dict[str, Any]:
        return {"board": env.reset(options={"board": BOARD})[0]} | change.get(0, {})

    def step(action: str) -> dict[str, Any]:
        nonlocal taken
        taken += 1
        board, reward, won, truncated, _ = env.step(action)
        told = {"board": board, "reward": reward, "won": won, "over": won or truncated}
        return told | change.get(taken, {})

    return compare.Side(start, step)


def played(change: dict[int, dict[str, Any]], words: tuple[str, ...] = WORDS) -> Any:
    counts = compare.Counts()
    counts.play("one", side({}), side(change), lambda rng, _: rng.choice(words), 30, 0)
    return counts


def test_equal_sides_play_to_the_end() -> None:
    for words in (WORDS, ("right",), ("left",)):
        counts = played({}, words)
        assert not counts.differences
        assert counts.numbers["steps"] == (3 if words == ("right",) else 30)
        assert counts.numbers["wins"] == (words == ("right",))


@pytest.mark.parametrize(
    ("change", "name", "steps"),
    [
        ({0: {"board": "#"}}, "board", 0),
        ({4: {"reward": 1.0}}, "reward", 4),
        ({1: {"board": "", "won": True}}, "board", 1),
        ({9: {"over": True}}, "over", 9),
    ],
)
def test_differences_are_found(change: dict[int, dict[str, Any]], name: str, steps: int) -> None:
    counts = played(change)
    assert counts.differences[name] == 1
    assert counts.numbers["steps"] == steps
    assert (
        counts.examples[0] | {"episode": "one", "step": steps, "field": name}
        == (counts.examples[0])
    )


def test_fields_of_one_side_are_not_compared() -> None:
    counts = compare.Counts()
    assert counts.compare({}, {"a": 1, "b": 2}, {"b": 2, "c": 3})
    assert counts.numbers["values"] == 1


def test_the_same_seed_gives_the_same_actions() -> None:
    first, second = (played({7: {"won": 5}}).examples for _ in range(2))
    assert first == second
    assert first[0]["action"] in WORDS


def test_counts_are_saved_by_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "differential.json"
    results.write_text(json.dumps({"zork": {"steps": 1}, "sokoban": {"steps": 2}}))
    monkeypatch.setattr(compare, "RESULTS", results)
    monkeypatch.setattr(sys, "argv", ["vs_sokoban.py", "--save"])
    given = compare.options("What it does.", "").parse_args()
    monkeypatch.setattr(sys, "argv", ["translate"])  # as a planner does
    counts = played({})
    compare.report(counts, given, {"other": "1"})
    saved = json.loads(results.read_text())
    assert json.loads(capsys.readouterr().out) == saved["sokoban"]
    assert saved["sokoban"]["steps"] == 30
    assert list(saved) == ["sokoban", "zork", "meta"]


def test_a_script_says_what_it_needs() -> None:
    command = [sys.executable, str(FOLDER / "vs_sokoban.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--original" in done.stderr
