"""Blocks of code on pages begin by themselves, and substitutes for official data are labelled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_pages import BLOCK, load_script

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "design" not in path.parts
]
IMPORT = re.compile(r"^(?:import|from) .*\bleafe_gym\b", re.MULTILINE)
FIGURE = re.compile(r"<!-- (?:reproduce|sokoban|webshop|restore:(?:meta\.)?(?:alfworld|webshop))")
LABEL = re.compile(r"generated|built-in|made-up", re.IGNORECASE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_imports_the_package(page: Path) -> None:
    blocks = [code for _, code in BLOCK.findall(page.read_text("utf-8"))]
    assert [code for code in blocks if not IMPORT.search(code)] == []


def test_pages_with_figures_of_substitutes_say_so() -> None:
    shown = [page for page in PAGES if FIGURE.search(page.read_text("utf-8"))]
    report = ROOT / "docs" / "reproduction" / "report.md"
    assert len(shown) >= 5
    for page in (*shown, report):
        assert LABEL.search(page.read_text("utf-8")), f"{name_of(page)}: name the generated data"


@pytest.mark.parametrize("name", ["ALFWorld", "WebShop", "Sokoban", "MBPP", "CodeContests"])
def test_transcripts_of_substitutes_say_so(name: str) -> None:
    hooks = load_script(ROOT / "docs" / "_site" / "hooks.py")
    shown = hooks.transcript(f"leafe/{name}-v0").partition("```")[0]
    assert LABEL.search(shown), shown
    if name in hooks._COSTS:
        assert LABEL.search(" ".join(hooks._costs(name).values()))


def test_a_transcript_of_real_data_has_no_such_label() -> None:
    hooks = load_script(ROOT / "docs" / "_site" / "hooks.py")
    for name in ("Taxi", "Blackjack", "ScienceWorld"):
        shown = hooks.transcript(f"leafe/{name}-v0").partition("```")[0]
        assert not LABEL.search(shown), shown
