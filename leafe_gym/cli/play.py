"""`leafe play ID`: a person plays in the terminal, with undo and redo by rollback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import gymnasium as gym
import typer

from leafe_gym.cli.options import EnvId, Levels, Set, Split, env_kwargs, pick_tasks
from leafe_gym.cli.screen import out, plain
from leafe_gym.engines.explore import make_env
from leafe_gym.types import Info
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

HELP = "Type an action, or: undo (u), redo (r), to N, help (?), quit (q)."
SHORT = {"u": "undo", "r": "redo", "q": "quit", "?": "help"}
KEYS = {"w": "up", "s": "down", "a": "left", "d": "right"}


@dataclass(slots=True)
class Game:
    """One person at one environment."""

    env: RollbackWrapper
    undone: list[str] = field(default_factory=list)
    over: bool = False

    def start(self, seed: int) -> None:
        """Reset and show the first state."""
        observation, info = self.env.reset(seed=seed)
        out.print(plain(str(info.get("instruction", ""))))
        out.print(plain(HELP, "dim"))
        self.show(observation, info)

    def do(self, line: str, admissible: list[str]) -> bool:
        """Carry out one line; False to stop."""
        word = line if line in admissible else SHORT.get(line, line)
        if word == "quit":
            return False
        if word == "help":
            out.print(plain(HELP, "dim"))
        elif word == "undo":
            self.go_to(self.env.steps - 1)
        elif word == "redo":
            self.redo()
        elif word.startswith("to ") and word[3:].strip().isdigit():
            self.go_to(int(word[3:]))
        elif word:
            action = KEYS[word] if word in KEYS and KEYS[word] in admissible else word
            self.undone.clear()
            self.act(action)
        return True

    def act(self, action: str) -> None:
        """One step, unless the episode is over."""
        if self.over:
            out.print(plain("The episode is over: undo, or quit.", "yellow"))
            return
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.over = terminated or truncated
        self.show(observation, info, reward)

    def go_to(self, step: int) -> None:
        """Roll back so that `step` actions are taken."""
        taken = [str(move.action) for move in self.env.transitions]
        if not 0 <= step < len(taken):
            out.print(plain(f"There is no earlier state {step}.", "yellow"))
            return
        observation, info = self.env.rollback(to=step)
        self.undone = taken[step:] + self.undone
        self.over = False
        self.show(observation, info)

    def redo(self) -> None:
        """Take the action that was undone last."""
        if not self.undone:
            out.print(plain("There is nothing to redo.", "yellow"))
            return
        self.act(self.undone.pop(0))

    def show(self, observation: Any, info: Info, reward: float | None = None) -> None:
        """The state, and what the last action brought."""
        out.print()
        out.print(plain(str(observation), "bold"))
        line = f"action {self.env.steps}"
        if reward is not None:
            line += f"   reward {reward:+g}"
        if info.get("feedback"):
            line += f"   {info['feedback']}"
        out.print(plain(line, "dim"))
        if self.over:
            won = bool(info.get("won"))
            out.print(plain("Won." if won else "Lost.", "bold green" if won else "bold red"))


def command(
    env_id: EnvId,
    number: Annotated[int, typer.Option("-n", min=0, help="Which task of the split.")] = 0,
    split: Split = "train",
    set_: Set = None,
    levels: Levels = None,
) -> None:
    """Play an environment; every state you have been in is one `undo` away."""
    task = pick_tasks(env_id, split, number + 1, env_kwargs(set_, levels))[number]
    game = Game(make_env(task))
    game.start(task.seed)
    admissible = commands(game.env)
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            break
        if not game.do(line, admissible):
            break
    game.env.close()


def commands(env: gym.Env[Any, Any]) -> list[str]:
    """What the environment says can be typed; empty where it does not say."""
    _, info = env.reset(seed=env.seed) if isinstance(env, RollbackWrapper) else env.reset()
    return [str(command) for command in info.get("admissible_commands", [])]
