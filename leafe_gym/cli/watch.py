"""`leafe play ID --watch`: show what a model is sent and what it replies, as it plays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from leafe_gym.agents.agent import IndependentSamplingAgent
from leafe_gym.agents.env_pool import EnvPool, make_env
from leafe_gym.budget import Budget
from leafe_gym.cli import interrupt
from leafe_gym.cli.screen import out, plain
from leafe_gym.errors import EnvironmentFailure, PolicyError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.policies.base import Policy, ask
from leafe_gym.tree import Branch
from leafe_gym.types import ERRORS, Completion, Message, Sampling, Task

MANY = 10**9
"""Interactions: the attempt ends by itself."""


class WatchedPolicy:
    """A policy that shows the new part of each prompt, and its reply; otherwise the one it wraps.

    Args:
        inner: the policy.
    """

    def __init__(self, inner: Policy) -> None:
        self.name = inner.name
        self._inner = inner
        self._before: list[Message] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        same = [old == new for old, new in zip(self._before, messages, strict=False)]
        new = messages[same.index(False) if False in same else len(same) :]
        for message in new:
            if message["role"] != "assistant":
                out.print(plain(message["content"]))
        completion = await ask(self._inner, messages, sampling)
        self._before = list(messages)
        if completion.reasoning:
            out.print(plain(completion.reasoning, "dim"))
        out.print(plain(completion.text, "bold cyan"))
        return completion


def watch_model(task: Task, policy: Policy, config: EvalConfig) -> None:
    """Let a model make one attempt at a task.

    Raises:
        EnvironmentFailure: if the environment cannot be started.
        PolicyUnavailable: if no model call can succeed.
        PolicyError: if a call failed.
    """
    agent = IndependentSamplingAgent(WatchedPolicy(policy), config.for_agent(1))
    pool = EnvPool(
        partial(make_env, task, config.backend), timeout=config.env_timeout, kind=task.env_id
    )
    call = agent.explore_task(task, pool, Budget(interactions=MANY), seed=task.seed, stop="solved")
    try:
        tree = interrupt.run(call)
    except EnvironmentFailure:
        pool.abandon()
        raise
    _show_end(tree.branches[-1])


def _show_end(branch: Branch) -> None:
    if branch.steps:
        out.print(plain(branch.steps[-1].observation))
    if branch.ending in ERRORS:
        raise PolicyError(f"{branch.ending} after {len(branch.steps)} turns: {branch.reason}")
    words = f"{branch.ending} after {len(branch.steps)} turns"
    style = "bold green" if branch.won else "bold red"
    out.print(plain(f"{words}: {branch.reason}" if branch.reason else words, style))
