r"""Games of GEM (https://github.com/axon-rl/gem, package `gem-llm`).

An observation is GEM's observation followed by the position in `info["suffix"]`. Actions may be
written with or without GEM's `\boxed{...}`.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from leafe_gym._optional import require
from leafe_gym.envs.adapters.base import (
    GlobalRandomGame,
    Opening,
    StepOutcome,
    constructor_errors,
)
from leafe_gym.errors import UsageError

_WON = "Congratulations"
"""Start of the last observation of a won game; GEM has no other indication."""


class GemEnv(GlobalRandomGame):
    """One game; an episode equals GEM's own episode of the same seed.

    Args:
        game: GEM's id, such as "game:Sokoban-v0-easy" or "game:Minesweeper-v0-easy".
        max_steps: see `AdaptedGame`; GEM's games have limits of their own.
        render_mode: see `AdaptedGame`.
        **kwargs: of the game's own constructor.

    Raises:
        MissingExtra: if GEM is not installed.
        UsageError: if there is no such game, or it does not take an argument.
    """

    metadata: dict[str, Any] = {**GlobalRandomGame.metadata, "prompts": "chat"}  # noqa: RUF012

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
        number = self._seed_global_rng(seed)
        if self._env is None:
            with constructor_errors(f"game={self.game!r}"):
                self._env = _library().make(self.game, **self._kwargs)
        instruction, info = self._env.reset(seed=number % 2**32)
        return Opening(str(info.get("suffix") or instruction), str(instruction))

    def _play(self, action: str) -> StepOutcome:
        given = action if "\\boxed" in action else f"\\boxed{{{action.strip()}}}"
        said, reward, terminated, truncated, info = self._env.step(given)
        won = bool(terminated) and str(said).startswith(_WON)
        return StepOutcome(
            observation="\n".join(part for part in (str(said), info.get("suffix")) if part),
            reward=float(reward),
            # GEM sets `terminated` at the turn limit as well.
            terminated=bool(terminated) and (won or not truncated),
            truncated=bool(truncated) and not won,
            won=won,
            score=float(won),
        )


def _library() -> Any:
    return require("gem", "gem", "GEM's games")


def _known_id(game: str) -> str:
    if not isinstance(game, str):
        raise UsageError(f"game={game!r}: give one of GEM's ids as a string")
    known = import_module(f"{_library().__name__}.envs.registration").ENV_REGISTRY
    if game in known:
        return game
    near = get_close_matches(game, known, n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else "see gem.print_envs()"
    raise UsageError(f"GEM has no game {game!r}; {advice}")
