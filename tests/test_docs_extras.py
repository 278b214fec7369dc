"""The code on pages of environments that need extras, and on those about code and sandboxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doc_pages import code_blocks, run_block

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "environments/textworld": "textworld",
    "environments/alfworld": "alfworld",
    "environments/scienceworld": "scienceworld",
    "environments/jericho": "jericho",
    "environments/reasoning-gym": "reasoning_gym",
    "environments/textworld-express": "textworld_express",
    "code": "gymnasium",
    "sandbox": "gymnasium",
}
"""Page -> module that its code needs."""


@pytest.mark.parametrize("page", PAGES)
def test_the_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = PAGES[page].replace("_", "-")
    pytest.importorskip(PAGES[page], reason=f"pip install 'leafe-gym[{extra}]'")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs"}
    try:
        for number, code in enumerate(code_blocks(DOCS / f"{page}.md")):
            run_block(code, names, f"{page} {number}")
    finally:
        for made in ("env", "box", "other"):
            if made in names:
                names[made].close()


def test_lines_that_name_data_files_are_all_that_is_left_out() -> None:
    page = DOCS / "environments" / "alfworld.md"
    whole, run = code_blocks(page, files=True)[0], code_blocks(page)[0]
    left_out = set(whole.splitlines()) - set(run.splitlines())
    assert len(left_out) == 2
    assert all("data=" in line for line in left_out)
