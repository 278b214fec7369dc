"""The ways to save and restore the state of an environment, one file each, found by name."""

from __future__ import annotations

from leafe_gym.wrappers.backends.base import Backend, Saved, backend_names, make_backend

__all__ = ["Backend", "Saved", "backend_names", "make_backend"]
