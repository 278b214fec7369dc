"""`leafe play ID`: play an environment in the terminal, with undo, redo and named snapshots."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from leafe_gym.agents.env_pool import make_env
from leafe_gym.cli.generated import Given, with_options
from leafe_gym.cli.interrupt import Interrupted
from leafe_gym.cli.models import ModelOptions, make_policy
from leafe_gym.cli.options import Data, EnvId, Set, Split, env_kwargs, pick_tasks
from leafe_gym.cli.screen import out, plain
from leafe_gym.cli.watch import watch_model
from leafe_gym.envs.display import keymap
from leafe_gym.errors import LeafeError, UsageError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.types import Info, Snapshot
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

COMMANDS = {
    "undo": ":undo [N]         undo the last action, or the last N",
    "redo": ":redo             redo the action that was undone last",
    "to": ":to N             return to the state after N actions",
    "snapshot": ":snapshot [NAME]  save this state under a name",
    "restore": ":restore [NAME]   return to a saved state; without a name, list them",
    "actions": ":actions          list the possible actions, if the environment knows them",
    "help": ":help             show this list",
    "quit": ":quit             leave; Ctrl-D does the same",
}
SHORT = {"u": "undo", "r": "redo", "s": "snapshot", "q": "quit", "h": "help", "?": "help"}
HELP = "Type an action, or :help for the commands."


@dataclass(slots=True)
class PlaySession:
    """One interactive session in one environment.

    Every line is an action, except for lines that begin with a colon, which are commands. A line
    that begins with two colons is an action that begins with one.
    """

    env: RollbackWrapper
    keys: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    undone: list[str] = field(default_factory=list)
    saved: dict[str, Snapshot] = field(default_factory=dict)
    admissible: list[str] = field(default_factory=list)
    over: bool = False

    def start(self) -> None:
        """Reset and show the first observation."""
        observation, info = self.env.reset(seed=self.seed)
        out.print(plain(str(info.get("instruction", ""))))
        out.print(plain(HELP, "dim"))
        self.show(observation, info)

    def do(self, line: str) -> bool:
        """Carry out one line; returns False to stop.

        Errors of the environment and wrong commands are shown; the session continues.
        """
        try:
            if line.startswith(":") and not line.startswith("::"):
                return self.command(line[1:].split())
            action = line[1:] if line.startswith("::") else line
            if action:
                key = self.keys.get(action)
                self.undone.clear()
                self.act(key if key and action not in self.admissible else action)
        except LeafeError as error:
            self.note(str(error))
        return True

    def command(self, words: Sequence[str]) -> bool:
        """Carry out one command; returns False to stop.

        Raises:
            UsageError: if there is no such command, or its argument cannot be used.
        """
        name, *arguments = words or ["help"]
        name = SHORT.get(name, name)
        if name not in COMMANDS:
            raise UsageError(f":{name} is not a command; :help lists them")
        if len(arguments) > 1:
            raise UsageError(f":{name} takes at most one argument")
        if name == "quit":
            return False
        argument = arguments[0] if arguments else ""
        getattr(self, f"do_{name}")(argument)
        return True

    def do_help(self, _: str) -> None:
        """List commands and keys."""
        lines = [*COMMANDS.values(), "Short forms: " + ", ".join(f":{one}" for one in SHORT)]
        if self.keys:
            keys = ", ".join(f"{key} = {action}" for key, action in self.keys.items())
            lines.append(f"Keys: {keys}")
        out.print(plain("\n".join(lines), "dim"))

    def do_actions(self, _: str) -> None:
        """List the possible actions."""
        known = ", ".join(self.admissible) or "the environment does not list its actions"
        out.print(plain(known, "dim"))

    def do_undo(self, argument: str) -> None:
        """Undo the last actions."""
        taken = self.env.steps
        if not taken:
            raise UsageError("there is no action to undo")
        count = _number(":undo", argument or "1", 1, taken)
        self.return_to(taken - count)

    def do_to(self, argument: str) -> None:
        """Return to the state after a number of actions."""
        self.return_to(_number(":to", argument, 0, self.env.steps))

    def do_redo(self, _: str) -> None:
        """Redo the action that was undone last."""
        if not self.undone:
            raise UsageError("there is nothing to redo")
        self.act(self.undone.pop(0))

    def do_snapshot(self, argument: str) -> None:
        """Save the current state."""
        name = argument or str(len(self.saved) + 1)
        self.saved[name] = self.env.snapshot()
        self.note(f"saved as {name}, after {self.env.steps} actions")

    def do_restore(self, argument: str) -> None:
        """Return to a saved state."""
        if argument not in self.saved:
            names = ", ".join(f"{one} ({self.saved[one].step} actions)" for one in self.saved)
            if not argument:
                self.note(f"saved states: {names or 'none'}")
                return
            raise UsageError(f":restore {argument}: there is no such state; saved: {names or '-'}")
        observation, info = self.env.restore(self.saved[argument])
        self.undone.clear()
        self.over = False
        self.show(observation, info)

    def return_to(self, step: int) -> None:
        """Roll back so that `step` actions are taken; redo can take the others again."""
        taken = [str(move.action) for move in self.env.transitions]
        if step == len(taken):
            self.note(f"{step} actions are taken already")
            return
        observation, info = self.env.rollback(to=step)
        self.undone = taken[step:] + self.undone
        self.over = False
        self.show(observation, info)

    def act(self, action: str) -> None:
        """Take one action.

        Raises:
            UsageError: if the episode is over.
        """
        if self.over:
            raise UsageError("the episode is over: :undo or :quit")
        before = [move.action for move in self.env.transitions]
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:  # noqa: BLE001 - an environment may raise anything
            self.note(f"the environment raised {type(error).__name__}: {error}")
            self.repeat(before)
            return
        self.over = terminated or truncated
        self.show(observation, info, reward)

    def repeat(self, actions: Sequence[Any]) -> None:
        """Reach the state after `actions` again, from a reset, because the current one is lost."""
        observation, info = self.env.reset(seed=self.seed)
        for action in actions:
            observation, _, _, _, info = self.env.step(action)
        self.note("back in the state before that action")
        self.show(observation, info)

    def show(self, observation: Any, info: Info, reward: float | None = None) -> None:
        """Show the state and the outcome of the last action."""
        self.admissible = [str(action) for action in info.get("admissible_commands", ())]
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

    def note(self, text: str) -> None:
        """Show a message of the session itself."""
        out.print(plain(text, "yellow"))


@with_options
def command(
    env_id: EnvId,
    number: Annotated[int, typer.Option("-n", min=0, help="Index of the task in the split.")] = 0,
    split: Split = "train",
    set_: Set = None,
    data: Data = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Watch a model (--model) play one attempt.")
    ] = False,
    *,
    models: Annotated[Given, ModelOptions],
    sampling: Annotated[Given, EvalConfig],
) -> None:
    """Play an environment; every earlier state is one `:undo` away.

    With --watch a model plays, and the options about models and sampling apply to it.
    """
    if not watch:
        for name in (*models, *sampling):
            raise UsageError(f"--{name.replace('_', '-')}: it is for --watch, where a model plays")
    tasks = pick_tasks(env_id, split, number + 1, env_kwargs(set_, data))
    if number >= len(tasks):
        raise UsageError(f"-n {number}: the split {split!r} has {len(tasks)} tasks, from 0")
    if watch:
        watch_model(tasks[number], make_policy(ModelOptions(**models)), EvalConfig(**sampling))
        return
    env = make_env(tasks[number])
    with suppress(ImportError):  # line editing and history, where Python was built with them
        importlib.import_module("readline")
    session = PlaySession(env, keymap(env), tasks[number].seed)
    try:
        session.start()
        while (line := _read()) is not None and session.do(line):
            pass
    finally:
        env.close()


def _read() -> str | None:
    """The next line; None at the end of the input. Ctrl-C discards the line."""
    try:
        return input("> ").strip()
    except EOFError:
        return None
    except Interrupted:
        raise
    except KeyboardInterrupt:
        out.print("\n:quit leaves")
        return ""


def _number(name: str, text: str, low: int, high: int) -> int:
    """The argument of a command as a number from `low` to `high`.

    Raises:
        UsageError: if it is not such a number; says which are possible.
    """
    if not text.isdecimal() or not low <= int(text) <= high:
        given = f"{name} {text}".rstrip()
        taken = f"{high} {'action is' if high == 1 else 'actions are'} taken"
        raise UsageError(f"{given}: {taken}, so use {name} {low} to {name} {high}")
    return int(text)
