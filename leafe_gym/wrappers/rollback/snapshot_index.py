"""Snapshots of all wrappers in a process, found by the episode that leads to their state."""

from __future__ import annotations

import weakref

from leafe_gym.wrappers.rollback.episode_log import SnapshotRecord


class SnapshotIndex:
    """Saved states by the digest of the episode that leads to them; keeps none alive.

    Plain weak references, cleared out now and then: `WeakValueDictionary` does it at once and
    costs three times as much.
    """

    def __init__(self) -> None:
        self._known: dict[str, weakref.ref[SnapshotRecord]] = {}
        self._most = 256

    def get(self, digest: str) -> SnapshotRecord | None:
        """A state that can be loaded, or None."""
        reference = self._known.get(digest)
        held = None if reference is None else reference()
        return held if held is not None and held.usable else None

    def offer(self, digest: str, held: SnapshotRecord) -> None:
        """Add a state, unless one that can be loaded is known."""
        if self.get(digest) is None:
            self._known[digest] = weakref.ref(held)
            if len(self._known) > self._most:
                self._known = {key: one for key, one in self._known.items() if one() is not None}
                self._most = max(256, 2 * len(self._known))
