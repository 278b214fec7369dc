"""Generated games in a cache folder: made once for each spec and seed, by however many makers.

The folder is `$XDG_CACHE_HOME/leafe-gym/textworld` (without that variable `~/.cache/...`) and can
be deleted at any time. Files are written elsewhere and moved into place, the one that is looked
for last, so a file that is there is whole.
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
    """Where generated games are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "leafe-gym" / "textworld"


def game_file(spec: GameSpec, seed: int) -> Path:
    """The file of the game of a seed; made if it is not there yet (0.3 s, compiled 1 to 3 s).

    Raises:
        UsageError: if the game cannot be made or the folder not written.
    """
    path = cache_folder() / f"{spec.key(seed)}.{spec.form}"
    if not path.is_file():
        try:
            _make(spec, seed, path)
        except OSError as error:
            raise UsageError(
                f"the game cannot be written to {path.parent}: {error}; set XDG_CACHE_HOME to a "
                "folder that can"
            ) from error
    return path


def split_of(game: Any) -> str:
    """The split of a game, a third each: by the hash of its map, things and quests, without names.

    So no game is in two splits, not even with other words.
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
    """The game of a seed; with a split, the first of the seed's games that belongs to it."""
    if spec.split is None:
        return spec.build(seed)
    rng = np.random.default_rng([seed % 2**64, SPLITS.index(spec.split)])
    for _ in range(_TRIES):
        game = spec.build(int(rng.integers(2**31)))
        if split_of(game) == spec.split:
            return game
    raise UsageError(
        f"none of {_TRIES} games of {spec.as_json()} belongs to split {spec.split!r}: there are "
        "too few different ones; ask for more rooms, objects or actions"
    )
