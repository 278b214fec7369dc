"""One tree as text for the terminal: attempts, rollbacks, experiences and revised actions."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree as RichTree

from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Step
from leafe_gym.view.sanitize import safe

STYLE = {"won": "bold green", "failed": "red", "unparsable": "red", "budget": "yellow"}


def render_tree(tree: Tree) -> RenderableType:
    """The whole tree: roots in order, each branch below its parent."""
    head = RichTree(_title(tree), guide_style="dim")
    nodes: dict[int, RichTree] = {}
    for branch in tree.branches:
        above = head if branch.parent is None else nodes[branch.parent]
        nodes[branch.id] = above.add(_describe(tree, branch))
    return Group(
        _text(tree.task.instruction, "dim"),
        Text(),
        _text(tree.start.observation, "bold"),
        Text(),
        head,
    )


def _text(text: str, style: str = "") -> Text:
    """Untrusted text for printing: without markup and control characters."""
    return Text(safe(text), style=style)


def _title(tree: Tree) -> Text:
    spent = tree.spent
    text = _text(tree.task.id, "bold")
    text.append("  solved" if tree.solved else "  not solved", "green" if tree.solved else "red")
    text.append(
        f"  {len(tree.branches)} attempts, {spent.interactions} interactions "
        f"({spent.env_steps} environment steps, {spent.act_calls} acting and "
        f"{spent.reflect_calls} reflecting model calls), "
        f"{spent.tokens_uncached:,} of {spent.tokens_total:,} tokens uncached",
        "dim",
    )
    return text


def _describe(tree: Tree, branch: Branch) -> RenderableType:
    line = Text(f"#{branch.id} ", style="bold")
    line.append_text(_text(branch.ending, STYLE.get(branch.ending, "magenta")))
    parts: list[RenderableType] = [line]
    if branch.parent is not None:
        old = tree.replaced(branch.id) if not branch.restart else None
        where = "from the start" if branch.restart else f"rolled back to action {branch.start}"
        line.append(f"  {where}", "cyan")
        if old is not None and branch.steps:
            line.append("  instead of ")
            line.append_text(_text(old.action or "", "red"))
            line.append(": ")
            line.append_text(_text(branch.steps[0].action or "(no action)", "green"))
            if tree.unchanged(branch.id):
                line.append("  unchanged", "yellow")
        if branch.experience is not None:
            parts.append(_text(f"experience: {branch.experience.text}", "italic cyan"))
    parts.append(_text(_actions(branch.steps), "dim"))
    if branch.reason:
        parts.append(_text(branch.reason, "magenta"))
    bad = [reflection for reflection in branch.reflections if reflection.verdict == "bad"]
    if bad:
        parts.append(_text(f"{len(bad)} unusable reflections: {bad[0].reason}", "yellow"))
    return Group(*parts)


def _actions(steps: tuple[Step, ...], longest: int = 24) -> str:
    """The actions in one line; repeated ones are counted, the middle of long lists is omitted."""
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
    return f"{len(steps)} turns: {', '.join(words)}"
