"""Environments that come with the package, registered by string so that none is imported here."""

from __future__ import annotations

import gymnasium as gym

BUILTIN = {"leafe/Sokoban-v0": "leafe_gym.envs.sokoban.env:SokobanEnv"}
"""Gymnasium id -> entry point."""


def register_builtin() -> None:
    """Make the ids of `BUILTIN` known to `gymnasium.make`; safe to call twice."""
    for env_id, entry_point in BUILTIN.items():
        if env_id not in gym.registry:
            gym.register(id=env_id, entry_point=entry_point)
