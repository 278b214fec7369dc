"""Figures on pages that name their source: `27.2<!-- reproduce:stage1.is.interactions.mean --> %`.

python docs/_site/figures.py     writes the figures of the result files into the pages

The number before the comment is the value at that key of `benchmarks/results/<file>.json`, with as
many digits as the page has. Figures of `reproduce` and `reproduce_first` from -1 to 1 that are no
counts are shares and shown in per cent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
FIGURE = re.compile(r"([\d.e+-]+)(<!-- (\w+):([\w.-]+) -->)")


def pages() -> Iterator[Path]:
    """The README and all pages."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def shown(written: str, file: str, key: str) -> str:
    """The figure at a key of a result file, in the form of the one that is written."""
    value: Any = json.loads((RESULTS / f"{file}.json").read_text("utf-8"))
    for part in [key] if key in value else key.split("."):  # keys of `prompts` hold dots
        value = value[int(part) if isinstance(value, list) else part]
    digits = len(written.partition("e")[0].partition(".")[2])
    form = f".{digits}e" if "e" in written else f".{digits}f"
    per_cent = file.startswith("reproduce") and isinstance(value, float) and abs(value) <= 1
    return format(100 * value if per_cent else value, form)


def main() -> None:
    """Rewrite every page whose figures differ."""
    for page in pages():
        text = page.read_text("utf-8")
        new = FIGURE.sub(lambda found: shown(found[1], found[3], found[4]) + found[2], text)
        if new != text:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
