"""Which steps of one tree become rows (paper, Stage 2: D_cf and D_reh)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from numpy.random import Generator

from leafe_gym.distill.leaks import LeakCheck
from leafe_gym.distill.records import Kind, Row
from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import PromptSet
from leafe_gym.seeds import derive_rng
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Completion, Message, Step

Keep = Literal["successful", "improved", "all"]
Target = Literal["reply", "action"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is asked for; see `leafe_gym.distill.rows`."""

    keep: Keep
    per_task: int | None
    rehearsal: float
    target: Target
    seed: int
    dedupe: bool
    balance: int | None


class Selection:
    """The rows of one tree.

    Args:
        tree: a finished tree.
        prompts: the run's prompt set.
        choice: what is asked for.
        is_new: told the hash of a row; False if an equal row of that kind was there before.
        counts: what was taken and what was not, and why; added to.
    """

    def __init__(
        self,
        tree: Tree,
        prompts: PromptSet,
        choice: Choice,
        is_new: Callable[[bytes], bool],
        counts: Counter[str],
    ) -> None:
        self._tree, self._prompts, self._choice = tree, prompts, choice
        self._is_new, self._counts = is_new, counts
        self._leaks = LeakCheck(tree, prompts)

    def rows(self) -> Iterator[Row]:
        """Counterfactual rows by branch, then rehearsal rows by branch and step."""
        yield from self._counterfactual()
        yield from self._rehearsal()

    def _counterfactual(self) -> Iterator[Row]:
        tree, limit = self._tree, self._choice.per_task
        able = [branch for branch in tree.branches if self._revised(branch)]
        order = self._dice("counterfactual").permutation(len(able))
        chosen: list[Row] = []
        for place, index in enumerate(order):
            if limit is not None and len(chosen) >= limit:
                self._counts["over_per_task"] += len(able) - place
                break
            branch = able[int(index)]
            first = next(i for i, step in enumerate(branch.steps) if step.action is not None)
            row = self._row("counterfactual", branch.id, first, self._replaced(branch, first))
            if row is not None:
                chosen.append(row)
        yield from sorted(chosen, key=lambda row: row.branch)

    def _revised(self, branch: Branch) -> bool:
        """Whether the branch holds a revised action that is wanted; counts why not."""
        if branch.parent is None or branch.experience is None or branch.restart:
            return False  # a root, or a restart of iterative refinement: nothing was revised
        if all(step.action is None for step in branch.steps):
            self._counts["no_action"] += 1
        elif self._tree.unchanged(branch.id):
            self._counts["unchanged"] += 1
        elif not self._kept(branch):
            self._counts["not_kept"] += 1
        else:
            return True
        return False

    def _kept(self, branch: Branch) -> bool:
        if self._choice.keep == "all":
            return True
        if self._choice.keep == "successful":
            return branch.won
        assert branch.parent is not None
        parent = self._tree.branches[branch.parent]
        if branch.won != parent.won:
            return branch.won
        ours, theirs = (final_score(self._tree.history(b.id)) for b in (branch, parent))
        if ours[0] is not None and theirs[0] is not None:
            return ours[0] > theirs[0]
        return ours[1] > theirs[1]

    def _replaced(self, branch: Branch, first: int) -> str | None:
        """The reply that the revised one replaces, if both answer the same prompt."""
        old = self._tree.replaced(branch.id)
        if old is None or first:  # an unusable reply of its own stands before the revised one
            return None
        return self._target(old)

    def _rehearsal(self) -> Iterator[Row]:
        won = [branch for branch in self._tree.branches if branch.won]
        self._counts["successful_rollouts"] += len(won)
        share, most = self._choice.rehearsal, self._choice.balance
        chosen = [b for b in won if self._dice("rehearsal", b.id).random() < share]
        if most is not None and len(chosen) > most:
            order = self._dice("balance").permutation(len(chosen))[:most]
            self._counts["over_balance"] += len(chosen) - most
            chosen = [chosen[index] for index in sorted(order.tolist())]
        self._counts["rehearsal_rollouts"] += len(chosen)
        taken: set[tuple[int, int]] = set()  # rollouts of one tree share their first steps
        for branch in chosen:
            for place in own_places(self._tree, branch.id):
                if place not in taken:
                    taken.add(place)
                    row = self._row("rehearsal", *place)
                    if row is not None:
                        yield row

    def _row(self, kind: Kind, branch: int, own: int, rejected: str | None = None) -> Row | None:
        """The row of one step; None, and a count, where it must not become one."""
        tree = self._tree
        node = tree.branches[branch]
        step = node.steps[own]
        if step.action is None:
            return None
        history = self._before(node, own)
        target = self._target(step)
        if target is None:
            self._counts["no_short_form"] += 1
            return None
        prompt = self._prompts.render(tree.task, tree.start, history, ())
        if reason := self._leaks.reason(history, step, prompt, target):
            self._counts[f"leak: {reason}"] += 1
            return None
        if self._choice.dedupe and not self._is_new(row_hash(kind, prompt, target)):
            self._counts["duplicate"] += 1
            return None
        self._counts[kind] += 1
        return Row(
            kind=kind,
            task=tree.task.id,
            split=tree.task.split,
            branch=branch,
            step=own,
            prompt=tuple(prompt),
            target=target,
            rejected=rejected,
        )

    def _before(self, node: Branch, own: int) -> list[Step]:
        """All steps from the episode's start up to own step number `own` of `node`."""
        before: list[Step] = []
        if node.parent is not None and not node.restart:
            before = self._tree.history(node.parent, before=node.start)
        return [*before, *node.steps[:own]]

    def _target(self, step: Step) -> str | None:
        if self._choice.target == "reply":
            return step.reply
        return short_form(self._prompts, step)

    def _dice(self, *what: int | str) -> Generator:
        return derive_rng(self._choice.seed, self._tree.task.id, *what)


def final_score(steps: Sequence[Step]) -> tuple[float | None, float]:
    """The last score an attempt was given, if any, and its sum of rewards."""
    scores = [step.info["score"] for step in steps if step.info.get("score") is not None]
    return (float(scores[-1]) if scores else None), sum(step.reward for step in steps)


def own_places(tree: Tree, branch: int) -> list[tuple[int, int]]:
    """(branch, own index) of every step on the path of `branch`, from the episode's start."""
    segments: list[list[tuple[int, int]]] = []
    cut: int | None = None
    for node in tree.ancestry(branch):
        own = node.steps if cut is None else node.own_before(cut)
        segments.append([(node.id, index) for index in range(len(own))])
        if node.restart:
            break
        cut = node.start if cut is None else min(cut, node.start)
    return [place for segment in reversed(segments) for place in segment]


def short_form(prompts: PromptSet, step: Step) -> str | None:
    """The shortest answer that the set reads as the step's action: its last line, or it alone."""
    assert step.action is not None
    lines = [line.strip() for line in step.reply.splitlines() if line.strip()]
    for text in (*lines[-1:], step.action):
        try:
            if prompts.parse_action(Completion(text=text)) == step.action:
                return text
        except BadReply:
            continue
    return None


def row_hash(kind: Kind, prompt: Sequence[Message], target: str) -> bytes:
    """Equal for rows of one kind with the same prompt and target."""
    digest = blake2b(kind.encode(), digest_size=16)
    for part in (*(part for turn in prompt for part in (turn["role"], turn["content"])), target):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
