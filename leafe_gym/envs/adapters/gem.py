r"""Games of GEM (https://github.com/axon-rl/gem, package `gem-llm`).

An observation is GEM's observation followed by the position in `info["suffix"]`. Actions may be
written with or without GEM's `\boxed{...}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from leafe_gym._optional import require
from leafe_gym.envs.adapters.base import GlobalRandomGame, check_name, constructor_errors
from leafe_gym.envs.text_env import Opening, StepOutcome

_WON = "Congratulations"
"""Start of the last observation of a won game; GEM has no other indication."""


class GemEnv(GlobalRandomGame):
    """One game; an episode equals GEM's own episode of the same seed.

    Args:
        game: GEM's id, such as "game:Sokoban-v0-easy" or "game:Minesweeper-v0-easy".
        max_steps: see `TextEnv`; GEM's games have limits of their own.
        render_mode: see `TextEnv`.
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
        known = import_module(f"{_library().__name__}.envs.registration").ENV_REGISTRY
        self.game = check_name("game", game, known, "GEM", "gem.print_envs()")
        self._kwargs = kwargs
        self._env: Any = None

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = self._seed_global_rng(seed)
        if self._env is None:
            with constructor_errors(f"game={self.game!r}"):
                self._env = _library().make(self.game, **self._kwargs)
        instruction, info = self._env.reset(seed=number % 2**32)
        return Opening(str(info.get("suffix") or instruction), str(instruction))

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
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
