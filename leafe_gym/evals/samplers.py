"""Agents from an `AgentConfig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from leafe_gym.agents.agent import (
    Agent,
    IndependentSamplingAgent,
    IterativeRefinementAgent,
    ReflectiveTreeAgent,
)
from leafe_gym.agents.config import AgentConfig
from leafe_gym.policies.base import Policy
from leafe_gym.prompts.base import PromptSet, prompt_set

Sampler = Literal["is", "ir", "tree"]


def make_agent(sampler: Sampler, policy: Policy, config: AgentConfig) -> Agent:
    """Independent sampling, iterative refinement or the reflective tree."""
    if sampler == "is":
        return _configured(IndependentSamplingAgent, policy, config, attempts=config.max_attempts)
    if sampler == "ir":
        return _configured(IterativeRefinementAgent, policy, config, memory=config.experiences)
    return _configured(
        ReflectiveTreeAgent,
        policy,
        config,
        until=config.until,
        reflect_every=config.reflect_every,
        max_depth=config.max_depth,
        attempts=config.attempts_per_root,
    )


def _configured(
    make: Callable[..., Agent], policy: Policy, config: AgentConfig, **more: Any
) -> Agent:
    agent = make(
        policy,
        reflections=config.reflections,
        act_temperature=config.act_temperature,
        reflect_temperature=config.reflect_temperature,
        max_tokens=config.max_tokens,
        max_reflect_tokens=config.max_reflect_tokens,
        **more,
    )
    agent.prompts = resolve_prompts(policy, config)
    return agent


def resolve_prompts(policy: object, config: AgentConfig) -> PromptSet:
    """The prompt set that an agent with this configuration uses.

    Raises:
        UsageError: if there is no set of that name.
    """
    given = config.prompts if config.prompts is not None else getattr(policy, "prompts", "chat")
    return prompt_set(given) if isinstance(given, str) else given
