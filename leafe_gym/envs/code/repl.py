"""The Gymnasium environment `leafe/PythonREPL-v0`."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import gymnasium as gym

from leafe_gym.envs.code.extract import MAX_CODE, extract_code
from leafe_gym.envs.code.judge_result import stable
from leafe_gym.envs.code.repl_goals import KINDS, GoalProgress, ReplGoal
from leafe_gym.envs.space import TextSpace
from leafe_gym.envs.tasks import SPLITS, TaskList, hash_of, plain, split_by_hash
from leafe_gym.errors import (
    BackendError,
    ResetNeeded,
    RestoreMismatch,
    SandboxError,
    SandboxUnavailable,
    SnapshotUnsupported,
    UsageError,
)
from leafe_gym.sandbox.base import CellResult, Sandbox, SandboxSnapshot, make_sandbox
from leafe_gym.types import Info, Json, Task

ENV_ID = "leafe/PythonREPL-v0"
SEEDS = 1000
"""Seeds that are listed for each split together."""

MAX_OUTPUT = 4000
_MAX_FILE = 2**20

_INSTRUCTION = """You have a live Python session with a folder of files. Each answer is a cell of \
code that runs in the session; its variables and files stay. You see what it prints, or its \
error. You have {steps} cells.

{goal}"""


@dataclass(slots=True, eq=False, weakref_slot=True)
class ReplState:
    """A state of an episode; its snapshot is dropped with it, or earlier by `release_state`.

    Attributes:
        seed: of the goal.
        cells: the cells run so far, with what each showed.
        over: whether the episode is.
        score: of the goal.
        sandbox: the sandbox that the snapshot was made in.
        snapshot: interpreter memory and files; None once released.
    """

    seed: int
    cells: tuple[tuple[str, str], ...]
    over: bool
    score: float
    sandbox: Sandbox
    snapshot: SandboxSnapshot | None = field(repr=False)
    drop: Callable[[], object] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert self.snapshot is not None
        end = weakref.finalize(self, _drop, self.sandbox, self.snapshot)
        end.atexit = False  # the sandbox ends then, too
        self.drop = end

    @property
    def nbytes(self) -> int:
        """What the snapshot takes, as far as the sandbox says; a page where it does not."""
        return int(getattr(self.snapshot, "nbytes", 0)) or 4096

    def __reduce__(self) -> Any:
        raise TypeError("a sandbox's snapshot lives in this process alone")


class PythonReplEnv(gym.Env[str, str]):
    """A Python session with files, and a job to do in it.

    An action is a cell of code, the observation what it prints or its traceback. After each cell
    the work folder is looked at from outside the sandbox: when the job is done the reward is 1
    and the episode ends; else it is 0. `info["score"]` is the part that is done,
    `info["feedback"]` says what was spoiled for good.

    The state is the live interpreter's memory and the files together, so going back to before a
    mistake brings back variables and files. Memory addresses in outputs are blanked, text hashes
    and `random` are seeded; what depends on the clock is not the same twice.

    Args:
        kind: of the job, a key of `repl_goals.KINDS`; default any.
        goal: seed of the only job to pose; default a new one with each seed of `reset`.
        split: pose jobs of this split only; default all.
        max_steps: cells of an episode; >= 1.
        cell_seconds: longest a cell may take; > 0.
        sandbox: kind of sandbox the session runs in; see `leafe_gym.sandbox`.
        allow_unsandboxed: run code without isolation where the host has no sandbox.
        sandbox_options: further arguments of `make_sandbox`, such as a container image.

    Raises:
        UsageError: if an argument cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        kind: str | None = None,
        goal: int | None = None,
        split: str | None = None,
        max_steps: int = 12,
        cell_seconds: float = 10.0,
        sandbox: str = "embedded",
        allow_unsandboxed: bool = False,
        sandbox_options: Mapping[str, Any] | None = None,
    ) -> None:
        _check(kind, goal, split, max_steps, cell_seconds)
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.max_steps = max_steps
        self._kind = kind
        self._goal_seed = goal
        self._split = split
        self._seconds = cell_seconds
        self._make = (sandbox, allow_unsandboxed, dict(sandbox_options or {}))
        self._sandbox: Sandbox | None = None
        self._blank: SandboxSnapshot | None = None
        self._end: weakref.finalize[..., Any] | None = None
        self._seed = 0
        self._goal: ReplGoal | None = None
        self._cells: tuple[tuple[str, str], ...] = ()
        self._score = 0.0
        self._over = False

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """Jobs of a split; what a job is made of decides its split.

        Args:
            split: "train", "val" or "test".
            kwargs: arguments of the environment; `goal` and `split` are the tasks' own.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        if split not in SPLITS:
            raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}")
        if taken := kwargs.keys() & {"goal", "split"}:
            raise UsageError(f"the tasks name {', '.join(sorted(taken))} themselves; drop it")
        given = plain(kwargs)
        cls(**given)
        kind = given.get("kind")
        changed = {k: v for k, v in given.items() if not k.startswith(("sandbox", "allow"))}
        tag = f":{hash_of(changed)}" if changed else ""

        def build(seed: int) -> Task:
            return Task(
                id=f"{ENV_ID}:{seed}{tag}",
                env_id=ENV_ID,
                kwargs={**given, "goal": seed},
                split=split,
            )

        return TaskList(build, lambda: [n for n in range(SEEDS) if _split(kind, n) == split])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Begin a job in a new session.

        Raises:
            UsageError: for any option; there are none.
            SandboxError: if no session can be started.
        """
        super().reset(seed=seed)
        if options:
            raise UsageError(f"unknown reset options {sorted(options)}; there are none")
        goal = self._goal_seed
        while goal is None:
            drawn = int(self.np_random.integers(2**31))
            if self._split is None or _split(self._kind, drawn) == self._split:
                goal = drawn
        self._begin(goal)
        assert self._goal is not None
        files = ", ".join(sorted(self._goal.files)) or "none"
        instruction = _INSTRUCTION.format(steps=self.max_steps, goal=self._goal.text)
        return f"Files: {files}", {"instruction": instruction, "won": False, "score": self._score}

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Run a cell: plain code, or a code fence among other text.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is no string.
            SandboxError: if the session is lost and cannot be made again.
        """
        if not isinstance(action, str):
            raise UsageError(f"action {action!r}: give a string, a cell of code")
        if self._goal is None or self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        cell = extract_code(action)
        observation, finding = self._survive(cell)
        self._cells = (*self._cells, (cell, observation))
        self._score = finding.score
        truncated = not finding.done and len(self._cells) >= self.max_steps
        self._over = finding.done or truncated
        info: Info = {"won": finding.done, "score": finding.score, "feedback": finding.remark}
        return observation, float(finding.done), finding.done, truncated, info

    def get_state(self) -> ReplState:
        """The episode with a snapshot of the session; `release_state` gives that up.

        Raises:
            ResetNeeded: if no episode was begun.
            BackendError: if the sandbox cannot save the session.
        """
        if self._goal is None or self._sandbox is None:
            raise ResetNeeded("no episode was begun; call reset() first")
        try:
            snapshot = self._sandbox.snapshot()
        except SandboxError:  # a session that was lost is made again
            self._redo(self._seed, cells := self._cells)
            self._cells = cells
            try:
                snapshot = self._sandbox.snapshot()
            except SandboxError as error:
                raise BackendError(f"the session could not be saved: {error}") from error
        return ReplState(self._seed, self._cells, self._over, self._score, self._sandbox, snapshot)

    def set_state(self, state: ReplState) -> None:
        """Go to a state; where its snapshot is lost, by running its cells again, compared.

        Raises:
            BackendError: if it cannot be reached.
            RestoreMismatch: if a cell run again shows something else.
        """
        if state.snapshot is None:
            raise SnapshotUnsupported("the state was released")
        try:
            if state.sandbox is self._sandbox:
                self._sandbox.restore(state.snapshot)
            else:
                self._adopt(state.sandbox.branch(state.snapshot))
        except SandboxError:
            self._redo(state.seed, state.cells)
        self._seed, self._goal = state.seed, _goal(self._kind, state.seed)
        self._cells, self._over, self._score = state.cells, state.over, state.score

    def release_state(self, state: ReplState) -> None:
        """Give up the snapshot of a state; again does nothing."""
        state.snapshot = None
        state.drop()

    @property
    def sandbox_kind(self) -> str:
        """The sandbox in use; before the first session the one asked for."""
        return self._make[0] if self._sandbox is None else self._sandbox.kind

    def close(self) -> None:
        """End the session."""
        self._sandbox = self._blank = self._goal = None
        if self._end is not None:
            with suppress(SandboxError):  # it is being given up
                self._end()

    def __getstate__(self) -> Mapping[str, Any]:
        raise TypeError("it holds a sandbox; use its get_state() and set_state()")

    def _begin(self, seed: int) -> None:
        goal = _goal(self._kind, seed)
        self._goal = None
        self._fresh_session()
        assert self._sandbox is not None
        for path, data in goal.files.items():
            self._sandbox.write_file(path, data)
        ready = self._sandbox.run_cell(
            f"import random\nrandom.seed({seed})\ndel random\n{goal.setup}"
        )
        if ready.error:
            raise SandboxError(f"the session could not be prepared: {ready.error}")
        self._seed, self._goal, self._cells, self._over = seed, goal, (), False
        self._score = self._found().score

    def _fresh_session(self) -> None:
        """A session without variables and files: the one there, taken back, or a new one."""
        if self._sandbox is not None and self._blank is not None:
            try:
                self._sandbox.restore(self._blank)
            except SandboxError:
                self.close()
            else:
                return
        self.close()
        kind, allowed, options = self._make
        sandbox = make_sandbox(kind, allow_unsandboxed=allowed, **options)
        sandbox.start()
        self._adopt(sandbox)
        self._blank = sandbox.snapshot()

    def _adopt(self, sandbox: Sandbox) -> None:
        self.close()
        self._sandbox = sandbox
        self._end = weakref.finalize(self, sandbox.close)

    def _survive(self, cell: str) -> tuple[str, GoalProgress]:
        """Run a cell and look at the files, in a session that may die of it or while it runs.

        The session is made again and the cell run once more, so what befell the sandbox from
        outside passes unnoticed. If it dies again, that was the cell's own doing.
        """
        for _ in range(2):
            try:
                return self._run(cell), self._found()
            except SandboxError as error:
                self._come_back(error)
        return "The session ended. It is again as it was before this cell.", self._found()

    def _come_back(self, error: SandboxError) -> None:
        cells, score = self._cells, self._score
        try:
            self._redo(self._seed, cells)
        except BackendError as again:
            raise SandboxError(f"{error}; {again}") from again
        self._cells, self._score = cells, score

    def _redo(self, seed: int, cells: Sequence[tuple[str, str]]) -> None:
        try:
            self.close()
            self._begin(seed)
            for number, (cell, shown) in enumerate(cells):
                again = self._run(cell)
                if again != shown:
                    raise RestoreMismatch(
                        f"the session was lost, and cell {number} run again shows something else",
                        step=number,
                    )
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            raise BackendError(f"the session was lost and cannot be made again: {error}") from error

    def _run(self, cell: str) -> str:
        assert self._sandbox is not None
        if not cell.strip() or len(cell) > MAX_CODE:
            return f"No code, or more than {MAX_CODE} characters of it."
        return _shown(self._sandbox.run_cell(cell, timeout=self._seconds), self._seconds)

    def _found(self) -> GoalProgress:
        assert self._goal is not None
        return self._goal.check(self._read)

    def _read(self, path: str) -> bytes | None:
        assert self._sandbox is not None
        try:
            return self._sandbox.read_file(path, _MAX_FILE)
        except (OSError, UsageError):
            return None


def _drop(sandbox: Sandbox, snapshot: SandboxSnapshot) -> None:
    with suppress(SandboxError):  # with its sandbox it is gone already
        sandbox.drop(snapshot)


def _shown(result: CellResult, seconds: float) -> str:
    parts = [result.stdout, result.stderr, result.error]
    if result.timed_out:
        parts.append(f"Stopped after {seconds:g} s.")
    text = "\n".join(part.rstrip("\n") for part in parts if part.strip())
    text = stable(text)
    if len(text) > MAX_OUTPUT:
        half = MAX_OUTPUT // 2
        text = f"{text[:half]}\n... ({len(text)} characters) ...\n{text[-half:]}"
    return text or "(no output)"


def _goal(kind: str | None, seed: int) -> ReplGoal:
    names = sorted(KINDS)
    rng = Random(seed)
    return KINDS[kind or names[seed % len(names)]](rng)


@lru_cache(maxsize=8192)
def _split(kind: str | None, seed: int) -> str:
    goal = _goal(kind, seed)
    content = hashlib.blake2b(digest_size=8)
    for part in (goal.text, goal.setup, *map(repr, sorted(goal.files.items()))):
        content.update(part.encode() + b"\0")
    return split_by_hash(content.digest())


def _check(
    kind: str | None, goal: int | None, split: str | None, max_steps: int, cell_seconds: float
) -> None:
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind={kind!r}: use one of {', '.join(sorted(KINDS))}, or None for any")
    if goal is not None and (type(goal) is not int or goal < 0):
        raise UsageError(f"goal={goal!r}: expected a whole number >= 0")
    if split is not None and split not in SPLITS:
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}, or None for all")
    if type(max_steps) is not int or max_steps < 1:
        raise UsageError(f"max_steps={max_steps!r}: expected a whole number >= 1")
    number = isinstance(cell_seconds, int | float) and not isinstance(cell_seconds, bool)
    if not number or not 0 < cell_seconds < float("inf"):
        raise UsageError(f"cell_seconds={cell_seconds!r}: expected a number of seconds above 0")
