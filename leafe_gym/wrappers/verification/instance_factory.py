"""Makes further instances of an environment, on which backends are verified."""

from __future__ import annotations

import copy
import json
import os
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType
from typing import Any

import gymnasium as gym

from leafe_gym.wrappers.backends.base import AnyEnv, Backend, Builder, make_backend
from leafe_gym.wrappers.backends.pickled import brief
from leafe_gym.wrappers.backends.recipe import (
    Source,
    build,
    dump_recipe,
    load_recipe,
    same_chain,
    without_rollback,
)
from leafe_gym.wrappers.rollback.random_state import undeclared
from leafe_gym.wrappers.rollback.wrapper_state import describe_chain

_WARNINGS_LOCK = threading.RLock()


def _unlock_in_child() -> None:
    """After a fork: the thread that holds the lock exists in the parent only."""
    global _WARNINGS_LOCK
    _WARNINGS_LOCK = threading.RLock()


os.register_at_fork(after_in_child=_unlock_in_child)


class VerificationUnavailable(Exception):
    """Says why nothing could be verified and what to pass."""


class InstanceUnavailable(VerificationUnavailable):
    """Says why no further instance can be made."""


class InstanceFactory:
    """Makes instances built like `env`, from a factory or from its spec.

    Args:
        env: the chain of wrappers that all instances must have.
        factory: makes one; None to use `gymnasium.make(env.spec)`.
    """

    def __init__(self, env: AnyEnv, factory: Callable[[], AnyEnv] | None = None) -> None:
        self._env = env
        self._factory = factory

    @classmethod
    def from_recipe(cls, recipe: bytes) -> InstanceFactory:
        """In another process: from what `recipe` returned in the program's.

        Raises:
            InstanceUnavailable: if the first instance cannot be made.
        """
        source = load_recipe(recipe)
        try:
            with quietly():
                env = without_rollback(build(source))
        except Exception as error:
            raise InstanceUnavailable(
                f"a second instance cannot be made in another process ({brief(error)})"
                + ("" if callable(source) else "; pass factory=")
            ) from error
        return cls(env, source if callable(source) else None)

    def __str__(self) -> str:
        return str(self._env)

    @property
    def chain(self) -> list[str]:
        """Class names from the outermost wrapper to the bare environment."""
        return describe_chain(self._env)

    @property
    def draws_window(self) -> bool:
        """Whether the environment shows a window."""
        return self._env.render_mode == "human"

    @property
    def kind(self) -> str:
        """Which kind of environment it is, in words; the same in every process."""
        return kind_name(self._env)

    def structure(self) -> Hashable:
        """Equal for environments whose state is likely to be kept in the same places.

        Covers the classes, the names of the arguments with the values of switches, and the types
        of the attributes; leaves out values that differ from task to task.
        """
        base = self._env.unwrapped
        spec = self._env.spec if self._factory is None else None
        source = self._factory.__code__ if isinstance(self._factory, FunctionType) else None
        return (
            tuple(self.chain),
            type(base),
            None if spec is None else (spec.id, switches(spec.kwargs)),
            self._env.render_mode,
            tuple((name, type(value)) for name, value in sorted(vars(base).items())),
            source or (self._factory if _hashable(self._factory) else None),
        )

    def configuration(self) -> Hashable:
        """Equal for environments made with equal arguments; unique where that is unknown."""
        factory = self._factory
        if factory is not None:
            plain = isinstance(factory, FunctionType) and factory.__closure__ is None
            return factory if plain or isinstance(factory, type) else object()
        spec = self._env.spec
        if spec is None:
            return object()
        wrappers = [(one.name, one.entry_point, one.kwargs) for one in spec.additional_wrappers]
        flags = (spec.max_episode_steps, spec.order_enforce, spec.disable_env_checker)
        try:
            return json.dumps([spec.kwargs, wrappers, flags], sort_keys=True)
        except (TypeError, ValueError):
            return object()

    def refusal(self, backend: Backend) -> str | None:
        """Why `backend` refuses the first instance, which is not changed."""
        return backend.refusal(self._env)

    def undeclared_globals(self) -> bool:
        """Whether it was seen to draw from the global generators without declaring it."""
        return undeclared(self._env)

    def backend(self, name: str) -> Backend:
        """A new backend of that name, told how such environments are built.

        Raises:
            UsageError: if there is none of that name.
        """
        return self.teach(make_backend(name))

    def teach(self, backend: Backend) -> Backend:
        """`backend`, or one like it that knows how such environments are built."""
        source = self.source()
        if not callable(source) or not isinstance(backend, Builder):
            return backend
        return backend.built_by(source)

    def source(self) -> Source:
        """What makes one: the factory, the spec, or a function that copies the first."""
        return self._factory or self._env.spec or partial(_deep_copy, self._env)

    def recipe(self) -> bytes:
        """What another process needs to make one.

        Raises:
            SnapshotUnsupported: if it cannot be sent there.
        """
        return dump_recipe(self.source())

    def make(self) -> AnyEnv:
        """A new instance, to be reset before it is used.

        Raises:
            InstanceUnavailable: if there is no way to make one, or it is built otherwise.
        """
        try:
            with quietly():
                made = build(self.source())
        except InstanceUnavailable:
            raise
        except Exception as error:
            if self._factory is not None:
                raise
            raise InstanceUnavailable(
                f"gymnasium.make(env.spec) failed ({brief(error)}); pass factory="
            ) from error
        inner = without_rollback(made)  # a user's factory may add the RollbackWrapper as well
        if not same_chain(describe_chain(inner), self.chain):
            raise _built_otherwise(describe_chain(inner), self.chain)
        return inner

    def require_chain(self, chain: Sequence[str]) -> None:
        """Do nothing if `chain`, the user's own, is that of the instances made here.

        Raises:
            InstanceUnavailable: if it is not.
        """
        if not same_chain(self.chain, chain):
            raise _built_otherwise(self.chain, chain)

    def close(self) -> None:
        """Close the first instance."""
        close_quietly(self._env)


def _built_otherwise(made: Sequence[str], wanted: Sequence[str]) -> InstanceUnavailable:
    return InstanceUnavailable(
        f"a second instance came out as {' > '.join(made)} where the first is "
        f"{' > '.join(wanted)}; factory= must be a function that builds the environment with all "
        "its wrappers"
    )


def _deep_copy(env: AnyEnv) -> AnyEnv:
    try:
        return copy.deepcopy(env)
    except Exception as error:
        raise InstanceUnavailable(
            f"{env} was not made by gymnasium.make and cannot be copied ({brief(error)}), so no "
            "second instance can be made to verify backends on; pass factory="
        ) from error


def switches(kwargs: Mapping[str, Any]) -> Hashable:
    """Names of arguments with their types, and the values of those that are true, false or None."""
    return tuple(
        (name, value if isinstance(value, bool | None) else type(value))
        for name, value in sorted(kwargs.items())
    )


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


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
    restore them.
    """
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def close_quietly(env: gym.Env[Any, Any]) -> None:
    """Close an instance made for a trial; what its close raises changes no result."""
    with suppress(Exception):
        env.close()
