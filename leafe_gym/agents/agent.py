"""The three agents: what spends a budget on a task and returns a tree.

Example:
    >>> import gymnasium as gym, leafe_gym as lg
    >>> env = lg.RollbackWrapper(gym.make("leafe/Sokoban-v0", size=6, boxes=1))
    >>> agent = lg.ReflectiveTreeAgent(lg.policy("scripted"), reflect_every=10, max_depth=4)
    >>> tree = agent.run(env, budget=lg.Budget(calls=600), seed=0)
    >>> tree.solved, tree.spent.calls <= 600
    (True, True)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import gymnasium as gym

from leafe_gym.agents.context import Context
from leafe_gym.agents.environment import Lanes, begin
from leafe_gym.agents.frontier import (
    ChainFrontier,
    Frontier,
    IndependentFrontier,
    TreeFrontier,
)
from leafe_gym.agents.grow import Growth, NoSlots, Observer, Silent, Slots, Stop
from leafe_gym.agents.settings import Settings, whole_number
from leafe_gym.agents.sync import run_blocking
from leafe_gym.budget import Budget, Meter
from leafe_gym.errors import UsageError
from leafe_gym.policies.base import Policy, PolicyFunction, as_policy, policy_identity
from leafe_gym.prompts.base import prompt_set
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Task
from leafe_gym.wrappers.order import require_outermost
from leafe_gym.wrappers.rollback import RollbackWrapper


class Agent:
    """A policy, settings and an order of attempts.

    Args:
        policy: acts and reflects; a `Policy`, or any function of chat messages.
        settings: how attempts are made.

    Raises:
        UsageError: for a policy or prompt set that cannot be used.
    """

    method = ""

    def __init__(self, policy: Policy | PolicyFunction, settings: Settings) -> None:
        self.policy = as_policy(policy)
        self.settings = settings
        self.prompts = prompt_set(settings.prompts)

    def frontier(self, task: Task) -> Frontier:
        """A fresh order of attempts for `task`."""
        raise NotImplementedError("Agent is abstract: use one of its subclasses")

    @property
    def config(self) -> dict[str, Json]:
        """All that decides what this agent does, as JSON; part of a run's configuration."""
        return {
            "method": self.method,
            "policy": policy_identity(self.policy),
            "prompts": {"name": self.prompts.name, "hash": self.prompts.hash},
            "settings": json.loads(json.dumps(asdict(self.settings))),
        }

    def run(
        self,
        env: gym.Env[Any, Any],
        *,
        budget: Budget,
        seed: int = 0,
        stop: Stop = "solved",
        concurrency: int = 1,
    ) -> Tree:
        """Explore the task that `env` poses when reset with `seed`.

        Args:
            env: a `RollbackWrapper`, outermost.
            budget: what may be spent.
            seed: >= 0; resets the environment, and all sampling seeds derive from it.
            stop: "solved" ends at the first success, "budget" goes on until it is used up.
            concurrency: attempts at the same time; more than one needs an environment made by
                `gymnasium.make`, so that others can be made like it. The tree does not depend
                on it.

        Returns:
            All attempts; `tree.solved`, `tree.spent`.

        Raises:
            UsageError: if `env` is not wrapped, or wrapped again above the RollbackWrapper.
            EnvironmentFailure: if the very first reset fails.
        """
        call = self.arun(env, budget=budget, seed=seed, stop=stop, concurrency=concurrency)
        return run_blocking(call, twin="arun")

    async def arun(
        self,
        env: gym.Env[Any, Any],
        *,
        budget: Budget,
        seed: int = 0,
        stop: Stop = "solved",
        concurrency: int = 1,
    ) -> Tree:
        """The asynchronous twin of `run`."""
        if concurrency < 1:
            raise UsageError(f"concurrency={concurrency}: expected a whole number >= 1")
        wrapper = require_outermost(env)
        spec = wrapper.spec
        if concurrency > 1 and spec is None:
            raise UsageError("concurrency > 1 needs an environment made by gymnasium.make")
        env_id = spec.id if spec is not None else type(wrapper.unwrapped).__name__
        kwargs = json_kwargs(spec.kwargs) if spec is not None else {}
        task = Task(id=f"{env_id}:{seed}", env_id=env_id, kwargs=kwargs, seed=seed)

        def another() -> RollbackWrapper:
            assert spec is not None
            return require_outermost(gym.make(spec))

        return await self.explore_task(
            task, Lanes(another, wrapper), budget, seed=seed, stop=stop,
            slots=NoSlots(concurrency - 1),
        )  # fmt: skip

    async def explore_task(
        self,
        task: Task,
        lanes: Lanes,
        budget: Budget,
        *,
        seed: int,
        stop: Stop,
        slots: Slots | None = None,
        observer: Observer | None = None,
        stored: Sequence[Branch] = (),
    ) -> Tree:
        """Explore one task with environments from `lanes`; what `run` and the engine share.

        Args:
            task: what to explore.
            lanes: environment instances for it.
            budget: what may be spent.
            seed: from which all sampling seeds derive.
            stop: at the first success, or when the budget is used up.
            slots: room for attempts beside the one that is always under way; None for none.
            observer: told of every attempt and branch.
            stored: branches that an earlier process committed, in order.

        Returns:
            The tree.

        Raises:
            EnvironmentFailure: if the very first reset fails.
            StoreCorrupt: if `stored` is not what this agent would have made.
        """
        env = lanes.take()
        start = begin(env, task)
        lanes.give(env)
        observer = observer or Silent()
        observer.opened(start)
        tree = Tree(task=replace(task, instruction=start.instruction), start=start)
        ctx = Context(
            tree=tree,
            policy=self.policy,
            prompts=self.prompts,
            settings=self.settings,
            frontier=self.frontier(task),
            meter=Meter(budget, getattr(self.policy, "tokenize", None)),
            seed=seed,
        )
        growth = Growth(ctx, lanes, stop, slots=slots or NoSlots(), observer=observer)
        growth.replay(stored)
        await growth.run()
        return tree


