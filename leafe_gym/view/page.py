"""One HTML file that shows trees: no network, no server, nothing to install.

Nothing that a model or an environment said can become markup or code: texts are cleaned, travel as
JSON in which `<`, `>` and `&` are escaped, and are put on the page as text by a script that the
page's own security policy names by its hash; no other script, style, image or request is allowed.

Example:
    >>> from leafe_gym.view.sections import Figures
    >>> text, written = render_page("A run", [], [Figures(items=[("3 of 4", "levels solved")])])
    >>> written.shown, written.left_out, "3 of 4" in text
    (0, 0, True)
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template

from leafe_gym.budget import Spend
from leafe_gym.errors import StoreError, UsageError
from leafe_gym.tree import Tree
from leafe_gym.types import Json
from leafe_gym.view.page_data import recovered, summary, tree_record
from leafe_gym.view.sanitize import safe
from leafe_gym.view.sections import Section

LIMIT = 900_000
"""Most bytes of trees on a page by default, so that it opens at once and can be mailed."""

_SCRIPTS = ("dom", "board", "player", "graph", "story", "sections", "main")


@dataclass(frozen=True, slots=True)
class Written:
    """What a page holds.

    Attributes:
        shown: trees on the page.
        left_out: trees that its size limit did not hold; the figures on top count them too.
        nbytes: size of the page.
    """

    shown: int
    left_out: int
    nbytes: int


def write_page(
    path: str | Path,
    title: str,
    trees: Iterable[Tree] = (),
    sections: Sequence[Section] = (),
    *,
    limit: int = LIMIT,
) -> Written:
    """Write a page with `sections` on top and `trees` to walk through below.

    Args:
        path: the HTML file; folders are made as needed.
        title: heading.
        trees: what to show, read once and one at a time; `run.trees()` will do.
        sections: what stands above the trees, see `leafe_gym.view.sections`. A demo would give
            `Note`, `Curve` of the training, `Table` and `Replays` of levels failed before and
            solved after.
        limit: most bytes of trees. Where they need more, those that won after a rollback stay
            first, then others that won; one tree is always shown, however large.

    Returns:
        What the page holds.

    Raises:
        UsageError: if a figure in `sections` is not finite.
        StoreError: if the file cannot be written.
    """
    text, written = render_page(title, trees, sections, limit=limit)
    target = Path(path)
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot write the page: {error}") from error
    return written


def render_page(
    title: str,
    trees: Iterable[Tree] = (),
    sections: Sequence[Section] = (),
    *,
    limit: int = LIMIT,
) -> tuple[str, Written]:
    """The text of the page that `write_page` writes."""
    shelf = _Shelf(limit)
    for tree in trees:
        shelf.add(tree)
    kept = sorted(shelf.kept, key=lambda item: item.number)
    head = {
        "figures": shelf.figures(),
        "sections": [section.record() for section in sections],
        "trees": [item.summary for item in kept],
        "left_out": shelf.count - len(kept),
        "first": _most_telling(kept),
    }
    blocks = [_block("page", to_script(head))]
    blocks += [_block(f"tree-{place}", item.text) for place, item in enumerate(kept)]
    style, script = _assets()
    text = Template(_read("page.html")).substitute(
        title=html.escape(safe(title)),
        policy=html.escape(_policy(style, script)),
        style=style,
        script=script,
        data="\n".join(blocks),
    )
    return text, Written(len(kept), shelf.count - len(kept), len(text.encode()))


def to_script(value: Json) -> str:
    r"""JSON that can stand inside a script element: ASCII, and without a character of markup.

    Example:
        >>> to_script("</script>")
        '"\\u003c/script\\u003e"'

    Raises:
        UsageError: for NaN and infinities.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise UsageError("a figure for the page is not finite") from error
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    rank: int
    summary: Json
    text: str


@dataclass(slots=True)
class _Shelf:
    """The trees of a page within its limit, and figures over all that came by."""

    limit: int
    kept: list[_Item] = field(default_factory=list)
    count: int = 0
    solved: int = 0
    recovered: int = 0
    attempts: int = 0
    spent: Spend = field(default_factory=Spend)

    def add(self, tree: Tree) -> None:
        after_rollback = recovered(tree)
        self.solved += tree.solved
        self.recovered += after_rollback
        self.attempts += len(tree.branches)
        self.spent = self.spent + tree.spent
        rank = 0 if after_rollback else 1 if tree.solved else 2
        self.kept.append(_Item(self.count, rank, summary(tree), to_script(tree_record(tree))))
        self.count += 1
        while len(self.kept) > 1 and sum(len(item.text) for item in self.kept) > self.limit:
            self.kept.remove(max(self.kept, key=lambda item: (item.rank, item.number)))

    def figures(self) -> Json:
        if not self.count:
            return []
        spent = self.spent
        return [
            [f"{self.solved} of {self.count}", "tasks solved"],
            [f"{self.recovered}", "of them after a way back"],
            [f"{self.attempts:,}", "attempts"],
            [f"{spent.calls:,}", "calls spent: steps + model calls"],
            [f"{spent.tokens_uncached:,}", f"uncached tokens, of {spent.tokens_total:,}"],
        ]


def _most_telling(kept: Sequence[_Item]) -> int:
    """The tree to open first: the one that won after the fewest ways back, if any did."""
    places = range(len(kept))
    return min(places, key=lambda at: (kept[at].rank, kept[at].summary["attempts"]), default=0)


def _block(name: str, text: str) -> str:
    return f'<script type="application/json" id="{name}">{text}</script>'


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _assets() -> tuple[str, str]:
    """Style and script, as they stand between their tags."""
    parts = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    return _read("page.css"), f'"use strict";\n(() => {{\n{parts}}})();\n'


def _read(name: str) -> str:
    return (resources.files("leafe_gym.view") / "assets" / name).read_text("utf-8")
