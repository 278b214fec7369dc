"""Which steps of one tree become rows (paper, Stage 2: D_cf and D_reh)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from numpy.random import Generator

from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.data.hidden import HiddenCheck
from leafe_gym.distill.data.history import RowHistory
from leafe_gym.distill.data.row_types import Row, RowKind
from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import PromptSet
from leafe_gym.prompts.fitting import rendered
from leafe_gym.prompts.thinking import split_thinking
from leafe_gym.seeds import derive_rng
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import ERRORS, Completion, Ending, Json, Message, Step

Target = tuple[str, str]
"""Text and thinking of a target; see `Row.target` and `Row.reasoning`."""
FINAL: frozenset[Ending] = frozenset({"won", "failed"})
"""Endings of attempts that reached the end of the episode."""


class RowOutcome(NamedTuple):
    """Whether a step, or the steps of a branch, became a row.

    Attributes:
        kind: of the row it could have been.
        branch: number of the branch.
        step: own index of the step; None for what holds for all steps of the branch.
        reason: why there is no row; "" for a row.
    """

    kind: RowKind
    branch: int
    step: int | None
    reason: str


class RowSelector:
    """Selects the rows of one tree.

    Args:
        tree: a finished tree.
        prompts: the run's prompt set.
        config: which rows to take.
        is_new: given the hash of a row, False if an equal row of that kind was taken before.
        counts: rows taken, and rows left out by reason; added to.
        arguments: `Row.chat_template_kwargs` of every row.
        hidden: finds rows that need hidden knowledge.

    Attributes:
        outcomes: what became a row and what did not, added to while `rows` is iterated.
    """

    def __init__(
        self,
        tree: Tree,
        prompts: PromptSet,
        config: RowConfig,
        is_new: Callable[[bytes], bool],
        counts: Counter[str],
        arguments: Mapping[str, Json],
        hidden: HiddenCheck,
    ) -> None:
        self._tree, self._prompts, self._config = tree, prompts, config
        self._is_new, self._counts, self._arguments = is_new, counts, arguments
        self._history = RowHistory(tree, prompts)
        self._hidden = hidden
        self.outcomes: list[RowOutcome] = []

    def rows(self) -> Iterator[Row]:
        """Counterfactual rows by branch, then rehearsal rows by branch and step."""
        yield from self._counterfactual()
        yield from self._rehearsal()

    def _counterfactual(self) -> Iterator[Row]:
        tree, limit = self._tree, self._config.per_task
        candidates = [branch for branch in tree.branches if self._revised(branch)]
        order = self._rng("counterfactual").permutation(len(candidates))
        chosen: list[Row] = []
        for place, index in enumerate(order):
            if limit is not None and len(chosen) >= limit:
                self._counts["over_per_task"] += len(candidates) - place
                for other in order[place:]:
                    self._revision_left_out(candidates[int(other)], "over_per_task")
                break
            branch = candidates[int(index)]
            first = _first_action(branch)
            assert first is not None
            row = self._row("counterfactual", branch.id, first, self._replaced(branch, first))
            if row is not None:
                chosen.append(row)
        yield from sorted(chosen, key=lambda row: row.branch)

    def _revised(self, branch: Branch) -> bool:
        """Whether the branch gives a counterfactual row; counts the reason if not."""
        if branch.parent is None or branch.experience is None or branch.restart:
            return False  # a root or a restart of iterative refinement revises no action
        if _first_action(branch) is None:
            reason = "no_action"
        elif self._tree.unchanged(branch.id):
            reason = "unchanged"
        elif not self._selected(branch):
            reason = "not_selected"
        else:
            return True
        self._counts[reason] += 1
        self._revision_left_out(branch, reason)
        return False

    def _revision_left_out(self, branch: Branch, reason: str) -> None:
        first = _first_action(branch)
        self.outcomes.append(RowOutcome("counterfactual", branch.id, first, reason))

    def _selected(self, branch: Branch) -> bool:
        if self._config.keep == "all":
            return True
        if self._config.keep == "successful":
            return branch.won
        return self._improved(branch)

    def _improved(self, branch: Branch) -> bool:
        return gain(self._tree, branch) > 0

    def _weight(
        self, kind: RowKind, history: Sequence[Step], step: Step, prompt: Sequence[Message]
    ) -> float:
        """The weight of a row; 0 for one that needs hidden knowledge and is left out."""
        shown = {number for one in (*history, step) for number in one.experiences}
        branches = [self._tree.branches[number] for number in sorted(shown)]
        if not self._hidden.words(step, prompt, branches):
            return 1.0
        reply = short_form(self._prompts, step) or step.reply
        weight = self._hidden.weight(prompt, self._taught(history, step), reply)
        if weight == 1:
            return 1.0
        done = {"drop": "left out", "weigh": "weighed down", "keep": "kept"}[self._config.hidden]
        self._counts[f"hidden knowledge: {kind} {done}"] += 1
        return {"drop": 0.0, "weigh": weight, "keep": 1.0}[self._config.hidden]

    def _taught(self, history: Sequence[Step], step: Step) -> tuple[Message, ...]:
        """The prompt with the experiences that the step was taken with."""
        tree = self._tree
        shown = [tree.branches[number].experience for number in step.experiences]
        known = [experience for experience in shown if experience is not None]
        render = self._prompts.render
        return tuple(rendered(render, tree.task, tree.start, history, known, step.fit))

    def _replaced(self, branch: Branch, first: int) -> Target | None:
        """The reply that the revised one replaces, if both answer the same prompt."""
        old = self._tree.replaced(branch.id)
        if old is None or first:  # an unusable reply precedes the revised one
            return None
        if old.fit != branch.steps[first].fit:  # another part of the history was shown
            return None
        return self._target(old)

    def _rehearsal(self) -> Iterator[Row]:
        won = [branch for branch in self._tree.branches if branch.won]
        whole = {b.id: "not_won" for b in self._tree.branches if not b.won}
        self._counts["successful_rollouts"] += len(won)
        share, most = self._config.rehearsal, self._config.balance
        chosen = [b for b in won if self._rng("rehearsal", b.id).random() < share]
        whole |= dict.fromkeys({b.id for b in won} - {b.id for b in chosen}, "not_rehearsed")
        if most is not None and len(chosen) > most:
            order = self._rng("balance").permutation(len(chosen))[:most]
            self._counts["over_balance"] += len(chosen) - most
            whole |= {b.id: "over_balance" for at, b in enumerate(chosen) if at not in order}
            chosen = [chosen[index] for index in sorted(order.tolist())]
        self._counts["rehearsal_rollouts"] += len(chosen)
        self.outcomes += [
            RowOutcome("rehearsal", number, None, why) for number, why in whole.items()
        ]
        taken: set[tuple[int, int]] = set()  # rollouts of one tree share their first steps
        for branch in chosen:
            for place in self._tree.path(branch.id):
                if place not in taken:
                    taken.add(place)
                    row = self._row("rehearsal", *place)
                    if row is not None:
                        yield row

    def _row(
        self, kind: RowKind, branch: int, own: int, rejected: Target | None = None
    ) -> Row | None:
        """The row of one step, or None; notes which."""
        found = self._row_or_reason(kind, branch, own, rejected)
        reason = found if isinstance(found, str) else ""
        self.outcomes.append(RowOutcome(kind, branch, own, reason))
        return found if isinstance(found, Row) else None

    def _row_or_reason(
        self, kind: RowKind, branch: int, own: int, rejected: Target | None
    ) -> Row | str:
        """The row of one step, or why it gives none; what is left out is counted."""
        tree = self._tree
        node = tree.branches[branch]
        step = node.steps[own]
        if step.action is None:
            return "unusable"
        history = self._before(node, own)
        target = self._target(step)
        if target is None:
            self._counts["no_short_form"] += 1
            return "no_short_form"
        text, reasoning = target
        whole = f"{reasoning}\n{text}" if reasoning else text
        past = self._history
        past.move_to(history, step.fit)
        if reason := past.leak(step, whole):
            self._counts[f"leak: {reason}"] += 1
            return f"leak: {reason}"
        weight = self._weight(kind, history, step, past.prompt)
        if not weight:
            return "hidden knowledge"
        if self._config.dedupe and not self._is_new(past.row_hash(kind, whole)):
            self._counts["duplicate"] += 1
            return "duplicate"
        self._counts[kind] += 1
        asked = self._config.teacher
        return Row(
            kind=kind,
            task=tree.task.id,
            split=tree.task.split,
            branch=branch,
            step=own,
            prompt=tuple(past.prompt),
            target=text,
            rejected=None if rejected is None else rejected[0],
            improved=kind == "counterfactual" and (node.won or self._improved(node)),
            gain=gain(tree, node) if kind == "counterfactual" else 0.0,
            weight=weight,
            teacher=self._taught(history, step) if asked and kind == "counterfactual" else (),
            reasoning=reasoning,
            rejected_reasoning="" if rejected is None else rejected[1],
            chat_template_kwargs=self._arguments,
        )

    def _before(self, node: Branch, own: int) -> list[Step]:
        """All steps from the episode's start up to own step number `own` of `node`."""
        before: list[Step] = []
        if node.parent is not None and not node.restart:
            before = self._tree.history(node.parent, before=node.start)
        return [*before, *node.steps[:own]]

    def _target(self, step: Step) -> Target | None:
        """The part of a step's reply that the configuration asks for; None without a short form."""
        kind = self._config.target
        if kind == "reasoning+answer":
            return step.reply, step.reasoning
        if kind == "action":
            short = short_form(self._prompts, step)
            return None if short is None else (short, "")
        answer = step.reply
        if kind == "answer" and not step.reasoning:
            answer = split_thinking(step.reply)[1]
        return answer, ""

    def _rng(self, *what: int | str) -> Generator:
        return derive_rng(self._config.seed, self._tree.task.id, *what)


