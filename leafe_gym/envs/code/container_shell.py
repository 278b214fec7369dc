"""The base of environments in which commands are run in a shell in a container."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leafe_gym.arguments import whole_number
from leafe_gym.envs.arguments import check_above_zero
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import BackendError, SandboxError, UsageError
from leafe_gym.sandbox.docker.command_container import (
    CommandContainer,
    CommandResult,
    ContainerSettings,
)

SUBMIT = "submit"
"""The action that ends the attempt."""
MAX_OUTPUT = 8000
"""Characters of a command's output that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellTask:
    """What a subclass begins an episode with.

    Attributes:
        settings: of the container.
        instruction: what is asked for.
        user: who commands are run as; "" for the image's own user.
        data: of the subclass.
    """

    settings: ContainerSettings
    instruction: str
    user: str = ""
    data: Any = None


@dataclass(slots=True, eq=False)
class ShellState:
    """An episode with an image of its files; `release_state` removes the image."""

    task: ShellTask
    image: str
    steps: int
    over: bool
    owner: CommandContainer = field(repr=False)


class ContainerShellEnv(TextEnv):
    """A shell in a container.

    An action is a shell command. Each begins in the working folder; its processes end with it, so
    that the container's files are the whole state and a rollback restores them. The action
    `submit`, and the last step, end the episode, which is then judged: 1 wins. Before that the
    reward is 0. `info["feedback"]` is what the judgement rests on.

    Args:
        max_steps: actions of an episode, >= 1.
        command_seconds: time limit of an action, > 0.

    Raises:
        UsageError: if an argument cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompts": "shell"}  # noqa: RUF012
    action_form = "a string, a shell command"

    def __init__(self, max_steps: int = 30, command_seconds: float = 60.0) -> None:
        super().__init__(whole_number("max_steps", max_steps, 1))
        check_above_zero("command_seconds", command_seconds, "seconds")
        self._last, self._seconds = max_steps - 1, command_seconds
        self._task: ShellTask | None = None
        self._box: CommandContainer | None = None

    @abstractmethod
    def choose(self, seed: int) -> ShellTask:
        """The task of a seed."""

    @abstractmethod
    def judge(self, task: ShellTask, box: CommandContainer) -> tuple[float, str]:
        """The reward of an episode that is over, and what it rests on."""

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Begin a task in a new container.

        Raises:
            SandboxUnavailable: if its image is not there and cannot be built.
            SandboxError: if the engine refuses.
        """
        self._task, task = None, self.choose(seed or 0)
        box = self._container()
        box.start(task.settings)
        self._task = task
        where = _shown(box.run("pwd; ls -a", user=task.user), self._seconds)
        told = f"You have {self.max_steps} commands. End with the command {SUBMIT}."
        return Opening(f"$ pwd; ls -a\n{where}", f"{task.instruction.strip()}\n\n{told}")

    def play(self, action: str) -> StepOutcome:
        """Run a command, or judge the episode.

        Raises:
            EnvironmentFailure: if there is no judgement.
            SandboxError: if the engine refuses.
        """
        task, box, done = self._started(self._task), self._container(), action.strip() == SUBMIT
        observation, reward, said = "", 0.0, ""
        if not done:
            result = box.run(action, seconds=self._seconds, user=task.user, shell="bash")
            observation = _shown(result, self._seconds)
        if done or self._steps >= self._last:
            reward, said = self.judge(task, box)
            observation = f"{observation}\nReward: {reward:g}".strip()
        return StepOutcome(observation, reward, done, won=reward >= 1, score=reward, feedback=said)

    def get_state(self) -> ShellState:
        """The episode, with an image of the container's files.

        Raises:
            ResetNeeded: if no episode was started.
            BackendError: if the container cannot be saved.
        """
        task, box = self._started(self._task), self._container()
        try:
            return ShellState(task, box.save(), self._steps, self._over, box)
        except SandboxError as error:
            raise BackendError(f"the container could not be saved: {error}") from error

    def set_state(self, state: ShellState) -> None:
        """Continue in a new container with the state's files.

        Raises:
            UsageError: if `state` was not returned by `get_state`.
            BackendError: if the state cannot be restored.
        """
        if not isinstance(state, ShellState):
            raise UsageError(f"state {state!r:.80}: expected what get_state() returned")
        try:
            self._container().restore(state.task.settings, state.image)
        except SandboxError as error:
            raise BackendError(f"the container could not be restored: {error}") from error
        self._task, self._steps, self._over = state.task, state.steps, state.over

    def release_state(self, state: ShellState) -> None:
        """Remove the state's image; safe to call twice."""
        state.owner.drop(state.image)

    def close(self) -> None:
        """Remove the container and all images of its states."""
        super().close()
        if self._box is not None:
            self._box.close()
        self._box, self._task = None, None

    def _container(self) -> CommandContainer:
        if self._box is None:
            self._box = CommandContainer()
        return self._box


def _shown(result: CommandResult, seconds: float) -> str:
    text = result.output.rstrip("\n")
    if len(text) > MAX_OUTPUT:
        half = MAX_OUTPUT // 2
        text = f"{text[:half]}\n... ({len(text)} characters) ...\n{text[-half:]}"
    note = f"[exit code {result.exit_code}]" if result.exit_code else ""
    if result.timed_out:
        note = f"[stopped after {seconds:g} s]"
    if result.truncated:
        note = "[stopped: too much output]"
    return "\n".join(filter(None, (text, note))) or "(no output)"
