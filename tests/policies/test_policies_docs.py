"""The tables in docs/policies.md name every field; tests/test_docs.py runs the code."""

from __future__ import annotations

from pathlib import Path

from leafe_gym.types import Completion, Sampling

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def test_the_tables_name_every_field() -> None:
    text = PAGE.read_text("utf-8")
    for record in (Sampling, Completion):
        for name in record.__dataclass_fields__:
            assert f"| `{name}` |" in text, name
