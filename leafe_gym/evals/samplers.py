"""Agents of registered methods."""

from __future__ import annotations

from typing import cast

from leafe_gym._registry import import_object
from leafe_gym.agents.agent import Agent
from leafe_gym.agents.config import AgentConfig
from leafe_gym.policies.base import Policy
from leafe_gym.registry import REGISTRIES


def make_agent(method: str, policy: Policy, config: AgentConfig) -> Agent:
    """The agent of a registered method, such as "is", "ir" or "tree".

    Raises:
        UsageError: if no method has that name.
    """
    make = import_object(method) if ":" in method else REGISTRIES["method"].get(method)
    return cast(Agent, make(policy, config))
