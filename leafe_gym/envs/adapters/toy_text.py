"""Gymnasium's toy-text environments as text: `FrozenLake`, `Taxi`, `CliffWalking`, `Blackjack`.

Rules, rewards and random draws are Gymnasium's: equal seeds and actions give equal episodes. A
saved state is the position and the step count, a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym

from leafe_gym.envs.adapters.base import constructor_errors
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv

ToyTextState = tuple[int, bool, tuple[Any, ...]]
"""Steps taken, whether the episode is over, and the values of the game's `fields`."""


class ToyTextEnv(TextEnv):
    """One of Gymnasium's toy-text environments; an unknown action costs a step.

    Attributes:
        game_id: Gymnasium's id.
        words: a word for each action number.
        fields: attributes of the game that an episode changes.

    Args:
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.
        **kwargs: of the game, see Gymnasium's documentation.

    Raises:
        UsageError: if an argument cannot be used.
    """

    metadata: dict[str, Any] = {**TextEnv.metadata, "prompts": "chat"}  # noqa: RUF012
    game_id: ClassVar[str] = ""
    words: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ("s", "lastaction")

    def __init__(
        self, max_steps: int | None = 100, render_mode: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(max_steps, render_mode)
        with constructor_errors(self.game_id):
            self._game: Any = gym.make(self.game_id, **kwargs).unwrapped

    def actions(self) -> list[str]:
        """All words, including those that change nothing in the current state."""
        return list(self.words)

    def get_state(self) -> ToyTextState:
        """The state of the episode except `np_random`."""
        values = tuple(_own(getattr(self._game, name, None)) for name in self.fields)
        return self._steps, self._over, values

    def set_state(self, state: ToyTextState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        self._steps, self._over, values = state
        for name, value in zip(self.fields, values, strict=True):
            setattr(self._game, name, _own(value))
        self._shown = self.describe()

    def describe(self) -> str:
        """The position in words."""
        raise NotImplementedError

    def instruction(self) -> str:
        """The rules in words."""
        raise NotImplementedError

    def event(self, reward: float, terminated: bool) -> str:
        """What happened in the last step, if the position alone does not show it."""
        return ""

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        # The game draws from this environment's generator, so saving that generator is enough.
        self._game.np_random = self.np_random
        self._game.reset()
        return Opening(self.describe(), f"{self.instruction()} Actions: {', '.join(self.words)}.")

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        word = action.strip().casefold()
        if word not in self.words:
            note = f"{action!r} is not an action; use one of {', '.join(self.words)}."
            return StepOutcome(f"{note}\n{self.describe()}", feedback=note)
        self._game.np_random = self.np_random
        _, reward, terminated, _, _ = self._game.step(self.words.index(word))
        won = bool(terminated) and reward > 0
        parts = (self.event(float(reward), bool(terminated)), self.describe())
        return StepOutcome(
            observation="\n".join(part for part in parts if part),
            reward=float(reward),
            terminated=bool(terminated),
            won=won,
            score=float(won),
        )


class FrozenLakeEnv(ToyTextEnv):
    """`FrozenLake-v1`: cross the ice to the goal and fall into no hole."""

    game_id = "FrozenLake-v1"
    words = ("left", "down", "right", "up")

    def instruction(self) -> str:
        """See `ToyTextEnv.instruction`."""
        rows = "\n".join(b"".join(row).decode() for row in self._game.desc)
        return (
            "Cross the frozen lake to the goal (G) and fall into no hole (H). S is the start, F "
            "is ice. On slippery ice you may slide to a side instead of where you want to go. "
            f"The lake, row 0 on top, column 0 on the left:\n{rows}\n"
        )

    def describe(self) -> str:
        """See `ToyTextEnv.describe`."""
        row, column = divmod(int(self._game.s), self._game.ncol)
        letter = self._game.desc[row, column].decode()
        return f"You stand at row {row}, column {column}, on {_GROUND[letter]} ({letter})."

    def event(self, reward: float, terminated: bool) -> str:
        """See `ToyTextEnv.event`."""
        return ("You reached the goal." if reward > 0 else "You fell in.") if terminated else ""


class TaxiEnv(ToyTextEnv):
    """`Taxi-v4`: fetch a passenger and bring them to their destination."""

    game_id = "Taxi-v4"
    words = ("south", "north", "east", "west", "pickup", "dropoff")
    fields = ("s", "lastaction", "fickle_step")

    def instruction(self) -> str:
        """See `ToyTextEnv.instruction`."""
        rows = "\n".join(b"".join(row).decode() for row in self._game.desc)
        return (
            "Drive the taxi to the passenger, pick them up, drive to their destination and drop "
            "them off there. Every step costs 1, a wrong pickup or dropoff 10; the right dropoff "
            "gives 20. You cannot drive through walls (|). The town, row 0 on top, column 0 on "
            f"the left; R, G, Y and B are the stands:\n{rows}\n"
        )

    def describe(self) -> str:
        """See `ToyTextEnv.describe`."""
        row, column, passenger, goal = self._game.decode(int(self._game.s))
        where = (
            "sits in the taxi" if passenger == len(_STANDS) else f"waits at {self._at(passenger)}"
        )
        return (
            f"The taxi is at row {row}, column {column}. The passenger {where} and wants to go to "
            f"{self._at(goal)}."
        )

    def event(self, reward: float, terminated: bool) -> str:
        """See `ToyTextEnv.event`."""
        if terminated:
            return "The passenger has arrived."
        return "That was not possible here." if reward <= -10 else ""

    def _at(self, stand: int) -> str:
        row, column = self._game.locs[stand]
        return f"{_STANDS[stand]} (row {row}, column {column})"


class CliffWalkingEnv(ToyTextEnv):
    """`CliffWalking-v1`: walk along a cliff to the goal; a fall leads back to the start."""

    game_id = "CliffWalking-v1"
    words = ("up", "right", "down", "left")

    def instruction(self) -> str:
        """See `ToyTextEnv.instruction`."""
        return (
            "Walk from row 3, column 0 to the goal at row 3, column 11. Rows are 0 (top) to 3, "
            "columns 0 to 11. Row 3, columns 1 to 10 is a cliff: who steps there falls, loses 100 "
            "and is back at the start. Every step costs 1."
        )

    def describe(self) -> str:
        """See `ToyTextEnv.describe`."""
        row, column = divmod(int(self._game.s), self._game.shape[1])
        return f"You stand at row {row}, column {column}."

    def event(self, reward: float, terminated: bool) -> str:
        """See `ToyTextEnv.event`."""
        if terminated:
            return "You reached the goal."
        return "You fell off the cliff and are back at the start." if reward <= -100 else ""

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        # All rewards are negative here; reaching the goal terminates the episode.
        outcome = super().play(action)
        return outcome._replace(won=outcome.terminated, score=float(outcome.terminated))


class BlackjackEnv(ToyTextEnv):
    """`Blackjack-v1`: get closer to 21 than the dealer, and not above."""

    game_id = "Blackjack-v1"
    words = ("stick", "hit")
    fields = ("player", "dealer")

    def instruction(self) -> str:
        """See `ToyTextEnv.instruction`."""
        return (
            "Get a higher sum of cards than the dealer without going above 21. An ace counts 1, "
            "or 11 where that does not exceed 21; face cards count 10. The dealer draws to 17."
        )

    def describe(self) -> str:
        """See `ToyTextEnv.describe`."""
        cards = ", ".join(str(int(card)) for card in self._game.player)
        total, shown, ace = self._game._get_obs()
        usable = ", an ace counts 11" if ace else ""
        return f"Your cards: {cards} (sum {total}{usable}). The dealer shows {shown}."

    def event(self, reward: float, terminated: bool) -> str:
        """See `ToyTextEnv.event`."""
        if not terminated:
            return ""
        dealer = ", ".join(str(int(card)) for card in self._game.dealer)
        said = "win" if reward > 0 else "lose" if reward < 0 else "draw"
        return f"The dealer's cards: {dealer}. You {said}."


_GROUND = {"S": "the start", "F": "ice", "H": "a hole", "G": "the goal"}
_STANDS = ("R", "G", "Y", "B")


def _own(value: Any) -> Any:
    """The value, copied if later steps would change it in place."""
    return list(value) if isinstance(value, list) else value
