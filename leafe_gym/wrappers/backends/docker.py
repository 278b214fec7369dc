"""`docker`: the backend `native`, for environments whose code runs in a Docker container.

The environment's own `get_state` saves the state of its sandbox. This backend also checks that the
sandbox is a container, not the fallback of a host without an engine: see the environment's
attribute `sandbox_kind`.
"""

from __future__ import annotations

from typing import Any

from leafe_gym.errors import SnapshotUnsupported
from leafe_gym.wrappers.backends.base import AnyEnv, SavedState
from leafe_gym.wrappers.backends.native import NativeBackend
from leafe_gym.wrappers.rollback.episode_log import EpisodeView

KINDS = ("docker", "docker-commit")


class DockerBackend(NativeBackend):
    """See the module."""

    name = "docker"

    def refusal(self, env: AnyEnv) -> str | None:
        """Whatever `native` refuses, and every sandbox but a container."""
        base: Any = env.unwrapped
        kind = getattr(base, "sandbox_kind", None)
        if kind is None:
            return f"{type(base).__name__} runs nothing in a sandbox"
        if kind not in KINDS:
            return f"its sandbox is {kind!r}, no container: make it with sandbox='docker'"
        return super().refusal(env)

    def save(self, env: AnyEnv, view: EpisodeView) -> SavedState:
        """As `native`; looks again, because a sandbox may start late.

        Raises:
            SnapshotUnsupported: if the sandbox that was started is no container.
        """
        if reason := self.refusal(env):
            raise SnapshotUnsupported(f"backend 'docker': {reason}")
        return super().save(env, view)
