"""A second instance of an environment, to try things on that must not happen to the user's."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from types import FunctionType
from typing import Any

import gymnasium as gym

from leafe_gym.wrappers.backends.base import Backend, Builder, make_backend
from leafe_gym.wrappers.backends.fork import recipe_of
from leafe_gym.wrappers.rollback.random_state import undeclared
from leafe_gym.wrappers.rollback.wrapper_state import describe_chain

AnyEnv = gym.Env[Any, Any]
_LOCK = threading.RLock()


class InstanceUnavailable(Exception):
    """Says why no second instance can be made and what to pass."""


class InstanceFactory:
    """Makes instances built like `env`, from a factory or from its spec.

    Attributes:
        key: equal for environments of one kind, so that what was proved of one holds for the
            others; None where kinds cannot be told apart.
    """

    def __init__(self, env: AnyEnv, factory: Callable[[], AnyEnv] | None) -> None:
        self._env = env
        self._factory = factory
        self.key = _key(env) if factory is None else _factory_key(factory)

    def __str__(self) -> str:
        return str(self._env)

    def refusal(self, backend: Backend) -> str | None:
        """What `backend` says to the first instance; asking changes nothing."""
        return backend.refusal(self._env)

    @property
    def kind(self) -> str:
        """Which kind of environment it is, in words; the same in every process."""
        return kind_name(self._env)

    def undeclared_globals(self) -> bool:
        """Whether it was seen to draw from the global generators without declaring it."""
        return undeclared(self._env)

    def backend(self, name: str) -> Backend:
        """A new backend of that name, which knows how such environments are built.

        Raises:
            UsageError: if there is none of that name.
        """
        return self.teach(make_backend(name))

    def teach(self, backend: Backend) -> Backend:
        """`backend`, or one like it that knows how such environments are built."""
        if self._factory is None or not isinstance(backend, Builder):
            return backend
        return backend.built_by(self._factory)

    def recipe(self) -> bytes:
        """What another process needs to make one.

        Raises:
            SnapshotUnsupported: if it cannot be sent there.
        """
        return recipe_of(self._env, self._factory)

    def make(self) -> AnyEnv:
        """A new instance, never reset.

        Raises:
            InstanceUnavailable: if there is no way to make one, or it is built otherwise.
        """
        with quietly():
            made = self._factory() if self._factory is not None else self._from_spec()
        # A factory written for users gives what they use: the RollbackWrapper included.
        inner = made.env if isinstance(made, gym.Wrapper) and _is_rollback(made) else made
        if describe_chain(inner) != describe_chain(self._env):
            raise InstanceUnavailable(
                f"a second instance came out as {inner} where the first is {self._env}; "
                "pass factory=, a function that builds the environment with all its wrappers"
            )
        return inner

    def _from_spec(self) -> AnyEnv:
        spec = self._env.spec
        if spec is None:
            raise InstanceUnavailable(
                f"{self._env} was not made by gymnasium.make, so no second instance can be made "
                "to prove backends on; pass factory="
            )
        try:
            return gym.make(spec)
        except Exception as error:
            raise InstanceUnavailable(
                f"gymnasium.make(env.spec) failed ({type(error).__name__}: {error}); pass factory="
            ) from error


def _is_rollback(env: Any) -> bool:
    return hasattr(type(env), "backend_report")


def _key(env: AnyEnv) -> Hashable | None:
    spec = env.spec
    if spec is None:
        return None
    try:
        kwargs = json.dumps(
            [
                spec.kwargs,
                [(one.name, one.entry_point, one.kwargs) for one in spec.additional_wrappers],
            ],
            sort_keys=True,
        )
    except (TypeError, ValueError):
        return None
    flags = (spec.max_episode_steps, spec.order_enforce, spec.disable_env_checker)
    return (spec.id, spec.entry_point, type(env.unwrapped), kwargs, flags)


def _factory_key(factory: Callable[[], AnyEnv]) -> Hashable | None:
    """A plain function makes the same kind each time; a closure may not."""
    plain = isinstance(factory, FunctionType) and factory.__closure__ is None
    return ("factory", factory) if plain else None


def kind_name(env: AnyEnv) -> str:
    """Which kind of environment this is, in words: equal in every process for equal ones."""
    name = " > ".join(describe_chain(env))
    spec = env.spec
    if spec is None:
        return name
    # The class's name for what JSON does not know: an address would differ between processes.
    kwargs = json.dumps(spec.kwargs, sort_keys=True, default=lambda value: type(value).__qualname__)
    return f"{spec.id} {kwargs}, at most {spec.max_episode_steps} steps ({name})"


@contextmanager
def quietly() -> Iterator[None]:
    """Ignore warnings; the user sees them where the environment is really used.

    Python's warning filters belong to the process, so only one thread at a time may change and
    put them back.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def close_quietly(env: gym.Env[Any, Any]) -> None:
    """Close an instance made for a trial; what its close raises changes no result."""
    with suppress(Exception):
        env.close()
