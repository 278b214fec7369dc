"""The protocol of backends, and the registry that finds one by name.

A backend saves the state of a whole chain of wrappers and restores it. It has five methods:
`refusal` says why it cannot work here, `save` makes the data of one snapshot, `load` makes a chain
in that state, `release` frees the data, `close` ends what the backend itself holds.

Other packages add theirs through the entry-point group `leafe_gym.backends`: the name is what
users write, the object a callable without arguments that returns a `Backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import gymnasium as gym

from leafe_gym.registry import REGISTRIES
from leafe_gym.types import Scope
from leafe_gym.wrappers.rollback.episode_log import EpisodeView

AnyEnv = gym.Env[Any, Any]
BACKENDS = REGISTRIES["backend"]


class SavedState(NamedTuple):
    """What `Backend.save` returns.

    Attributes:
        data: opaque to all but the backend; never changed by later steps or loads.
        nbytes: its size in bytes; 0 where it is not known or nothing is held.
        env: a chain in the same state that replaces the saved one, for backends that move the
            environment to another process; None to keep the saved one.
    """

    data: Any
    nbytes: int = 0
    env: AnyEnv | None = None


@runtime_checkable
class Backend(Protocol):
    """Saves and restores the state of a chain of wrappers and the environment inside.

    Attributes:
        name: what users write; also `Snapshot.kind`.
        scope: where its data can be loaded: "instance" (the chain that it came from), "process"
            (any chain built the same way) or "portable" (in another process, too).
        rebuilds: whether `load` makes its chain from the data alone and takes no other.
        replayed: environment steps replayed so far, over all loads.
    """

    name: str
    scope: Scope
    rebuilds: bool
    replayed: int

    def refusal(self, env: AnyEnv) -> str | None:
        """Why this environment cannot be saved this way, or None; leaves `env` as it is."""

    def save(self, env: AnyEnv, view: EpisodeView) -> SavedState:
        """The state of `env`, whose episode so far is `view`.

        Raises:
            SnapshotUnsupported: if the state cannot be saved.
        """

    def load(self, env: AnyEnv, data: Any) -> AnyEnv:
        """A chain in the saved state: `env` itself or a new one that replaces it.

        Raises:
            RestoreMismatch: if the state cannot be reached again.
            SnapshotUnsupported: if `env` is not built like the one that was saved.
        """

    def release(self, data: Any) -> None:
        """Free the data of one snapshot; called once for each."""

    def close(self) -> None:
        """Free what the backend itself holds; safe to call twice."""


@runtime_checkable
class Builder(Protocol):
    """A backend that builds environments itself, for example in another process."""

    def built_by(self, factory: Callable[[], AnyEnv]) -> Backend:
        """The same backend for environments that `factory` makes."""


def make_backend(name: str) -> Backend:
    """A new backend of that name.

    Raises:
        UsageError: if there is none of that name; lists those there are.
    """
    return cast(Backend, BACKENDS.get(name)())
