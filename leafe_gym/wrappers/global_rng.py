"""The global random generators, for environments that draw from them.

An environment declares it with `metadata = {"global_rng": True}`. Its snapshots then hold the
states of `random` and `numpy.random`, and every reset seeds both. Such environments must not take
turns within one process: each draw of one moves the others.
"""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import numpy as np


def uses_globals(env: gym.Env[Any, Any]) -> bool:
    """Whether the bare environment declares that it draws from global generators."""
    metadata = env.unwrapped.metadata
    return bool(metadata and metadata.get("global_rng"))


def seed_globals(env: gym.Env[Any, Any], seed: int) -> None:
    """Seed both global generators from `seed` if the environment uses them."""
    if uses_globals(env):
        random.seed(seed)
        np.random.seed(seed % 2**32)


def save_globals() -> tuple[Any, Any]:
    """States of both global generators."""
    return random.getstate(), np.random.get_state()


def load_globals(states: tuple[Any, Any]) -> None:
    """Put both global generators back."""
    random.setstate(states[0])
    np.random.set_state(states[1])
