"""A seed for every episode: only a seeded one can be replayed."""

from __future__ import annotations

import numpy as np


class EpisodeSeeds:
    """The seeds of one wrapper's episodes.

    Without a given seed the next one of a sequence is used, which starts at the last given seed,
    so a program that seeds only its first reset stays reproducible.
    """

    def __init__(self) -> None:
        self._sequence: np.random.SeedSequence | None = None

    def next(self, seed: int | None) -> int:
        """The seed of the next episode: the given one, or one of the sequence."""
        if seed is not None:
            self._sequence = np.random.SeedSequence(seed)
            return int(seed)
        if self._sequence is None:
            self._sequence = np.random.SeedSequence()
        (child,) = self._sequence.spawn(1)
        return int(child.generate_state(1, np.uint32)[0])
