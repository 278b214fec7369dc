"""What every part of one task's exploration shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leafe_gym.agents.frontier import Frontier, Job
from leafe_gym.agents.settings import Settings
from leafe_gym.budget import Meter
from leafe_gym.policies.base import Policy
from leafe_gym.prompts.base import PromptSet
from leafe_gym.tree import Tree
from leafe_gym.types import Experience, Reflection, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One task being explored.

    Attributes:
        tree: what has been committed so far.
        policy: acts and reflects.
        prompts: renders and parses.
        settings: how attempts are made.
        frontier: which attempt comes next.
        meter: the task's ledger.
        seed: from which all sampling seeds of the task derive.
    """

    tree: Tree
    policy: Policy
    prompts: PromptSet
    settings: Settings
    frontier: Frontier
    meter: Meter
    seed: int

    def prefix(self, job: Job) -> list[Step]:
        """The history an attempt starts with."""
        if job.parent is None or job.restart or job.experience is None:
            return []
        return self.tree.history(job.parent, before=job.experience.step)

    def active(self, job: Job, action: int) -> list[tuple[int, Experience]]:
        """(branch, experience) pairs that stand in the prompt before action number `action`.

        With `until="tau"` the attempt's own, at its tau only. With "end" the own from tau on, and
        those of the ancestors that nobody rolled back past since: their steps are in the history.
        """
        if job.experience is None or self.settings.tip == "withheld":
            return []
        shown = [(job.id, job.experience)]
        if job.restart:
            return [*self._earlier(job), *shown] if self.settings.memory == "all" else shown
        tau = job.experience.step
        if self.settings.until == "tau":
            return shown if action == tau else []
        assert job.parent is not None
        for node in self.tree.ancestry(job.parent):
            if node.experience is not None and node.experience.step < tau:
                tau = node.experience.step
                shown.append((node.id, node.experience))
        return shown[::-1]

    def _earlier(self, job: Job) -> list[tuple[int, Experience]]:
        """The experiences of the chain before `job`, oldest first, none told twice."""
        assert job.parent is not None
        found: dict[Experience, int] = {}
        for node in self.tree.ancestry(job.parent):
            if node.experience is not None and node.experience != job.experience:
                found[node.experience] = node.id
        return [(number, experience) for experience, number in found.items()][::-1]

    def tried(self, job: Job, reflections: Iterable[Reflection]) -> set[tuple[int, Experience]]:
        """(home of tau, experience) of every branch opened on the way to `job` or from it so far.

        Attempts beside `job` are left out: which of them have been told depends on timing.
        """
        found = {(self.home(job, r.experience), r.experience) for r in reflections if r.experience}
        if job.parent is not None:
            for node in self.tree.ancestry(job.parent):
                for reflection in node.reflections:
                    if reflection.experience is not None:
                        tau = reflection.experience.step
                        found.add((self.tree.home(node.id, tau), reflection.experience))
        return found

    def home(self, job: Job, experience: Experience) -> int:
        """`Tree.home` for an attempt that is not in the tree yet."""
        begun = job.experience.step if job.experience is not None else 0
        if job.parent is None or job.restart or experience.step > begun:
            return job.id
        return self.tree.home(job.parent, experience.step)
