"""What another process needs to build an environment, as bytes."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import cloudpickle
import gymnasium as gym

from leafe_gym.errors import SnapshotUnsupported
from leafe_gym.wrappers.backends.base import AnyEnv
from leafe_gym.wrappers.backends.pickled import brief

Source = Callable[[], AnyEnv] | gym.envs.registration.EnvSpec


def recipe_of(env: AnyEnv, factory: Callable[[], AnyEnv] | None) -> bytes:
    """What another process needs to build an environment like `env`.

    Raises:
        SnapshotUnsupported: if there is neither a factory nor a spec, or it cannot be pickled.
    """
    source = factory or env.spec
    if source is None:
        raise SnapshotUnsupported(
            f"{env} was not made by gymnasium.make, so it cannot be built in another process; "
            "pass factory="
        )
    return dump_recipe(source)


def dump_recipe(source: Source) -> bytes:
    """A pickled factory or spec, with all specs that this program has registered itself.

    Raises:
        SnapshotUnsupported: if it cannot be pickled; says why.
    """
    known: list[bytes] = []
    for spec in gym.registry.values():
        if not str(spec.entry_point).startswith(("gymnasium.", "leafe_gym.")):
            with suppress(Exception):
                known.append(cloudpickle.dumps(spec))
    try:
        return bytes(cloudpickle.dumps((source, known)))
    except Exception as error:
        advice = (
            "put the environment's class and what the factory refers to into a module that can be "
            "imported, so that they are not pickled by value"
            if callable(source)
            else "pass factory=, a function without open handles"
        )
        raise SnapshotUnsupported(
            f"what builds the environment cannot be pickled ({brief(error)}); {advice}"
        ) from error


def load_recipe(recipe: bytes) -> Source:
    """The factory or spec; registers the specs that came with it."""
    source, known = pickle.loads(recipe)
    for blob in known:
        with suppress(Exception):
            spec = pickle.loads(blob)
            gym.registry.setdefault(spec.id, spec)
    loaded: Source = source
    return loaded


def build(source: Source) -> AnyEnv:
    """A new environment from a factory or spec; may still have a RollbackWrapper outside."""
    return source() if callable(source) else gym.make(source)


def without_rollback(env: AnyEnv) -> AnyEnv:
    """The chain inside an outermost RollbackWrapper; `env` itself where there is none."""
    if isinstance(env, gym.Wrapper) and hasattr(type(env), "backend_report"):
        return env.env
    return env


def same_chain(made: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether two lists of full class names describe equal chains.

    Compares without the enclosing functions, which a class that is pickled by value loses.
    """
    return [one.rpartition(".")[2] for one in made] == [one.rpartition(".")[2] for one in wanted]


def pickle_module_by_value(error: BaseException) -> bool:
    """After a failed import in another process: whether pickling classes by value may help.

    A module that was loaded from a file outside `sys.path` exists in this process only.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    module = sys.modules.get(name or "")
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        return False
    cloudpickle.register_pickle_by_value(module)
    return True
