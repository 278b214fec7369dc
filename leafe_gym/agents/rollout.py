"""One attempt: act until it ends, reflect every K turns and on failure.

A rollout reads a plan and nothing else of its task, and charges nothing: it may run beside other
attempts, or in another process, and be cut or discarded when it is committed. It stops by itself
only where the ledger cannot hold another turn whatever the attempts before it cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from leafe_gym.agents.config import UNPARSABLE_IN_A_ROW, AgentConfig
from leafe_gym.agents.conversation import Conversation
from leafe_gym.agents.env_pool import EnvSlot, start_attempt
from leafe_gym.agents.plan import AttemptPlan
from leafe_gym.agents.snapshot_cache import SnapshotCache
from leafe_gym.agents.stepping import environment_step
from leafe_gym.agents.window import Window
from leafe_gym.budget import CallSize, Spend, Tokenizer
from leafe_gym.errors import (
    BackendError,
    BadReply,
    ContextFull,
    EnvironmentFailure,
    LeafeError,
    PolicyError,
    PolicyUnavailable,
    UsageError,
)
from leafe_gym.policies.base import Policy
from leafe_gym.prompts.actions import admissible_commands
from leafe_gym.prompts.base import PromptSet, ReflectionVerdict
from leafe_gym.prompts.fitting import accepts_fit, next_fit
from leafe_gym.seeds import derive_seed
from leafe_gym.tree import Branch
from leafe_gym.types import (
    FAILURES,
    Completion,
    Ending,
    Experience,
    Message,
    PromptFit,
    Reflection,
    Sampling,
    Step,
)

MAX_REASON = 500
"""Longest recorded error text, in characters."""
MAX_REPLY = 2**20
"""Longest reply with its thinking, in characters. 128,000 tokens have about half as many; what is
longer is an error of the server, and a few such replies would not fit into a run's file."""
MAX_CUTS = 3
"""Further cuts of a prompt that the policy refuses although it seemed to fit."""


@dataclass(slots=True)
class AttemptCost:
    """What an attempt cost, beside its branch.

    Attributes:
        model_calls: calls that were answered.
        retries: failed tries of those calls.
        replayed_steps: environment steps repeated to reach the attempt's start.
        turns: size of the call of each step; empty where they are to be measured again (an attempt
            that was stored).
        reflections: likewise of each reflection that was answered.
    """

    model_calls: int = 0
    retries: int = 0
    replayed_steps: int = 0
    turns: list[CallSize] = field(default_factory=list)
    reflections: list[CallSize] = field(default_factory=list)


async def rollout(
    plan: AttemptPlan,
    slot: EnvSlot,
    policy: Policy,
    prompts: PromptSet,
    config: AgentConfig,
    snapshots: SnapshotCache | None = None,
    reflect_policy: Policy | None = None,
) -> tuple[Branch, AttemptCost]:
    """Run one attempt; failures of the environment, backend or policy become its ending.

    Args:
        plan: what to do.
        slot: the environment, in any state.
        policy: acts, and reflects where `reflect_policy` is None.
        prompts: renders and parses.
        config: how attempts are made.
        snapshots: states of the same task in this process, to start from and to add to.
        reflect_policy: reflects and refines.

    Raises:
        PolicyUnavailable: if no model call can succeed; the attempt is to be discarded.
        SandboxUnavailable: likewise for an environment's sandbox.
    """
    return await Rollout(plan, slot, policy, prompts, config, snapshots, reflect_policy).run()


