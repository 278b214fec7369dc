"""Named parts that another package can add: policies, prompt sets, methods, backends, sandboxes.

A name is looked up among the entry points of a group; a program may also register an object
itself, which holds for its process. Nothing is loaded before it is asked for.

Example:
    >>> registry = Registry("my_package.greetings", "greeting")
    >>> registry.register("hello", lambda: "hello")
    >>> registry.get("hello")()
    'hello'
    >>> registry.get("helo")
    Traceback (most recent call last):
    leafe_gym.errors.UsageError: no greeting is called 'helo'; did you mean: hello?
"""

from __future__ import annotations

import difflib
import importlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from leafe_gym.errors import LeafeError, UsageError


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group; scanned once a process."""
    return {entry.name: entry for entry in entry_points(group=group)}


_registered: defaultdict[str, dict[str, Any]] = defaultdict(dict)
"""Group -> what this process registered itself; shared by all registries of a group."""


class Registry:
    """Objects of one kind by name.

    Args:
        group: entry-point group, such as "leafe_gym.policies".
        what: the kind in words, for messages: "policy".
        builtin: the package's own, name -> "module:attribute"; they need no entry point, so they
            are found in a source tree that was never installed, too.
    """

    def __init__(self, group: str, what: str, builtin: Mapping[str, str] | None = None) -> None:
        self.group = group
        self.what = what
        self.builtin = dict(builtin or {})
        self._own = _registered[group]

    def register(self, name: str, value: Any) -> None:
        """Add an object in this process; it takes precedence over an installed one."""
        self._own[name] = value

    def names(self) -> list[str]:
        """All names: the package's own in their order, then others sorted."""
        others = {*self._own, *_installed(self.group)} - self.builtin.keys()
        return [*self.builtin, *sorted(others)]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self.builtin or name in _installed(self.group)

    def get(self, name: str) -> Any:
        """The object of that name, loaded where it is an entry point.

        Raises:
            UsageError: if there is none, or its package cannot be loaded; says why.
        """
        if name in self._own:
            return self._own[name]
        if name in self.builtin:
            return import_object(self.builtin[name])
        entry = _installed(self.group).get(name)
        if entry is None:
            raise UsageError(self.unknown(name))
        try:
            return entry.load()
        except LeafeError:
            raise
        except Exception as error:
            raise UsageError(
                f"the {self.what} {name!r} ({entry.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error

    def unknown(self, name: str) -> str:
        """The message for a name that is not there, with the nearest ones."""
        near = difflib.get_close_matches(name, self.names(), n=3)
        rest = f"did you mean: {', '.join(near)}?" if near else f"there are: {self.list()}"
        return f"no {self.what} is called {name!r}; {rest}"

    def list(self) -> str:
        """All names in one line."""
        return ", ".join(self.names()) or "none"


def import_object(place: str) -> Any:
    """The object at "module:attribute"; the attribute may have dots.

    Raises:
        UsageError: if the module cannot be imported or has no such attribute; says why.
    """
    module, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except LeafeError:
        raise
    except Exception as error:
        raise UsageError(
            f"{place}: cannot import {module!r}: {type(error).__name__}: {error}"
        ) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), n=3)
            rest = f"; did you mean: {', '.join(near)}?" if near else ""
            raise UsageError(f"{place}: {module!r} has no {name!r}{rest}")
        found = getattr(found, name)
    return found
