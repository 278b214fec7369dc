"""The code in docs/policies.md runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from leafe_gym.policies.base import POLICIES

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
BLOCK = re.compile(r"(<!-- not run[^>]*-->\n)?```python\n(.*?)```", re.DOTALL)
BLOCKS = [code for skipped, code in BLOCK.findall(PAGE.read_text("utf-8")) if not skipped]


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        exec(compile(code, str(PAGE), "exec"), names)
    finally:
        gym.registry.pop("docs/Guess-v0", None)
        POLICIES._own.clear()
    assert capsys.readouterr().out.strip()


def test_the_tables_name_every_field() -> None:
    from leafe_gym.types import Completion, Sampling

    text = PAGE.read_text("utf-8")
    assert len(BLOCKS) >= 2
    for record in (Sampling, Completion):
        for name in record.__dataclass_fields__:
            assert f"| `{name}` |" in text, name
