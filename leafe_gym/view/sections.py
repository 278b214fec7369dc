"""What a page can hold besides trees: figures, notes, tables, curves, replays.

Example:
    >>> Table(title="Solved", header=("level", "before", "after"), rows=[("7", "0", "1")]).record()
    ... # doctest: +ELLIPSIS
    {'kind': 'table', 'title': 'Solved', ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from leafe_gym.tree import Tree
from leafe_gym.types import Ending, Json, Start, Step
from leafe_gym.view.page_data import step_records
from leafe_gym.view.sanitize import safe
from leafe_gym.view.texts import Texts, shorten

Point = tuple[float, float] | tuple[float, float, float, float]
"""(x, y), or (x, y, low, high) for a point with an interval."""


class Section(Protocol):
    """A part of a page, above the trees."""

    def record(self) -> Json:
        """The part as JSON, cleaned of control characters; `assets/sections.js` draws it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A row of large numbers.

    Attributes:
        items: (value, what it is), such as ("17 of 20", "levels solved").
    """

    items: Sequence[tuple[str, str]]

    def record(self) -> Json:
        """See `Section.record`."""
        return {
            "kind": "figures",
            "items": [[safe(value), safe(what)] for value, what in self.items],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A heading and paragraphs, which an empty line separates."""

    title: str
    text: str

    def record(self) -> Json:
        """See `Section.record`."""
        return {"kind": "note", "title": safe(self.title), "text": shorten(safe(self.text))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header; columns of numbers are set to the right.

    Attributes:
        title: heading.
        header: a word for each column.
        rows: as many cells each.
        text: a paragraph above it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""

    def record(self) -> Json:
        """See `Section.record`."""
        return {
            "kind": "table",
            "title": safe(self.title),
            "text": safe(self.text),
            "header": [safe(cell) for cell in self.header],
            "rows": [[shorten(safe(cell)) for cell in row] for row in self.rows],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Lines over a common axis, such as the loss over the steps of a training.

    Attributes:
        title: heading.
        x: what the horizontal axis is, with its unit.
        y: likewise the vertical one.
        series: name of each line -> its points; finite numbers, x rising.
        text: a paragraph above it.
        log_x: a logarithmic horizontal axis; all x must be positive then.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[Point]]
    text: str = ""
    log_x: bool = False

    def record(self) -> Json:
        """See `Section.record`."""
        return {
            "kind": "curve",
            "title": safe(self.title),
            "text": safe(self.text),
            "x": safe(self.x),
            "y": safe(self.y),
            "log": self.log_x,
            "series": [
                [safe(name), [[float(part) for part in point] for point in points]]
                for name, points in self.series.items()
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEpisode:
    """One rollout from the start of a task to its end."""

    start: Start
    steps: Sequence[Step]
    ending: Ending


def episode(tree: Tree, branch: int) -> ReplayEpisode:
    """The whole path of a branch, from the start of the task."""
    return ReplayEpisode(
        start=tree.start, steps=tree.history(branch), ending=tree.branches[branch].ending
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One task twice, played side by side. Either side may be missing."""

    label: str
    before: ReplayEpisode | None
    after: ReplayEpisode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Episodes played step by step, such as levels failed before training and solved after.

    Attributes:
        title: heading.
        pairs: what is played.
        before: what the left side of each pair is.
        after: likewise the right one.
        text: a paragraph above them.
    """

    title: str
    pairs: Sequence[Pair]
    before: str = "before"
    after: str = "after"
    text: str = ""

    def record(self) -> Json:
        """See `Section.record`."""
        texts = Texts()
        pairs = [
            [safe(pair.label), _episode(pair.before, texts), _episode(pair.after, texts)]
            for pair in self.pairs
        ]
        return {
            "kind": "replays",
            "title": safe(self.title),
            "text": safe(self.text),
            "sides": [safe(self.before), safe(self.after)],
            "pairs": pairs,
            "texts": texts.entries,
        }


def _episode(one: ReplayEpisode | None, texts: Texts) -> Json:
    if one is None:
        return None
    return {
        "start": texts.place(one.start.observation),
        "steps": step_records(list(one.steps), texts),
        "ending": one.ending,
    }
