"""One attempt: act until it ends, look back every K rounds and on failure.

Nothing here is charged: an attempt may run beside others and be cut, or thrown away, when it is
committed. It stops by itself where the ledger, as far as it was known at the start, cannot hold
another round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from leafe_gym.agents.context import Context
from leafe_gym.agents.environment import as_text, environment_calls, keep_info, place
from leafe_gym.agents.frontier import Job
from leafe_gym.agents.settings import UNPARSABLE_IN_A_ROW
from leafe_gym.agents.shelf import Shelf
from leafe_gym.budget import Budget, estimate_tokens
from leafe_gym.errors import BackendError, BadReply, EnvironmentFailure, PolicyError, UsageError
from leafe_gym.prompts.base import Verdict
from leafe_gym.seeds import derive_rng, derive_seed
from leafe_gym.tree import Branch, actions_in
from leafe_gym.types import (
    Completion,
    Ending,
    Experience,
    Message,
    Reflection,
    Sampling,
    Step,
)
from leafe_gym.wrappers.rollback import RollbackWrapper

MAX_REASON = 500
"""Longest recorded error text, in characters."""


@dataclass(slots=True)
class Attempt:
    """A finished attempt, not yet charged.

    Attributes:
        branch: its steps and reflections.
        calls: model calls that were made.
        retries: failed tries of those calls.
        replayed: environment steps re-done to get to its start.
    """

    branch: Branch
    calls: int = 0
    retries: int = 0
    replayed: int = 0


@dataclass(slots=True)
class Rollout:
    """The state of one running attempt.

    Attributes:
        allowance: calls and completion tokens the ledger can still hold at most; None for no limit.
    """

    ctx: Context
    shelf: Shelf
    job: Job
    env: RollbackWrapper
    allowance: tuple[int | None, int | None]
    path: list[Step] = field(default_factory=list)
    own: list[Step] = field(default_factory=list)
    reflections: list[Reflection] = field(default_factory=list)
    calls: int = 0
    spent: int = 0
    tokens: int = 0
    retries: int = 0

    async def run(self) -> Attempt:
        """Make the attempt; errors of its three partners become its ending."""
        before = self.env.replayed_steps
        reason = ""
        try:
            self.path = self.ctx.prefix(self.job)
            place(self.ctx, self.shelf, self.env, self.job)
            ending = await self._act_on()
        except EnvironmentFailure as error:
            ending, reason = "env_error", _reason(error)
        except BackendError as error:
            ending, reason = "backend_error", _reason(error)
        except PolicyError as error:
            ending, reason = "policy_error", _reason(error)
        branch = Branch(
            id=self.job.id,
            parent=self.job.parent,
            experience=self.job.experience,
            steps=tuple(self.own),
            restart=self.job.restart,
            ending=ending,
            reason=reason,
            reflections=tuple(self.reflections),
        )
        replayed = self.env.replayed_steps - before
        return Attempt(branch, self.calls, self.retries, replayed)

    async def _act_on(self) -> Ending:
        while True:
            if not self._allowed(2):
                return "budget"
            if self.ctx.frontier.look_back == "reflect":
                self.shelf.keep(self.job.id, self.env)
            step = await self._round()
            ending = self._ending(step)
            failed = ending in ("failed", "unparsable")
            due = self.ctx.settings.look_backs_due(
                len(self.own), ended=ending is not None, failed=failed
            )
            await self._look_back(due)
            if ending is not None:
                return ending

    async def _round(self) -> Step:
        number = actions_in(self.path) + actions_in(self.own)
        active = self.ctx.active(self.job, number)
        tree, prompts, settings = self.ctx.tree, self.ctx.prompts, self.ctx.settings
        messages = prompts.render(
            tree.task, tree.start, self.path + self.own, [e for _, e in active]
        )
        completion = await self._complete(
            messages,
            Sampling(
                temperature=settings.act_temperature,
                max_tokens=settings.max_tokens,
                seed=derive_seed(self.ctx.seed, self.job.id, len(self.own), "act"),
                purpose="act",
            ),
        )
        shown = tuple(branch for branch, _ in active)
        try:
            action = prompts.parse_action(completion)
        except BadReply as error:
            step = Step(
                action=None,
                reply=completion.text,
                observation=prompts.unusable(str(error)),
                experiences=shown,
                usage=completion.usage,
            )
        else:
            step = self._step(action, completion, shown)
        self.own.append(step)
        self.spent += 1 + (step.action is not None)
        return step

    def _step(self, action: str, completion: Completion, shown: tuple[int, ...]) -> Step:
        with environment_calls(f"step {self.env.steps} with {action!r}"):
            observation, reward, terminated, truncated, info = self.env.step(action)
            kept = keep_info(info)
        return Step(
            action=action,
            reply=completion.text,
            observation=as_text(observation),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            info=kept,
            experiences=shown,
            usage=completion.usage,
        )

    def _ending(self, step: Step) -> Ending | None:
        if step.over:
            return "won" if step.info.get("won") else "failed"
        tail = self.own[-UNPARSABLE_IN_A_ROW:]
        if len(tail) == UNPARSABLE_IN_A_ROW and all(s.action is None for s in tail):
            return "unparsable"
        return None

    async def _look_back(self, due: int) -> None:
        """Make up to `due` look-back calls, as far as their branches could still run."""
        for index in range(due):
            pending = sum(r.experience is not None for r in self.reflections)
            actions = actions_in(self.path) + actions_in(self.own)
            room = self.ctx.frontier.room(self.job, pending)
            if not actions or not room or not self._allowed(1):
                return
            messages, refine = look_back_prompt(self.ctx, self.job, self.path + self.own)
            settings = self.ctx.settings
            completion = await self._complete(
                messages,
                Sampling(
                    temperature=settings.reflect_temperature,
                    max_tokens=settings.max_reflect_tokens,
                    seed=derive_seed(self.ctx.seed, self.job.id, len(self.own), "look back", index),
                    json_schema=self.ctx.prompts.reflection_schema if not refine else None,
                    purpose="refine" if refine else "reflect",
                ),
            )
            self.spent += 1
            self.reflections.append(self._read(completion, actions, index, refine=refine))

    def _read(
        self, completion: Completion, actions: int, index: int, *, refine: bool
    ) -> Reflection:
        prompts = self.ctx.prompts
        after, reply, usage = len(self.own), completion.text, completion.usage
        try:
            if refine:
                verdict = prompts.parse_refinement(completion)
            else:
                verdict = prompts.parse_reflection(completion, actions)
        except BadReply as error:
            return Reflection(
                after=after, reply=reply, verdict="bad", reason=str(error), usage=usage
            )
        experience = self._experience(verdict, actions, index)
        known: Literal["branch", "no_mistake", "repeat"] = "branch"
        if experience is None:
            known = "no_mistake"
        elif not refine and self._tried(experience):
            known, experience = "repeat", None
        return Reflection(
            after=after,
            reply=reply,
            verdict=known,
            experience=experience,
            repaired=verdict.repaired,
            usage=usage,
        )

    def _tried(self, experience: Experience) -> bool:
        tried = self.ctx.tried(self.job, self.reflections)
        return (self.ctx.home(self.job, experience), experience) in tried

    def _experience(self, verdict: Verdict, actions: int, index: int) -> Experience | None:
        """The experience to branch on: the model's own, or what a control puts in its place."""
        if verdict.step is None:
            return None
        settings, task = self.ctx.settings, self.ctx.tree.task
        rng = derive_rng(self.ctx.seed, self.job.id, len(self.own), "control", index)
        tau, text = verdict.step, verdict.text
        if settings.tau == "random" and self.ctx.frontier.look_back != "refine":
            tau = int(rng.integers(0, actions))
        if settings.tip == "swapped":
            others = [tip for owner, tip in settings.donors if owner != task.id]
            text = others[int(rng.integers(0, len(others)))]
        return Experience(step=tau, text=text)

    async def _complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        try:
            completion = await self.ctx.policy.complete(messages, sampling)
        except (PolicyError, UsageError):
            raise
        except Exception as error:
            name = self.ctx.policy.name
            raise PolicyError(f"policy {name}: {type(error).__name__}: {error}") from error
        self.calls += 1
        self.retries += completion.retries
        counted = completion.usage.completion_tokens
        self.tokens += (
            estimate_tokens(completion.text.encode("utf-8", "surrogatepass"))
            if counted is None
            else counted
        )
        return completion

    def _allowed(self, calls: int) -> bool:
        most_calls, most_tokens = self.allowance
        return (most_calls is None or self.spent + calls <= most_calls) and (
            most_tokens is None or self.tokens < most_tokens
        )


