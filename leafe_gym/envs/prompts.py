"""The prompt set that an environment names as the one to play it with.

An environment names it as `metadata["prompts"]` or as a class attribute `prompts`: a registered
name, "module:attribute", or a prompt set. Where an environment is registered with a function, the
function may have these attributes.

Example:
    >>> class Shell(gym.Env):
    ...     metadata = {"render_modes": [], "prompts": "code"}
    >>> named_prompts(Shell)
    'code'
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from leafe_gym.prompts.base import PromptSource

KEY = "prompts"
"""Key of `metadata`, and attribute."""


def named_prompts(env: Any) -> PromptSource | None:
    """The prompt set that an environment, its class or its factory names; None if it names none.

    An attribute `prompts` that is neither a text nor has `render` is something of its own.
    """
    metadata = getattr(env, "metadata", None)
    if isinstance(metadata, Mapping) and metadata.get(KEY):
        named: PromptSource = metadata[KEY]
        return named
    found = getattr(env, KEY, None)
    return found if isinstance(found, str) or hasattr(found, "render") else None


def registered_prompts(env_id: str) -> PromptSource | None:
    """What the environment registered as `env_id` names; None if it names none or is not there.

    Imports the environment's module and makes no instance. What cannot be imported has no prompt
    set here; making the environment then says why.
    """
    module, _, name = env_id.rpartition(":")
    with suppress(Exception):
        if module:
            importlib.import_module(module)
        entry = gym.registry[name].entry_point
        return named_prompts(load_env_creator(entry) if isinstance(entry, str) else entry)
    return None
