"""The code in the README runs; only sizes are made smaller."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

README = Path(__file__).parents[1] / "README.md"
SMALLER = {"[:200]": "[:12]", "calls=600": "calls=300", "concurrency=64": "concurrency=8"}


def readme_code() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 1
    code = blocks[0]
    for size, small in SMALLER.items():
        assert size in code, f"the README no longer says {size}"
        code = code.replace(size, small)
    return code


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="needs pip install 'leafe-gym[train]'")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    try:
        exec(compile(readme_code(), str(README), "exec"), names)
    finally:
        gym.registry.pop("me/Shop-v0", None)
    assert len(names["rows"].counts) > 0
    assert names["tree"].spent.interactions <= 300
    assert (tmp_path / "runs" / "a" / "run.sqlite").is_file()
    assert (tmp_path / "data" / "a" / "dataset_info.json").is_file()
    assert "native" in str(names["env"].backend_report)


def test_the_readme_tree_names_what_is_there() -> None:
    text = README.read_text("utf-8").partition("## Where things are")[2].partition("```\n")[2]
    for line in text.partition("```")[0].splitlines()[1:]:
        if line.startswith("  "):
            folder = README.parent / "leafe_gym"
            names = re.findall(r"[a-z_]+(?:/|\.py)", line[: line.find("   ", 4)])
        else:
            folder, names = README.parent, re.findall(r"^[a-z_/]+/", line)
        for name in names:
            assert (folder / name).exists(), f"the README names {name}, which is not there"