class IndependentSamplingAgent(Agent):
    """Whole attempts from step 0, each on its own (paper: independent sampling).

    Args:
        policy: acts.
        attempts: most attempts a task; None for as many as the budget allows.
        **settings: see `Settings`.
    """

    method = "is"

    def __init__(
        self, policy: Policy | PolicyFunction, *, attempts: int | None = None, **settings: Any
    ) -> None:
        super().__init__(policy, make_settings(policy, settings))
        if attempts is not None:
            whole_number("attempts", attempts, low=1)
        self.attempts = attempts

    @property
    def config(self) -> dict[str, Json]:
        """See `Agent.config`."""
        limit = {} if self.attempts is None else {"attempts": self.attempts}
        return super().config | limit

    def frontier(self, task: Task) -> Frontier:
        """See `IndependentFrontier`."""
        return IndependentFrontier(self.attempts)


class IterativeRefinementAgent(Agent):
    """Attempts from step 0, each told what went wrong in the last (paper: iterative refinement).

    Args:
        policy: acts and refines.
        **settings: see `Settings`; e stays in the prompt to the end of the attempt.
    """

    method = "ir"

    def __init__(self, policy: Policy | PolicyFunction, **settings: Any) -> None:
        super().__init__(policy, make_settings(policy, settings, until="end", reflect_every=None))

    def frontier(self, task: Task) -> Frontier:
        """See `ChainFrontier`."""
        return ChainFrontier()


class ReflectiveTreeAgent(Agent):
    """Reflect, roll back, try again, breadth first (paper: Algorithm 1).

    Args:
        policy: acts and reflects.
        reflect_every: K, rounds between periodic reflections; None for failures only.
        max_depth: deepest branch, in rollbacks from its root.
        attempts: attempts per root, the root included.
        **settings: see `Settings`.
    """

    method = "tree"

    def __init__(
        self,
        policy: Policy | PolicyFunction,
        *,
        reflect_every: int | None = 10,
        max_depth: int = 4,
        attempts: int = 16,
        **settings: Any,
    ) -> None:
        super().__init__(policy, make_settings(policy, settings, reflect_every=reflect_every))
        whole_number("max_depth", max_depth, low=0)
        whole_number("attempts", attempts, low=1)
        self.max_depth = max_depth
        self.attempts = attempts

    @property
    def config(self) -> dict[str, Json]:
        """See `Agent.config`."""
        return super().config | {"max_depth": self.max_depth, "attempts": self.attempts}

    def frontier(self, task: Task) -> Frontier:
        """See `TreeFrontier`."""
        return TreeFrontier(max_depth=self.max_depth, attempts=self.attempts)


def make_settings(policy: Policy | PolicyFunction, given: dict[str, Any], **fixed: Any) -> Settings:
    """Settings from keyword arguments; the prompt set is the policy's own where none is given.

    Raises:
        UsageError: for a keyword that is none, or that the agent itself fixes.
    """
    unknown = set(given) - set(Settings.__dataclass_fields__) | (set(given) & set(fixed))
    if unknown:
        known = sorted(set(Settings.__dataclass_fields__) - set(fixed))
        raise UsageError(f"no such setting: {', '.join(sorted(unknown))}; there are: {known}")
    own = {"prompts": policy.prompts} if hasattr(policy, "prompts") else {}
    return Settings(**{**own, **given, **fixed})


def json_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Json]:
    """Keyword arguments of `gymnasium.make` as JSON; what JSON cannot say is named by its repr."""
    plain: dict[str, Json] = json.loads(json.dumps(dict(kwargs), default=repr))
    return plain
