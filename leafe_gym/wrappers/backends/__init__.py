"""The ways to save and restore the state of an environment, one file each, found by name."""

from __future__ import annotations

from leafe_gym.wrappers.backends.base import BACKENDS, Backend, SavedState, make_backend

__all__ = ["BACKENDS", "Backend", "SavedState", "make_backend"]
