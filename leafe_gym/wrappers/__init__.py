"""Saving a state of any Gymnasium environment and restoring it, verified.

Reading order: `rollback.wrapper` (the public class), `rollback.controller` (one chain of wrappers
and the log of its episode), `rollback.wrapper_state` (state of the wrappers in between),
`backends` (the ways to save a state, one file each; `fork` in several), `rollback.remote` (an
environment in another process), `rollback.random_state` (environments that use the global
generators), `verification` (which backends are correct for an environment, and the choice).
"""

from __future__ import annotations

from leafe_gym.wrappers.rollback.episode_log import EpisodeStart, Transition
from leafe_gym.wrappers.rollback.outermost import require_outermost
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper
from leafe_gym.wrappers.verification.selection import export_choice, import_choice

__all__ = [
    "EpisodeStart",
    "RollbackWrapper",
    "Transition",
    "export_choice",
    "import_choice",
    "require_outermost",
]
