"""A new environment in under 30 lines, and a check that it can be rolled back.

python examples/02_new_environment.py
"""

import gymnasium as gym

import leafe_gym as lg


class Guess(gym.Env):
    """Guess a number between 1 and 100; every answer says higher or lower."""

    observation_space = action_space = lg.TextSpace()

    def reset(self, *, seed=None, options=None):
        """Draw a number."""
        super().reset(seed=seed)
        self.number, self.tries = int(self.np_random.integers(1, 101)), 0
        return "Go ahead.", {"instruction": "Guess my number: 1 to 100, such as 50."}

    def step(self, action):
        """Judge a guess."""
        self.tries += 1
        guess = int(action) if action.strip().isdigit() else 0
        won = guess == self.number
        answer = "Right!" if won else "Higher." if guess < self.number else "Lower."
        note = "" if 1 <= guess <= 100 else "that is not a number from 1 to 100"
        info = {"won": won, "feedback": note}
        return f"Try {self.tries}: {answer}", float(won), won, False, info


def main() -> None:
    """Register it and check it."""
    gym.register("me/Guess-v0", Guess, max_episode_steps=10)
    report = lg.check_rollback("me/Guess-v0")
    print(report)
    report.raise_for_failures()


if __name__ == "__main__":
    main()
