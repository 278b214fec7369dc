"""Single-player games of TextArena (https://github.com/LeonGuertler/TextArena).

An observation contains what is new since the last action, not the whole transcript, because prompts
contain the history. Actions may be written with or without TextArena's square brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from leafe_gym._optional import require
from leafe_gym.envs.adapters.base import GlobalRandomGame, check_name, constructor_errors
from leafe_gym.envs.text_env import Opening, StepOutcome
from leafe_gym.errors import UsageError

_CUT = re.compile(r"\b(turn|move) limit\b|maximum of \d+ turns", re.IGNORECASE)
_NOTHING_NEW = "The game goes on."


class TextArenaEnv(GlobalRandomGame):
    """One single-player game; an episode equals TextArena's own episode of the same seed.

    TextArena gives one reward, at the end of the game; earlier steps have reward 0. A game is won
    if that reward is at least 1 and the game did not end with an invalid action.

    Games for several players and TextArena's observation wrappers are not supported.

    Args:
        game: TextArena's id, such as "2048-v0", "Minesweeper-v0", "Blackjack-v0", "Bandit-v0".
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.
        **kwargs: of the game's own constructor.

    Raises:
        MissingExtra: if TextArena is not installed.
        UsageError: if there is no such game, it is for several players, or it does not take an
            argument.
    """

    def __init__(
        self,
        game: str = "2048-v0",
        max_steps: int | None = None,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self.game = _raw_id(game)
        self._kwargs = kwargs
        self._env: Any = None

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = self._seed_global_rng(seed)
        # A new game each time, because TextArena's own reset keeps parts of the old episode.
        with constructor_errors(f"game={self.game!r}"):
            self._env = _library().make(self.game, **self._kwargs)
        try:
            self._env.reset(num_players=1, seed=number)
        except AssertionError as error:
            raise UsageError(f"game={self.game!r} is not for one player: {error}") from error
        prompts, others = self._news()
        return Opening("\n".join(others) or "The game begins.", "\n".join(prompts))

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        bare = "[" not in action and "]" not in action
        done, _ = self._env.step(f"[{action.strip()}]" if bare else action)
        _, news = self._news()
        feedback = "\n".join(self._complaints)
        if not done:
            return StepOutcome("\n".join(news) or _NOTHING_NEW, feedback=feedback)
        rewards, about = self._env.close()
        reward = float((rewards or {}).get(0, 0.0))
        reason = str(about[0].get("reason") or "")
        invalid = bool(about[0].get("invalid_move"))
        won = reward >= 1.0 and not invalid
        cut = not won and _CUT.search(reason) is not None
        return StepOutcome(
            observation="\n".join([*news, reason]).strip() or "The game is over.",
            reward=reward,
            terminated=not cut,
            truncated=cut,
            won=won,
            score=min(1.0, max(0.0, reward)),
            feedback=reason if invalid else feedback,
        )

    def _news(self) -> tuple[list[str], list[str]]:
        """(prompts, other messages) since the last call, without the player's own messages."""
        player, messages = self._env.get_observation()
        kinds = _library().ObservationType
        prompts = [text for _, text, kind in messages if kind is kinds.PROMPT]
        others = [
            text for who, text, kind in messages if kind is not kinds.PROMPT and who != player
        ]
        self._complaints = [text for _, text, kind in messages if kind is kinds.GAME_ADMIN]
        return prompts, others


def _library() -> Any:
    return require("textarena", "textarena", "TextArena's games")


def _raw_id(game: str) -> str:
    """The id of the game without TextArena's wrappers."""
    known = import_module(f"{_library().__name__}.envs.registration").ENV_REGISTRY
    raw = f"{game}-raw"
    return raw if raw in known else check_name("game", game, known, "TextArena", "textarena.envs")
