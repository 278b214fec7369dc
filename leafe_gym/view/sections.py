"""Parts of a page besides trees: figures, notes, tables, curves, replays.

Example:
    >>> Table(title="Solved", header=("level", "before", "after"), rows=[("7", "0", "1")]).record()
    ... # doctest: +ELLIPSIS
    {'kind': 'table', 'title': 'Solved', ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from leafe_gym.envs.display import RenderText, render_hook
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
        """The part as sanitized JSON; `assets/sections.js` draws it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A row of large numbers.

    Attributes:
        items: (value, name), such as ("17 of 20", "levels solved").
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
    """A heading and paragraphs, separated by empty lines."""

    title: str
    text: str

    def record(self) -> Json:
        """See `Section.record`."""
        return {"kind": "note", "title": safe(self.title), "text": shorten(safe(self.text))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header; columns of numbers are right-aligned.

    Attributes:
        title: heading.
        header: names of the columns.
        rows: lists of cells, one per column.
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
    """Lines over a common axis, such as the training loss over the steps.

    Attributes:
        title: heading.
        x: name and unit of the horizontal axis.
        y: name and unit of the vertical axis.
        series: name of each line -> its points; finite numbers, x increasing.
        text: a paragraph above it.
        log_x: whether the horizontal axis is logarithmic; all x must be positive then.
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
    """One episode from the start of a task to its end.

    Attributes:
        start: first observation.
        steps: all steps.
        ending: how it ended.
        env_id: the environment, which may say how its observations are drawn.
    """

    start: Start
    steps: Sequence[Step]
    ending: Ending
    env_id: str = ""


def episode(tree: Tree, branch: int) -> ReplayEpisode:
    """The whole path of a branch, from the start of the task."""
    return ReplayEpisode(
        start=tree.start,
        steps=tree.history(branch),
        ending=tree.branches[branch].ending,
        env_id=tree.task.env_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two episodes of one task, side by side; either may be missing."""

    label: str
    before: ReplayEpisode | None
    after: ReplayEpisode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """Episodes to step through, such as levels failed before training and solved after it.

    Attributes:
        title: heading.
        pairs: the episodes.
        before: name of the left side of each pair.
        after: name of the right side.
        text: a paragraph above them.
    """

    title: str
    pairs: Sequence[Pair]
    before: str = "before"
    after: str = "after"
    text: str = ""

    def record(self) -> Json:
        """See `Section.record`."""
        texts = Texts(self._render_hook())
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
            "tiles": texts.tiles,
        }

    def _render_hook(self) -> RenderText | None:
        episodes = [one for pair in self.pairs for one in (pair.before, pair.after)]
        return next((render_hook(one.env_id) for one in episodes if one is not None), None)


def _episode(one: ReplayEpisode | None, texts: Texts) -> Json:
    if one is None:
        return None
    return {
        "start": texts.place(one.start.observation),
        "steps": step_records(list(one.steps), texts),
        "ending": one.ending,
    }
