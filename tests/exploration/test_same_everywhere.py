"""One run has one fingerprint: in one process, in several, and in parts that are merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import same_worlds

QUICK = {
    "sokoban, scripted": ("2 workers", "shards"),
    "sokoban, tiny": ("2 workers",),
    "mbpp": ("shards",),
}
"""Ways that every run of the tests takes; `make soak` takes all, of all worlds."""


@pytest.mark.parametrize("world", same_worlds.WORLDS)
def test_processes_and_shards(
    world: str, tmp_path: Path, counts: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if world not in QUICK and not counts(0, 1):
        pytest.skip("takes long, and processes are tested with other worlds: make soak")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    part = same_worlds.made(world, counts(3, 6))
    expected = same_worlds.fingerprint(part, tmp_path / "inline")
    ways = same_worlds.ways(part, tmp_path)
    for name in tuple(ways) if counts(0, 1) else QUICK[world]:
        assert ways[name]() == expected, name
