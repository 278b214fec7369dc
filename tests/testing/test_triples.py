"""`triples` sees an environment whose way back is wrong, and nothing in one where it is right."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

import leafe_gym as lg
from leafe_gym.testing.triples import triples


class Walk(gym.Env[str, str]):
    """Walk along a line; the hidden count of visits is told at every third place."""

    observation_space = action_space = lg.TextSpace()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.visits = int(self.np_random.integers(3)), 0
        return self.tell()

    def tell(self) -> tuple[str, dict[str, Any]]:
        visits = f", {self.visits} visits" if self.place % 3 == 0 else ""
        return f"at {self.place}{visits}", {"admissible_commands": ["on", "back"], "won": False}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.place += {"on": 1, "back": -1}.get(action, 0)
        self.visits += self.place % 3 == 0
        observation, info = self.tell()
        return observation, float(self.place), False, False, info

    def get_state(self) -> dict[str, int]:
        return {"place": self.place, "visits": self.visits}

    def set_state(self, state: dict[str, int]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class Careless(Walk):
    """Wrong in states so late that the proof of a backend does not reach them."""

    def set_state(self, state: dict[str, int]) -> None:
        super().set_state(state)
        self.visits = min(self.visits, 5)


def test_right_and_wrong() -> None:
    assert triples(Walk, 100, backend="native") == []
    found = triples(Careless, 200, backend="native", longest=30)
    assert found
    assert "visits" in str(found[0].got)
    assert found[0].got != found[0].expected