def _first_action(branch: Branch) -> int | None:
    """Own index of the first step with an action."""
    return next((i for i, step in enumerate(branch.steps) if step.action is not None), None)


def gain(tree: Tree, branch: Branch) -> float:
    """By how much a branch did better than its parent, >= 0.

    The difference of their last `score`, else of their sums of rewards. A branch that won where its
    parent did not gains 1.0 if the scores do not show it; one that lost where its parent won, 0.0.

    An attempt that was cut off has no final result: with penalties for each step, one that ends
    early loses least. Where branch or parent did not reach the end of the episode, a branch that
    did not win gains only what its score is above every score of its parent.
    """
    assert branch.parent is not None
    parent = tree.branches[branch.parent]
    if branch.won != parent.won:
        return _won_instead(tree, branch, parent) if branch.won else 0.0
    if {branch.ending, parent.ending} & ERRORS:
        return 0.0
    ours, theirs = (scores(tree.history(one.id)) for one in (branch, parent))
    whole = {branch.ending, parent.ending} <= FINAL
    if ours and theirs:
        return max(0.0, ours[-1] - (theirs[-1] if whole else max(theirs)))
    return max(0.0, rewards(tree, branch) - rewards(tree, parent)) if whole else 0.0


def _won_instead(tree: Tree, branch: Branch, parent: Branch) -> float:
    ours, theirs = (scores(tree.history(one.id)) for one in (branch, parent))
    if ours and theirs:
        difference = ours[-1] - theirs[-1]
    else:
        difference = rewards(tree, branch) - rewards(tree, parent)
    return difference if difference > 0 else 1.0


def scores(steps: Sequence[Step]) -> list[float]:
    """The scores in `info` along the steps; [] without one."""
    return [float(s.info["score"]) for s in steps if s.info.get("score") is not None]


def rewards(tree: Tree, branch: Branch) -> float:
    """The sum of rewards on the path of a branch."""
    return float(sum(step.reward for step in tree.history(branch.id)))


def short_form(prompts: PromptSet, step: Step) -> str | None:
    """The shortest answer that parses as the step's action: the last line, or the action alone."""
    assert step.action is not None
    lines = [line.strip() for line in step.reply.splitlines() if line.strip()]
    for text in (*lines[-1:], step.action):
        try:
            if prompts.parse_action(Completion(text=text)) == step.action:
                return text
        except BadReply:
            continue
    return None
