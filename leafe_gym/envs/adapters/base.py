"""What environments share that adapt games of other libraries."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import numpy as np

from leafe_gym.envs.text_env import TextEnv
from leafe_gym.errors import UsageError


class GlobalRandomGame(TextEnv):
    """A game that draws from the process-wide generators of `random` and `numpy.random`.

    Backends save and restore both. A plain copy of such a game shares them with the original, so
    both continue differently.
    """

    metadata: dict[str, Any] = {**TextEnv.metadata, "global_rng": True}  # noqa: RUF012

    def _seed_global_rng(self, seed: int | None) -> int:
        """Seed both generators; returns the seed, drawn from `self.np_random` if None."""
        number = int(self.np_random.integers(2**32)) if seed is None else seed
        random.seed(number)
        np.random.seed(number % 2**32)
        return number


def check_name(argument: str, name: Any, known: Iterable[str], library: str, see: str) -> str:
    """The name, if the library knows it.

    Args:
        argument: what it was given as, for the message.
        name: as given.
        known: the names that exist.
        library: the library's name.
        see: where they are listed, for the message.

    Raises:
        UsageError: if it is not one of them; says which is similar.
    """
    if not isinstance(name, str):
        raise UsageError(f"{argument}={name!r}: give one of {library}'s names as a string")
    choices = list(known)
    if name in choices:
        return name
    near = get_close_matches(name, choices, n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else f"see {see}"
    raise UsageError(f"{library} has no {argument} {name!r}; {advice}")


@contextmanager
def constructor_errors(what: str) -> Iterator[None]:
    """Report arguments that a game's constructor refuses as a `UsageError`.

    Args:
        what: the game and argument, for the message.

    Raises:
        UsageError: for a TypeError or ValueError within the block.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: its constructor refuses the arguments: {error}") from error
