"""The policy protocol, and how names and plain functions become policies.

A policy is asked with chat messages and answers with a `Completion`; it knows nothing of trees,
budgets or environments. Names resolve through the entry-point group `leafe_gym.policies`, so
another package can add one.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, cast, runtime_checkable

from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.types import Completion, Message, Sampling

GROUP = "leafe_gym.policies"

Reply = str | Completion
PolicyFunction = Callable[..., Reply | Awaitable[Reply]]
"""`f(messages)` or `f(messages, sampling)`, plain or async, giving text or a `Completion`."""


@runtime_checkable
class Policy(Protocol):
    """Chat messages in, one reply out.

    Attributes:
        name: identifies the policy and its settings in run folders.

    A policy made for one prompt set names it as `prompts`; agents use it where they are told no
    other. A policy that can turn a chat into token ids also has `tokenize(messages, completion)`,
    see `budget.Tokenizer`; ledgers then count its own tokens.
    """

    name: str

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One reply to `messages`.

        Raises:
            PolicyError: if no reply could be had (server down, out of memory, bad request).
        """
        ...


class FunctionPolicy:
    """A plain or async function as a policy; a plain one runs in a thread, so it may block."""

    def __init__(self, function: PolicyFunction, name: str | None = None) -> None:
        self.name = name or str(getattr(function, "__qualname__", type(function).__name__))
        self._function = function
        self._takes_sampling = _accepts_two(function)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`; whatever the function raises becomes a `PolicyError`."""
        arguments = (messages, sampling) if self._takes_sampling else (messages,)
        try:
            if self._is_async:
                reply = await cast(Awaitable[Reply], self._function(*arguments))
            else:
                given = await asyncio.to_thread(self._function, *arguments)
                reply = await given if inspect.isawaitable(given) else given
        except PolicyError:
            raise
        except Exception as error:
            raise PolicyError(f"policy {self.name}: {type(error).__name__}: {error}") from error
        if isinstance(reply, str):
            return Completion(text=reply)
        if isinstance(reply, Completion):
            return reply
        raise PolicyError(
            f"policy {self.name} returned {type(reply).__name__}; expected str or Completion"
        )


def _accepts_two(function: PolicyFunction) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):  # ValueError: some built-in functions have no signature
        return False
    return True


def as_policy(policy: Policy | PolicyFunction) -> Policy:
    """A policy from a policy or a function.

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(policy, Policy):
        return policy
    if callable(policy):
        return FunctionPolicy(policy)
    raise UsageError(f"{policy!r} is no policy: expected one with `complete`, or a function")


def policy(source: str | Policy | PolicyFunction, **options: Any) -> Policy:
    """The policy called `source`, or `source` itself as a policy.

    Args:
        source: a name of the entry-point group `leafe_gym.policies` (such as "scripted"), a
            policy, or a function.
        **options: given to the named policy's factory.

    Raises:
        UsageError: if nothing goes by that name.
    """
    if not isinstance(source, str):
        return as_policy(source)
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if source not in known:
        near = difflib.get_close_matches(source, known, n=3) or sorted(known)
        raise UsageError(f"no policy is called {source!r}; did you mean: {', '.join(near)}?")
    return as_policy(known[source].load()(**options))
