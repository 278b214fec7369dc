"""Charging an attempt and adding it to the tree, in canonical order.

The same code serves an attempt that just ran and one that is read back from a store: prompts are
rendered from the records, so a resumed run keeps the same ledger as an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import replace

from leafe_gym.agents.context import Context
from leafe_gym.agents.frontier import Job
from leafe_gym.agents.rollout import Attempt, Rollout, look_back_prompt
from leafe_gym.budget import Spend
from leafe_gym.tree import Branch, actions_in
from leafe_gym.types import Experience, Reflection, Step


def commit(ctx: Context, job: Job, attempt: Attempt) -> Branch | None:
    """Charge `attempt`, cut it where the budget ends, add it to the tree, tell the frontier.

    Returns:
        The branch as it stands in the tree, or None if the budget did not hold even its first
        round: exploring is over then and nothing was charged or added.
    """
    meter, spent = ctx.meter, ctx.meter.spent
    tau = job.experience.step if job.experience and not job.restart else None
    if not meter.fits(meter.rollback_cost(tau or 0) + 2):
        spent.overhead_calls += attempt.calls
        return None
    if tau is not None:
        meter.charge_rollback(tau)
    spent.attempts += 1
    branch, experiences = _Charging(ctx, job, attempt.branch).run()
    kept = len(branch.steps) + len(branch.reflections)
    spent.overhead_calls += max(0, attempt.calls - kept)
    spent.overhead_retries += attempt.retries
    spent.replayed_steps += attempt.replayed
    ctx.tree.add(branch)
    if branch.won and ctx.tree.solved_at is None:
        ctx.tree.solved_at = replace(spent)
    ctx.frontier.tell(job, experiences)
    return branch


class _Charging:
    """One pass over an attempt's calls in the order they were made."""

    def __init__(self, ctx: Context, job: Job, branch: Branch) -> None:
        self.ctx, self.job, self.branch = ctx, job, branch
        self.path = ctx.prefix(job)
        self.kept: list[Reflection] = []
        self.experiences: list[Experience] = []

    def run(self) -> tuple[Branch, list[Experience]]:
        """The branch as far as the budget holds it, and the experiences to branch on."""
        steps, branch = self.branch.steps, self.branch
        for index, step in enumerate(steps):
            if not self.ctx.meter.fits(2):
                branch = replace(branch, steps=steps[:index], ending="budget", reason="")
                break
            self._charge_step(step)
            last = index + 1 == len(steps)
            self._charge_look_backs(index + 1, branch, last=last)
        return replace(branch, reflections=tuple(self.kept)), self.experiences

    def _charge_step(self, step: Step) -> None:
        ctx, tree = self.ctx, self.ctx.tree
        tips = [e for _, e in ctx.active(self.job, actions_in(self.path))]
        messages = ctx.prompts.render(tree.task, tree.start, self.path, tips)
        ctx.meter.charge_act(messages, step.reply, step.usage, stepped=step.action is not None)
        self.path.append(step)

    def _charge_look_backs(self, rounds: int, branch: Branch, *, last: bool) -> None:
        made = [reflection for reflection in branch.reflections if reflection.after == rounds]
        if self.ctx.frontier.look_back == "none":
            return
        failed = last and branch.ending in ("failed", "unparsable")
        ended = last and (failed or branch.won)
        due = self.ctx.settings.look_backs_due(rounds, ended=ended, failed=failed)
        for index in range(due):
            if not actions_in(self.path):
                return
            if not self.ctx.frontier.room(self.job, len(self.experiences)):
                self.ctx.meter.spent.dropped += due - index
                return
            if index >= len(made) or not self.ctx.meter.fits(1):
                return
            self._charge_look_back(made[index])

    def _charge_look_back(self, reflection: Reflection) -> None:
        messages, _ = look_back_prompt(self.ctx, self.job, self.path)
        self.ctx.meter.charge_reflect(messages, reflection.reply, reflection.usage)
        self.kept.append(reflection)
        if reflection.experience is not None:
            self.experiences.append(reflection.experience)


def discard(spent: Spend, rollout: Rollout) -> None:
    """Count the work of an attempt that no tree will hold."""
    spent.overhead_calls += rollout.calls
    spent.overhead_retries += rollout.retries
