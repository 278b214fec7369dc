"""Settings that make no sense: an exit code and a sentence, never a traceback or a hang."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import leafe_gym as lg
from leafe_gym.agents.config import AgentConfig
from leafe_gym.budget import Budget
from leafe_gym.cli import main
from leafe_gym.cli.generated import config_options
from leafe_gym.errors import UsageError
from leafe_gym.exploration.config import ExploreConfig

VALUES = [
    "0", "1", "2", "3", "-1", "1.5", "1e400", "NaN", "Infinity", "true", "null", "[]", "{}",
    "[0,0]", "[1]", "[7,7,7]", '"x"', "", " ", "=", "é", "\u202e", "a" * 300, "../x", "%s",
    "{e.__class__}", "[/bold]", "9" * 30,
]  # fmt: skip
KEYS = ["size", "boxes", "max_steps", "inner_walls", "pulls", "level", "levels", "split", "seed"]
OPTIONS = [
    "--concurrency", "--split", "--model", "--method", "--data", "-n", "--env-timeout",
    *(option.flag for config in (AgentConfig, ExploreConfig, Budget) for option in
      config_options(config) if option.kinds != (bool,) and option.name != "env_timeout"),
]  # fmt: skip
IDS = ["leafe/Sokoban-v0", "leafe/Sokoban-v9", "Sokoban", "", "é/é-v0", "a:b", ":", "os:leafe/X-v0"]


def arguments(rng: random.Random, out: Path) -> list[str]:
    """A command that is wrong in up to three places."""
    words = [
        "explore",
        rng.choice(IDS + IDS[:1] * 20),
        "--out",
        str(out),
        "-n",
        "1",
        "--interactions",
        "4",
    ]
    for _ in range(rng.randint(0, 3)):
        if rng.random() < 0.6:
            words += ["-s", f"{rng.choice([*KEYS, 'nonsense', ''])}={rng.choice(VALUES)}"]
        else:
            words += [rng.choice(OPTIONS), rng.choice(VALUES)]
    return words


def test_commands_that_make_no_sense(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    counts: Callable[[int, int], int],
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    codes = []
    for trial in range(counts(150, 2000)):
        words = arguments(rng, tmp_path / str(trial))
        monkeypatch.setattr(sys, "argv", ["leafe", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert stop.value.code in (0, 2), f"{words}\n{said}"
        assert "Traceback" not in said, words
        assert stop.value.code == 0 or len(said) > 20, words
        codes.append(stop.value.code)
    assert codes.count(0) > 3
    assert codes.count(2) > 20


NUMBERS = [0, 1, -1, 2.5, float("nan"), float("inf"), True, None, "3", [], 10**30]


def test_settings_that_make_no_sense(counts: Callable[[int, int], int]) -> None:
    rng = random.Random(0)
    refused: list[tuple[set[str], str]] = []

    def attempt(call: Callable[..., Any], given: dict[str, Any]) -> None:
        try:
            call(**given)
        except UsageError as error:
            refused.append((set(given), str(error)))

    names = [*AgentConfig.model_fields, "nonsense"]
    for _ in range(counts(300, 2000)):
        given = {rng.choice(names): rng.choice(NUMBERS) for _ in range(rng.randint(1, 3))}
        attempt(AgentConfig, given)
        attempt(lg.Budget, {name: rng.choice(NUMBERS) for name in ("interactions", "tokens_total")})
    assert len(refused) > 100
    for given_names, said in refused:
        assert any(name in said for name in given_names) or "Budget" in said, said
