"""How an environment was configured, so that snapshots stay among environments configured alike.

Two instances of one class may play different games. They are distinguished by, for each link of the
chain: the arguments recorded by `gymnasium.make`, `RecordConstructorArgs` or `EzPickle`; else the
attributes named like the constructor's parameters; else all attributes of an instance that was
never reset. Where that leaves something open, two equal factories make equal environments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym

from leafe_gym.wrappers.rollback.digests import describe
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.wrapper_state import GENERATORS, describe_chain

AnyEnv = gym.Env[Any, Any]
Agreement = Literal["same", "different", "unknown"]

_NOT_SETTINGS = frozenset({"env", "spec", "metadata", "_cached_spec", "_metadata", "_saved_kwargs"})
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is known of how an environment was made; the same in every process.

    Attributes:
        chain: id and class names, in words.
        digest: of its arguments; "" where nothing is known of them.
        complete: whether the digest covers all arguments.
        recorded: whether all arguments were recorded; else attributes stand for some of them.
        factory: digest of the function that makes further instances; "" where there is none, or
            it cannot be compared.
    """

    chain: str
    digest: str
    complete: bool
    recorded: bool
    factory: str

    def agreement(self, other: Configuration) -> Agreement:
        """Whether environments of two configurations behave alike."""
        if self is other:
            return "same"
        if self.chain != other.chain:
            return "different"
        alike = bool(self.factory) and self.factory == other.factory
        if self.digest and other.digest and self.digest != other.digest:
            certain = self.recorded and other.recorded
            return "different" if certain or not alike else "same"
        return "same" if alike or (self.digest and self.complete and other.complete) else "unknown"


class ConfigurationReader:
    """Reads the configuration of a chain; made before its first use, asked when first needed.

    Args:
        env: the chain.
        factory: makes another instance of it.
    """

    def __init__(self, env: AnyEnv, factory: Callable[[], AnyEnv] | None) -> None:
        self._env = env
        self._factory = factory
        self._known: Configuration | None = None
        self._links: list[tuple[str, bool]] = []
        if isinstance(env.unwrapped, RemoteEnv):
            return
        never_reset = getattr(env.unwrapped, "_np_random", None) is None
        link: Any = env
        while True:
            if not _is_recorded(link):
                self._links.append(_describe_attributes(link, never_reset))
            if not isinstance(link, gym.Wrapper):
                return
            link = link.env

    def read(self) -> Configuration:
        """The configuration."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def use(self, known: Configuration) -> None:
        """Take over the configuration of the environment that this one is a copy of."""
        self._known = known

    def _read(self) -> Configuration:
        env = self._env
        recorded: list[Any] = []
        link: Any = env
        while True:
            recorded.append(_recorded(link))
            if not isinstance(link, gym.Wrapper):
                break
            link = link.env
        spec = link.spec
        name = "" if spec is None else f"{spec.id}: "
        digest, complete = describe((recorded, [one for one, _ in self._links]))
        if not all(one for one, _ in self._links):
            digest = ""
        made_by, whole = ("", False) if self._factory is None else describe(self._factory)
        return Configuration(
            chain=name + " > ".join(describe_chain(env)),
            digest=digest,
            complete=complete and all(known for _, known in self._links),
            recorded=not self._links,
            factory=made_by if whole else "",
        )


def _is_recorded(link: Any) -> bool:
    if isinstance(link, gym.utils.RecordConstructorArgs | gym.utils.EzPickle):
        return True
    return not isinstance(link, gym.Wrapper) and link.spec is not None


def _recorded(link: Any) -> Any:
    """What was recorded of one link's arguments."""
    if isinstance(link, gym.utils.EzPickle):
        return getattr(link, "_ezpickle_args", ()), getattr(link, "_ezpickle_kwargs", {})
    if isinstance(link, gym.utils.RecordConstructorArgs):
        return getattr(link, "_saved_kwargs", {})
    if isinstance(link, gym.Wrapper) or link.spec is None:
        return None
    spec = link.spec
    # How it is shown does not matter, nor whether it was registered by name or as a class.
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return (
        sorted(kwargs.items()),
        spec.max_episode_steps,
        spec.reward_threshold,
        spec.nondeterministic,
    )


def _describe_attributes(link: Any, never_reset: bool) -> tuple[str, bool]:
    """(digest or "", whether it covers all arguments) of one link without a record."""
    attributes = vars(link)
    names = _parameters(type(link))
    if names == []:
        return describe(())
    if not never_reset:
        return "", False  # its attributes may have changed since
    if names is not None:
        spelt = {name: _spelling(name, type(link), attributes) for name in names}
        if all(spelt.values()):
            return describe({name: attributes[key] for name, key in spelt.items() if key})
    settings = {
        name: value
        for name, value in attributes.items()
        if name not in _NOT_SETTINGS and not isinstance(value, (gym.Space, gym.Env, *GENERATORS))
    }
    return describe(settings)


def _parameters(cls: type) -> list[str] | None:
    """Names of the constructor's parameters, without the inner environment; None if unknown."""
    made: Any = inspect.getattr_static(cls, "__init__")
    if made in (vars(object)["__init__"], vars(gym.Wrapper)["__init__"]):
        return []
    try:
        parameters = list(inspect.signature(made).parameters.values())[1:]
    except (TypeError, ValueError):
        return None
    if issubclass(cls, gym.Wrapper):
        parameters = parameters[1:]
    if any(one.kind in _VARIADIC for one in parameters):
        return None
    return [one.name for one in parameters]


def _spelling(name: str, cls: type, attributes: dict[str, Any]) -> str | None:
    """The attribute that holds the parameter `name`."""
    spellings = (name, f"_{name}", f"_{cls.__name__.lstrip('_')}__{name}")
    return next((one for one in spellings if one in attributes), None)
