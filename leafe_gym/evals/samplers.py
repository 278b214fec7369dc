"""Agents of registered methods."""

from __future__ import annotations

from typing import cast

from leafe_gym._registry import import_object
from leafe_gym.agents.agent import Agent
from leafe_gym.agents.config import AgentConfig
from leafe_gym.policies.base import Policy
from leafe_gym.registry import REGISTRIES


def make_agent(
    method: str, policy: Policy, config: AgentConfig, reflect_policy: Policy | None = None
) -> Agent:
    """The agent of a registered method, such as "is", "ir" or "tree".

    Args:
        method: its name, or "module:attribute".
        policy: acts, and reflects where there is no `reflect_policy`.
        config: how attempts are made.
        reflect_policy: reflects.

    Raises:
        UsageError: if no method has that name.
    """
    make = import_object(method) if ":" in method else REGISTRIES["method"].get(method)
    agent = cast(Agent, make(policy, config))
    agent.reflect_policy = reflect_policy or agent.reflect_policy
    return agent
