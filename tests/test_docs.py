"""The code on the pages of docs/ runs, block after block, in one program per page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym.budget import UNITS
from leafe_gym.registry import REGISTRIES
from leafe_gym.types import Ending

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(<!-- not run[^>]*-->\n)?```python\n(.*?)```", re.DOTALL)
PAGES = {"agents": 3, "policies": 2, "runs": 5}
"""Page -> blocks that it has at least."""


def blocks(page: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    return [code for skipped, code in BLOCK.findall(text) if not skipped]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", dict(registry._own))
    names: dict[str, Any] = {"__name__": "docs"}
    known = set(gym.registry)
    found = blocks(page)
    assert len(found) >= PAGES[page]
    try:
        for code in found:
            exec(compile(code, str(DOCS / f"{page}.md"), "exec"), names)
            shown = capsys.readouterr().out.strip()
            assert shown, code
            if "ConfigMismatch" in code:
                assert "budget.interactions=30, now it is 40" in shown
                assert "agent.policy=" in shown
            if "PolicyUnavailable" in code:
                assert shown.splitlines() == [
                    "connection refused: start the server",
                    "3 tasks finished",
                ]
    finally:
        for added in set(gym.registry) - known:
            del gym.registry[added]


def test_the_page_on_agents_names_every_field_ending_unit_and_method() -> None:
    text = (DOCS / "agents.md").read_text("utf-8")
    rows = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    assert set(lg.AgentConfig.model_fields) <= rows
    assert set(get_args(Ending)) <= rows
    assert set(UNITS) <= rows
    assert {"is", "ir", "tree", "best-first"} <= rows


LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for file, anchor in LINK.findall(path.read_text("utf-8")):
        target = (path.parent / file) if file else path
        assert target.exists(), file
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
            assert anchor[1:] in slugs, f"{path.name}: {file}{anchor}"
