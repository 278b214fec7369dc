"""How an environment was configured, so that snapshots stay among environments configured alike.

Two instances of one class may play different games. They are distinguished by, for each link of the
chain: the arguments recorded by `gymnasium.make`, `RecordConstructorArgs` or `EzPickle`; else the
attributes named like the constructor's parameters. All other attributes that an instance has before
its first reset are compared as well. Values that are unlikely to be settings (bytes, identifiers,
times) may be random: where only those differ, a replay has to tell. Where that leaves something
open, two equal factories make equal environments.
"""

from __future__ import annotations

import datetime
import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym

from leafe_gym.wrappers.rollback.digests import describe, describe_each
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.values import ATOMS, private_copy
from leafe_gym.wrappers.rollback.wrapper_state import GENERATORS, describe_chain

AnyEnv = gym.Env[Any, Any]
Agreement = Literal["same", "different", "unknown"]

_NOT_SETTINGS = frozenset(
    {
        *("env", "spec", "metadata", "_cached_spec", "_metadata", "_saved_kwargs"),
        *("_np_random_seed", "render_mode", "_ezpickle_args", "_ezpickle_kwargs"),
    }
)
_RANDOM = "~"
_ID_LENGTH = (16, 128)
_LARGE = 1 << 30
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
        attributes: digest of each attribute before the first reset, "" where there is none; None
            where the first reset was too early to know.
    """

    chain: str
    digest: str
    complete: bool
    recorded: bool
    factory: str
    attributes: Mapping[str, str] | None = None

    def agreement(self, other: Configuration) -> Agreement:
        """Whether environments of two configurations behave alike."""
        if self is other:
            return "same"
        if self.chain != other.chain:
            return "different"
        alike = bool(self.factory) and self.factory == other.factory
        names = self.differing(other.attributes)
        if any(not one.startswith(_RANDOM) for one in names):
            return "different"
        if self.digest and other.digest and self.digest != other.digest:
            certain = not names or (self.recorded and other.recorded)
            return "different" if certain else "unknown"
        if self.attributes is None or other.attributes is None:
            return "same" if alike else "unknown"
        if names:
            return "unknown"
        whole = all(self.attributes.values()) and all(other.attributes.values())
        known = self.digest and self.complete and other.complete
        return "same" if alike or whole or known else "unknown"

    def differing(self, others: Mapping[str, str] | None) -> list[str]:
        """Names of attributes that are known to differ."""
        mine = self.attributes
        if mine is None or others is None:
            return []
        names = sorted(mine.keys() | others.keys())
        return [name for name in names if _differ(mine.get(name), others.get(name))]


def _differ(left: str | None, right: str | None) -> bool:
    return left != "" and right != "" and left != right


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
        self._attributes: dict[str, str] | None = None
        if isinstance(env.unwrapped, RemoteEnv):
            return
        never_reset = getattr(env.unwrapped, "_np_random", None) is None
        if never_reset:
            self._attributes = attributes_of(env)
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

    def differing(self, other: AnyEnv) -> list[str]:
        """Names of attributes that another instance, never reset, has with other values."""
        if self._attributes is None or getattr(other.unwrapped, "_np_random", None) is not None:
            return []
        return self.read().differing(attributes_of(other))

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
            attributes=self._attributes,
        )


def attributes_of(env: AnyEnv) -> dict[str, str]:
    """Digest of each attribute of each link of a chain, "" for those that cannot be compared."""
    values: dict[str, Any] = {}
    link: Any = env
    depth = 0
    while True:
        place = f"{depth}:{type(link).__name__}"
        for name, value in _settings(link).items():
            sign = _RANDOM if _may_be_random(value) else ""
            values[f"{sign}{place}.{name}"] = value
        if not isinstance(link, gym.Wrapper):
            return describe_each(values)
        link, depth = link.env, depth + 1


def _may_be_random(value: Any) -> bool:
    """Whether a value looks like an identifier or a time rather than a setting."""
    if isinstance(value, str):
        if not _ID_LENGTH[0] <= len(value) <= _ID_LENGTH[1]:
            return False
        return any(map(str.isdigit, value)) and " " not in value
    if isinstance(value, int | float):
        return abs(value) >= _LARGE
    return isinstance(value, bytes | uuid.UUID | datetime.date | datetime.time)


def _settings(link: Any) -> dict[str, Any]:
    """Attributes of one link that may be settings."""
    left_out = (gym.Space, gym.Env, *GENERATORS)
    return {
        name: value
        for name, value in vars(link).items()
        if name not in _NOT_SETTINGS and not isinstance(value, left_out)
    }


def plain_settings(env: AnyEnv) -> dict[str, Any]:
    """Copies of the bare environment's attributes that are text, numbers or containers."""
    base: Any = env.unwrapped
    return {
        name: private_copy(value)
        for name, value in _settings(base).items()
        if type(value) in ATOMS or type(value) in (list, dict, tuple, set)
    }


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
    if names == []:  # what it reads elsewhere, in os.environ say, shows in attributes only
        return describe(())[0], never_reset and all(describe_each(_settings(link)).values())
    if not never_reset:
        return "", False  # its attributes may have changed since
    if names is not None:
        spelt = {name: _spelling(name, type(link), attributes) for name in names}
        if all(spelt.values()):
            return describe({name: attributes[key] for name, key in spelt.items() if key})
    return "", False


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