def look_back_prompt(ctx: Context, job: Job, steps: list[Step]) -> tuple[list[Message], bool]:
    """The reflecting (or refining) prompt after `steps`, and whether it is a refining one."""
    tree, prompts = ctx.tree, ctx.prompts
    tips = [e for _, e in ctx.active(job, actions_in(steps))]
    refine = ctx.frontier.look_back == "refine"
    render = prompts.render_refinement if refine else prompts.render_reflection
    return render(tree.task, tree.start, steps, tips), refine


def allowance(ctx: Context, job: Job) -> tuple[int | None, int | None]:
    """What the ledger can hold at most for an attempt that starts now.

    Completion tokens are never shared with an earlier prompt, so they bound both token units.
    """
    budget: Budget = ctx.meter.budget
    spent = ctx.meter.spent
    rollback = job.experience is not None and not job.restart
    calls = None
    if budget.calls is not None:
        tau = job.experience.step if job.experience and rollback else 0
        calls = budget.calls - spent.calls - ctx.meter.rollback_cost(tau)
    limits = [
        limit - used
        for limit, used in (
            (budget.tokens_total, spent.tokens_total),
            (budget.tokens_uncached, spent.tokens_uncached),
        )
        if limit is not None
    ]
    return calls, min(limits) if limits else None


def _reason(error: Exception) -> str:
    return str(error)[:MAX_REASON]