@dataclass(slots=True)
class Rollout:
    """The state of one running attempt; see `rollout`."""

    plan: AttemptPlan
    slot: EnvSlot
    policy: Policy
    prompts: PromptSet
    config: AgentConfig
    snapshots: SnapshotCache | None = None
    reflect_policy: Policy | None = None
    own: list[Step] = field(default_factory=list)
    reflections: list[Reflection] = field(default_factory=list)
    cost: AttemptCost = field(default_factory=AttemptCost)
    spent: Spend = field(default_factory=Spend)
    reason: str = ""
    talk: Conversation = field(init=False)
    fit: PromptFit = field(init=False)
    reflect_fit: PromptFit = field(init=False)

    def __post_init__(self) -> None:
        self.talk = Conversation(self.plan, self.prompts, self.config)
        self.fit = self.reflect_fit = self.talk.first_fit

    async def run(self) -> tuple[Branch, AttemptCost]:
        """Make the attempt."""
        before = self.slot.replayed_steps
        ending: Ending
        try:
            await start_attempt(self.plan, self.slot, self.snapshots)
            ending = await self._act()
        except EnvironmentFailure as error:
            ending, self.reason = "env_error", str(error)
        except BackendError as error:
            ending, self.reason = "backend_error", str(error)
        except PolicyUnavailable:
            raise
        except PolicyError as error:
            ending, self.reason = "policy_error", str(error)
        self.cost.replayed_steps = self.slot.replayed_steps - before
        branch = self.plan.branch(
            ending, self.reason[:MAX_REASON], tuple(self.own), tuple(self.reflections)
        )
        return branch, self.cost

    async def _act(self) -> Ending:
        while self.plan.limits.hold(self.spent, model_calls=1, env_steps=1):
            ending: Ending | None
            try:
                ending = self._ending(await self._turn())
            except ContextFull as error:
                ending, self.reason = "context", str(error)
            await self._reflect(reflections_due(self.plan, self.config, len(self.own), ending))
            if ending is not None:
                return ending
        return "budget"

    async def _turn(self) -> Step:
        """One acting call and, if it holds an action, one environment step."""
        plan, prompts, talk = self.plan, self.prompts, self.talk
        sampling = Sampling(
            purpose="act",
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            top_k=self.config.top_k,
            return_ids=self.config.keep_token_ids,
            max_tokens=self.config.max_tokens,
            seed=derive_seed(plan.seed, plan.id, len(self.own), "act"),
            session=plan.task.id,
        )
        completion, size, self.fit = await self._ask(self.policy, talk.acting, self.fit, sampling)
        shown = talk.shown
        try:
            action = prompts.parse_action(
                completion, admissible_commands(plan.task_start, talk.path)
            )
        except BadReply as error:
            step = Step(
                action=None,
                reply=completion.text,
                observation=prompts.unusable_reply_message(str(error)),
                experiences=shown,
                usage=completion.usage,
                reasoning=completion.reasoning,
                fit=self.fit,
                sampled=completion.sampled,
            )
        else:
            step = await self._step(action, completion, shown)
        self.own.append(step)
        talk.add(step)
        self.spent.act_calls += 1
        self.spent.steps += step.action is not None
        self.cost.turns.append(size)
        self._count(size)
        return step

    async def _step(self, action: str, completion: Completion, shown: tuple[int, ...]) -> Step:
        keep = self.snapshots is not None and self.plan.reflection == "reflect"
        outcome, snapshot = await self.slot.call(environment_step, self.slot.env, action, keep)
        if snapshot is not None and self.snapshots is not None:
            self.snapshots.add(self.plan.id, self.slot, snapshot)
        return Step(
            action=action,
            reply=completion.text,
            experiences=shown,
            usage=completion.usage,
            reasoning=completion.reasoning,
            fit=self.fit,
            sampled=completion.sampled,
            **outcome,
        )

    def _ending(self, step: Step) -> Ending | None:
        if step.over:
            return "won" if step.info.get("won") else "failed"
        tail = self.own[-UNPARSABLE_IN_A_ROW:]
        if len(tail) == UNPARSABLE_IN_A_ROW and all(s.action is None for s in tail):
            return "unparsable"
        return None

    async def _reflect(self, due: int) -> None:
        """Make up to `due` reflection calls, as far as their branches could still run."""
        actions = self.talk.actions
        for index in range(due if actions else 0):
            opened = sum(r.experience is not None for r in self.reflections)
            if opened >= self.plan.capacity or not self.plan.limits.hold(self.spent, model_calls=1):
                return
            refine = self.plan.reflection == "refine"
            sampling = Sampling(
                purpose="refine" if refine else "reflect",
                temperature=self.config.reflect_temperature,
                top_p=self.config.top_p,
                top_k=self.config.top_k,
                max_tokens=self.config.max_reflect_tokens,
                seed=derive_seed(self.plan.seed, self.plan.id, len(self.own), "reflect", index),
                session=self.plan.task.id,
                json_schema=self.prompts.reflection_schema(1, True)
                if refine
                else self.prompts.reflection_schema(actions, self.talk.path[-1].over),
            )
            fit = max(self.fit, self.reflect_fit, key=lambda one: (one.dropped, one.shortened))
            try:
                completion, size, self.reflect_fit = await self._ask(
                    self.reflect_policy or self.policy, self.talk.reflecting, fit, sampling
                )
            except PolicyUnavailable:
                raise
            except PolicyError as error:
                # The attempt and its other reflections stand: only this answer is missing.
                reason = str(error)[:MAX_REASON]
                self.reflections.append(
                    Reflection(after=len(self.own), reply="", verdict="error", reason=reason)
                )
                continue
            self.spent.reflect_calls += 1
            self.cost.reflections.append(size)
            self._count(size)
            self.reflections.append(self._read(completion, actions))

    def _read(self, completion: Completion, actions: int) -> Reflection:
        """What a reflection says, and whether it opens a branch."""
        after, reply, usage = len(self.own), completion.text, completion.usage
        refine = self.plan.reflection == "refine"
        said: ReflectionVerdict
        try:
            if refine:
                said = self.prompts.parse_refinement(completion)
            else:
                said = self.prompts.parse_reflection(completion, actions)
        except BadReply as error:
            return Reflection(
                after=after,
                reply=reply,
                verdict="bad",
                reason=str(error),
                usage=usage,
                reasoning=completion.reasoning,
                fit=self.reflect_fit,
            )
        verdict: Literal["branch", "no_mistake", "repeat"] = "branch"
        experience = None
        if said.step is None:
            verdict = "no_mistake"
        else:
            experience = Experience(step=said.step, text=said.text)
            if not refine and self.plan.was_tried(experience, self.reflections):
                verdict, experience = "repeat", None
        return Reflection(
            after=after,
            reply=reply,
            verdict=verdict,
            experience=experience,
            repaired=said.repaired,
            usage=usage,
            reasoning=completion.reasoning,
            fit=self.reflect_fit,
        )

    async def _ask(
        self,
        policy: Policy,
        render: Callable[[PromptFit], list[Message]],
        fit: PromptFit,
        sampling: Sampling,
    ) -> tuple[Completion, CallSize, PromptFit]:
        """One answered call, its size, and the cut with which its prompt fitted.

        Raises:
            ContextFull: if no cut of the prompt fits.
        """
        window = Window.of(policy)
        room = None if window.tokens is None else window.tokens - sampling.max_tokens
        # Without room for any prompt the policy's own message says it best.
        if room is not None and room > 0 and not window.holds(render(fit), room):
            try:
                fit = self._cut(window, render, fit, room)
            except ContextFull:
                if window.counter is not None:
                    raise
                # The size was an estimate; the policy's own count decides.
        for _ in range(MAX_CUTS):
            try:
                return *await self._complete(policy, render(fit), sampling), fit
            except ContextFull as error:
                refused = window.count(render(fit))
                try:
                    fit = self._cut(window, render, fit, refused - 1)
                except ContextFull:
                    raise error from None
        return *await self._complete(policy, render(fit), sampling), fit

    def _cut(
        self,
        window: Window,
        render: Callable[[PromptFit], list[Message]],
        fit: PromptFit,
        room: int,
    ) -> PromptFit:
        """The next cut of a prompt that has more than `room` tokens.

        Raises:
            ContextFull: if there is none.
        """
        found = None
        if accepts_fit(self.prompts):

            def tokens(cut: PromptFit) -> int:
                return window.count(render(cut))

            found = next_fit(fit, len(self.talk.path), tokens, room)
        if found is None:
            raise ContextFull(
                f"the prompt has about {window.count(render(fit))} tokens and cannot be cut to "
                f"{room}"
            )
        return found

    async def _complete(
        self, policy: Policy, messages: list[Message], sampling: Sampling
    ) -> tuple[Completion, CallSize]:
        """One answered call and its size; whatever the policy raises becomes a `PolicyError`."""
        try:
            completion = await policy.complete(list(messages), sampling)
            length = len(completion.text) + len(completion.reasoning)
            if length > MAX_REPLY:
                raise PolicyError(
                    f"policy {policy.name}: a reply of {length:,} characters; at most "
                    f"{MAX_REPLY:,} are taken"
                )
            tokenizer = tokenizer_of(policy)
            size = self.talk.size(messages, completion.text, completion.usage, tokenizer)
        except (PolicyError, UsageError, KeyboardInterrupt, GeneratorExit):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _policy_error(policy, error) from error
        except BaseException as error:
            raise _policy_error(policy, error) from error
        self.cost.model_calls += 1
        self.cost.retries += completion.retries
        return completion, size

    def _count(self, size: CallSize) -> None:
        """Add a call to the lower bound of what the ledger will charge: no prompt is new."""
        self.spent.prompt_tokens += size.prompt_tokens
        self.spent.shared_tokens += size.prompt_tokens
        self.spent.completion_tokens += size.completion_tokens


def _policy_error(policy: Policy, error: BaseException) -> LeafeError:
    said = f": {error}" if str(error) else ""
    return PolicyError(f"policy {policy.name}: {type(error).__name__}{said}")


def tokenizer_of(policy: Policy) -> Tokenizer | None:
    """The policy's own tokenizer, where it has one."""
    return getattr(policy, "tokenize", None)


def reflections_due(
    plan: AttemptPlan, config: AgentConfig, turns: int, ending: Ending | None
) -> int:
    """Reflection calls due after `turns` own turns, with the ending they led to, if any."""
    if plan.reflection == "none":
        return 0
    if ending is not None:
        return config.reflections if ending in FAILURES else 0
    every = config.reflect_every
    return int(plan.reflection == "reflect" and every is not None and turns % every == 0)
