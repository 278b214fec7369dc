r"""Games of GEM (https://github.com/axon-rl/gem, package `gem-llm`).

An observation is GEM's own followed by the position that GEM keeps in `info["suffix"]`. Actions may
be written with or without GEM's `\boxed{...}`.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from leafe_gym.envs.adapters.base import GlobalLuckGame, Opening, Outcome
from leafe_gym.errors import MissingExtra, UsageError

_WON = "Congratulations"
"""How the last observation of a game that was won begins; GEM says it in no other way."""


class GemEnv(GlobalLuckGame):
    """One game; the same seed gives GEM's own episode of that seed.

    Args:
        game: GEM's id, such as "game:Sokoban-v0-easy" or "game:Minesweeper-v0-easy".
        max_steps: see `AdaptedGame`; GEM's games have limits of their own.
        render_mode: see `AdaptedGame`.
        **kwargs: of the game's own constructor.

    Raises:
        MissingExtra: if GEM is not installed.
        UsageError: if there is no such game.
    """

    def __init__(
        self,
        game: str = "game:Sokoban-v0-easy",
        max_steps: int | None = None,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self.game = _known_id(game)
        self._kwargs = kwargs
        self._env: Any = None

    def _begin(self, seed: int | None) -> Opening:
        number = self._seed_luck(seed)
        if self._env is None:
            self._env = _library().make(self.game, **self._kwargs)
        instruction, info = self._env.reset(seed=number % 2**32)
        return Opening(str(info.get("suffix") or instruction), str(instruction))

    def _play(self, action: str) -> Outcome:
        given = action if "\\boxed" in action else f"\\boxed{{{action.strip()}}}"
        said, reward, terminated, truncated, info = self._env.step(given)
        won = bool(terminated) and str(said).startswith(_WON)
        return Outcome(
            observation="\n".join(part for part in (str(said), info.get("suffix")) if part),
            reward=float(reward),
            # GEM says `terminated` at the turn limit, too.
            terminated=bool(terminated) and (won or not truncated),
            truncated=bool(truncated) and not won,
            won=won,
            score=float(won),
        )


def _library() -> Any:
    try:
        return import_module("gem")
    except ImportError as error:
        raise MissingExtra("GEM's games", "gem") from error


def _known_id(game: str) -> str:
    known = import_module(f"{_library().__name__}.envs.registration").ENV_REGISTRY
    if game in known:
        return game
    near = get_close_matches(game, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see gem.print_envs()"
    raise UsageError(f"GEM has no game {game!r}; {hint}")
