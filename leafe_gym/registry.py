"""Adding a named part from outside: a policy, prompt set, method, rollback backend or sandbox.

A package adds a part for every process through an entry point; a program adds one for its own
process with `register`. Both are then found wherever a name is accepted, in Python and on the
command line. What is registered may be a class, a factory (a function that makes the part) or the
part itself, as the table says:

| kind | entry-point group | what it is |
| --- | --- | --- |
| "policy" | leafe_gym.policies | a `Policy`, its class, a factory, or a function of chat messages |
| "prompts" | leafe_gym.prompts | a `PromptSet`, its class, or a factory |
| "method" | leafe_gym.methods | a class of agents, or a factory |
| "backend" | leafe_gym.backends | a class of rollback backends, or a factory |
| "sandbox" | leafe_gym.sandboxes | a class of sandboxes, or a factory |

Example:
    >>> def shout(messages):
    ...     return messages[-1]["content"].upper()
    >>> register("policy", "shout", shout)
    >>> import leafe_gym as lg
    >>> lg.policy("shout").name
    'shout'
"""

from __future__ import annotations

import re
from typing import Any, Literal

from leafe_gym._registry import Registry
from leafe_gym.errors import UsageError

Kind = Literal["policy", "prompts", "method", "backend", "sandbox"]

REGISTRIES: dict[str, Registry] = {
    "policy": Registry("leafe_gym.policies", "policy"),
    "prompts": Registry("leafe_gym.prompts", "prompt set"),
    "method": Registry("leafe_gym.methods", "method"),
    "backend": Registry("leafe_gym.backends", "rollback backend"),
    "sandbox": Registry("leafe_gym.sandboxes", "sandbox"),
}
"""Kind -> its registry."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


def register(kind: Kind, name: str, value: Any) -> None:
    """Make `value` known by `name` in this process.

    Args:
        kind: "policy", "prompts", "method", "backend" or "sandbox".
        name: letters, digits, "_", "-" and "."; it takes precedence over an installed part of the
            same name.
        value: see the table of the module; checked when it is first used.

    Raises:
        UsageError: for an unknown kind, a name of another form, or a value that is None.
    """
    if not isinstance(kind, str) or kind not in REGISTRIES:
        raise UsageError(f"kind={kind!r}: expected one of {', '.join(REGISTRIES)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"name={name!r}: expected letters, digits, '_', '-' and '.'")
    if value is None:
        raise UsageError("value=None: expected a class, a factory or an object")
    REGISTRIES[kind].register(name, value)
