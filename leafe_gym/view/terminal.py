"""One tree in the terminal: who failed where, what was tried instead, what came of it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree as RichTree

from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Step

STYLE = {"won": "bold green", "failed": "red", "unparsable": "red", "budget": "yellow"}
Clean = Callable[[str, str], Text]
"""Turns a stranger's text and a style into something safe to print."""


def render_tree(tree: Tree, clean: Clean) -> RenderableType:
    """The whole tree, roots in order, each branch beneath the one it answers."""
    head = RichTree(_title(tree), guide_style="dim")
    nodes: dict[int, RichTree] = {}
    for branch in tree.branches:
        above = head if branch.parent is None else nodes[branch.parent]
        nodes[branch.id] = above.add(_describe(tree, branch, clean))
    return Group(
        clean(tree.task.instruction, "dim"),
        Text(),
        clean(tree.start.observation, "bold"),
        Text(),
        head,
    )


def _title(tree: Tree) -> Text:
    spent = tree.spent
    text = Text(tree.task.id, style="bold")
    text.append("  solved" if tree.solved else "  not solved", "green" if tree.solved else "red")
    text.append(
        f"  {len(tree.branches)} attempts, {spent.interactions} calls "
        f"({spent.steps} steps, {spent.act_calls} acting, {spent.reflect_calls} reflecting), "
        f"{spent.tokens_uncached:,} of {spent.tokens_total:,} tokens uncached",
        "dim",
    )
    return text


def _describe(tree: Tree, branch: Branch, clean: Clean) -> RenderableType:
    line = Text(f"#{branch.id} ", style="bold")
    line.append(branch.ending, STYLE.get(branch.ending, "magenta"))
    parts: list[RenderableType] = [line]
    if branch.experience is not None:
        old = tree.replaced(branch.id) if not branch.restart else None
        where = "from the start" if branch.restart else f"back to action {branch.start}"
        line.append(f"  {where}", "cyan")
        if old is not None and branch.steps:
            line.append("  instead of ")
            line.append_text(clean(old.action or "", "red"))
            line.append(": ")
            line.append_text(clean(branch.steps[0].action or "(no action)", "green"))
            if tree.unchanged(branch.id):
                line.append("  unchanged", "yellow")
        parts.append(clean(f"e: {branch.experience.text}", "italic cyan"))
    parts.append(clean(_actions(branch.steps), "dim"))
    if branch.reason:
        parts.append(clean(branch.reason, "magenta"))
    bad = [reflection for reflection in branch.reflections if reflection.verdict == "bad"]
    if bad:
        parts.append(clean(f"{len(bad)} unusable reflections: {bad[0].reason}", "yellow"))
    return Group(*parts)


def _actions(steps: tuple[Step, ...], longest: int = 24) -> str:
    """The actions in a line; runs are counted, the middle of long ones is left out."""
    runs: list[tuple[str, int]] = []
    for step in steps:
        action = step.action if step.action is not None else "(unusable reply)"
        if runs and runs[-1][0] == action:
            runs[-1] = (action, runs[-1][1] + 1)
        else:
            runs.append((action, 1))
    words = [action if times == 1 else f"{action} x{times}" for action, times in runs]
    if len(words) > longest:
        half = longest // 2
        words = [*words[:half], f"... {len(words) - 2 * half} more ...", *words[-half:]]
    return f"{len(steps)} rounds: {', '.join(words)}"
