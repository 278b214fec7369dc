"""Generated games in a cache folder: each spec and seed is generated once.

The folder is `$XDG_CACHE_HOME/leafe-gym/textworld` (without that variable `~/.cache/...`) and can
be deleted at any time. Concurrent generation is safe: files are written to a temporary folder and
moved into place, the file that marks completion last.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from leafe_gym.envs.tasks import SPLITS
from leafe_gym.envs.textworld.game_spec import GameSpec, load_textworld
from leafe_gym.errors import UsageError

_TRIES = 200


def cache_folder() -> Path:
    """The folder of generated games."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "leafe-gym" / "textworld"


def game_file(spec: GameSpec, seed: int) -> Path:
    """The file of a seed's game, generated if it is missing (0.3 s, compiled 1 to 3 s).

    Raises:
        UsageError: if the game cannot be generated or the folder cannot be written.
    """
    path = cache_folder() / f"{spec.key(seed)}.{spec.form}"
    if not path.is_file():
        try:
            _make(spec, seed, path)
        except OSError as error:
            raise UsageError(
                f"the game cannot be written to {path.parent}: {error}; set XDG_CACHE_HOME to a "
                "writable folder"
            ) from error
    return path


def split_of(game: Any) -> str:
    """The split of a game, one third each, by the hash of its map, objects and quests.

    Names are not part of the hash, so no game is in two splits under other names.
    """
    world = sorted(str(fact) for fact in game.world.facts)
    quests = [
        sorted(str(fact) for event in quest.win_events for fact in event.condition.preconditions)
        for quest in game.quests
    ]
    digest = blake2b(repr((world, sorted(quests))).encode(), digest_size=8).digest()
    return SPLITS[int.from_bytes(digest, "big") % len(SPLITS)]


def _make(spec: GameSpec, seed: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    game = _game(spec, seed)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
        made = Path(folder) / path.name
        if spec.form == "z8":
            options = load_textworld().GameOptions()
            options.path = str(made)
            load_textworld("generator").compile_game(game, options)
        else:
            game.save(str(made))
        os.replace(made.with_suffix(".json"), path.with_suffix(".json"))
        if spec.form == "z8":
            os.replace(made, path)


def _game(spec: GameSpec, seed: int) -> Any:
    """The game of a seed; with a split, the first one drawn from the seed that belongs to it."""
    if spec.split is None:
        return spec.build(seed)
    rng = np.random.default_rng([seed % 2**64, SPLITS.index(spec.split)])
    for _ in range(_TRIES):
        game = spec.build(int(rng.integers(2**31)))
        if split_of(game) == spec.split:
            return game
    raise UsageError(
        f"none of {_TRIES} games of {spec.as_json()} belongs to split {spec.split!r}: there are "
        "too few different games; use more rooms, objects or actions"
    )
