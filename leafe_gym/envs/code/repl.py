"""The Gymnasium environment `leafe/PythonREPL-v0`."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from inspect import signature
from random import Random
from typing import Any

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.arguments import whole_number
from leafe_gym.envs.arguments import check_above_zero
from leafe_gym.envs.code.extract import MAX_CODE, extract_code
from leafe_gym.envs.code.judge_result import stable
from leafe_gym.envs.code.program_runner import close_sandbox
from leafe_gym.envs.code.repl_goals import KINDS, GoalProgress, ReplGoal
from leafe_gym.envs.code.repl_state import ReplState
from leafe_gym.envs.tasks import TaskList, check_split, list_arguments, split_by_hash, tag_of
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import (
    BackendError,
    RestoreMismatch,
    SandboxError,
    SandboxUnavailable,
    SnapshotRefused,
    SnapshotUnsupported,
    UsageError,
)
from leafe_gym.sandbox.base import (
    CellResult,
    Sandbox,
    SandboxSnapshot,
    check_sandbox_choice,
    make_sandbox,
)
from leafe_gym.types import Json, Task

ENV_ID = "leafe/PythonREPL-v0"
SEEDS = 1000
"""Number of seeds over which the tasks of all splits are distributed."""

MAX_OUTPUT = 4000
_MAX_FILE = 2**20

_INSTRUCTION = """You have a live Python session with a folder of files. Each answer is a cell of \
code that runs in the session; its variables and files stay. You see what it prints, or its \
error. You have {steps} cells.

{goal}"""


class PythonReplEnv(TextEnv):
    """A Python session with files, and a task to do in it.

    An action is a cell of code; the observation is its output or traceback. After each cell the
    work folder is inspected from outside the sandbox. The reward is 1 when the task is done, which
    ends the episode, and 0 otherwise. `info["score"]` is the fraction that is done;
    `info["feedback"]` names damage that cannot be undone.

    The state is the interpreter's memory and the files together, so a rollback restores variables
    and files. Memory addresses in outputs are masked; string hashing and `random` are seeded.
    Outputs that depend on the clock are not reproducible.

    An environment belongs to the first process that uses it: after a fork, its methods raise
    `ForkedUse` in the child, except `close` and `release_state`, which have no effect on the
    parent's session.

    Args:
        kind: kind of task, a key of `repl_goals.KINDS`; default any.
        goal: seed of the only task; default a new one with each seed of `reset`.
        split: use tasks of this split only; default all.
        max_steps: cells of an episode; >= 1.
        cell_seconds: time limit of a cell; > 0.
        sandbox: name of the sandbox in which the session runs; see `leafe_gym.sandbox`.
        allow_unsandboxed: run code without isolation if the host cannot run the sandbox.
        sandbox_options: further arguments of `make_sandbox`, such as a container image.

    Raises:
        UsageError: if an argument cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompts": "code"}  # noqa: RUF012
    one_of = ("goal",)
    action_form = "a string, a cell of code"
    process_bound = "a PythonREPL environment"

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
        _check(kind, goal, split, cell_seconds)
        check_sandbox_choice(sandbox, allow_unsandboxed, sandbox_options)
        super().__init__(whole_number("max_steps", max_steps, 1))
        self._kind = kind
        self._goal_seed = goal
        self._split = split
        self._seconds = cell_seconds
        self._make = (sandbox, allow_unsandboxed, dict(sandbox_options or {}))
        self._sandbox: Sandbox | None = None
        self._blank: SandboxSnapshot | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._seed = 0
        self._goal: ReplGoal | None = None
        self._cells: tuple[tuple[str, str], ...] = ()
        self._score = 0.0

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """Tasks of a split; a task's content decides its split.

        Args:
            split: "train", "val" or "test".
            kwargs: arguments of the environment; `goal` and `split` are the tasks' own.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        given = list_arguments(split, kwargs, (*cls.one_of, "split"))
        if unknown := given.keys() - signature(cls.__init__).parameters.keys():
            raise UsageError(f"unknown arguments: {', '.join(sorted(unknown))}")
        cls(**given)
        kind = given.get("kind")
        changed = {k: v for k, v in given.items() if not k.startswith(("sandbox", "allow"))}
        tag = tag_of(changed)

        def build(seed: int) -> Task:
            return Task(
                id=f"{ENV_ID}:{seed}{tag}",
                env_id=ENV_ID,
                kwargs={**given, "goal": seed},
                split=split,
            )

        return TaskList(build, lambda: [n for n in range(SEEDS) if _split(kind, n) == split])

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Start a task in a new session.

        Raises:
            SandboxError: if no session can be started.
        """
        chosen = self._goal_seed
        while chosen is None:
            drawn = int(self.np_random.integers(2**31))
            if self._split is None or _split(self._kind, drawn) == self._split:
                chosen = drawn
        goal = self._start(chosen)
        files = ", ".join(sorted(goal.files)) or "none"
        instruction = _INSTRUCTION.format(steps=self.max_steps, goal=goal.text)
        return Opening(f"Files: {files}", instruction, self._score)

    def play(self, action: str) -> StepOutcome:
        """Run a cell: plain code, or a code fence among other text.

        Raises:
            SandboxError: if the session is lost and cannot be rebuilt.
        """
        cell = extract_code(action)
        observation, progress = self._run_with_recovery(cell)
        self._cells = (*self._cells, (cell, observation))
        self._score = progress.score
        return StepOutcome(
            observation,
            reward=float(progress.done),
            terminated=progress.done,
            won=progress.done,
            score=progress.score,
            feedback=progress.remark,
        )

    def get_state(self) -> ReplState:
        """The episode with a snapshot of the session; `release_state` releases the snapshot.

        If the session holds something that no snapshot can hold, such as a live thread, the state
        names it in `replayed`. `set_state` then runs the cells again and compares their output,
        the variables and the files.

        Raises:
            ResetNeeded: if no episode was started.
            ForkedUse: after a fork, in the child.
            BackendError: if the sandbox cannot save the session.
        """
        self._bind()
        self._started(self._goal)
        sandbox = self._started(self._sandbox)
        try:
            snapshot = sandbox.snapshot()
        except SnapshotRefused as refusal:
            return self._state_to_replay(str(refusal))
        except SandboxError:  # the session was lost: rebuild it
            self._replay(self._seed, cells := self._cells)
            self._cells = cells
            sandbox = self._started(self._sandbox)
            try:
                snapshot = sandbox.snapshot()
            except SnapshotRefused as refusal:
                return self._state_to_replay(str(refusal))
            except SandboxError as error:
                raise BackendError(f"the session could not be saved: {error}") from error
        return ReplState(self._seed, self._cells, self._over, self._score, sandbox, snapshot)

    def set_state(self, state: ReplState) -> None:
        """Restore a state; if its snapshot is lost, replay its cells and compare their output.

        Raises:
            UsageError: if `state` was not returned by `get_state`.
            ForkedUse: after a fork, in the child.
            SnapshotUnsupported: if the state was released.
            BackendError: if the state cannot be restored.
            RestoreMismatch: if the output of a replayed cell differs.
        """
        self._bind()
        if not isinstance(state, ReplState):
            raise UsageError(f"state {state!r:.80}: expected what get_state() returned")
        state.guard.check()
        if state.released:
            raise SnapshotUnsupported("the state was released")
        try:
            if state.snapshot is None:
                self._replay_verified(state)
            elif state.sandbox is self._sandbox:
                self._sandbox.restore(state.snapshot)
            else:
                self._adopt(state.sandbox.branch(state.snapshot))
        except SandboxError:
            self._replay(state.seed, state.cells)
        self._seed, self._goal = state.seed, _goal(self._kind, state.seed)
        self._cells, self._over, self._score = state.cells, state.over, state.score
        self._steps = len(state.cells)

    def release_state(self, state: ReplState) -> None:
        """Release the snapshot of a state; safe to call twice."""
        state.snapshot, state.released = None, True
        state.drop()

    @property
    def sandbox_kind(self) -> str:
        """The sandbox in use; before the first session, the requested one."""
        return self._make[0] if self._sandbox is None else self._sandbox.kind

    def close(self) -> None:
        """End the session; after a fork, the child only drops its references."""
        super().close()
        self._end_session()

    def _end_session(self) -> None:
        self._sandbox = self._blank = self._goal = None
        finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            with suppress(SandboxError):  # the sandbox is discarded anyway
                finalizer()

    def _start(self, seed: int) -> ReplGoal:
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
        self._seed, self._goal, self._cells = seed, goal, ()
        self._score = self._progress().score
        return goal

    def _fresh_session(self) -> None:
        """Restore the session to its empty state, or start a new one."""
        if self._sandbox is not None and self._blank is not None:
            try:
                self._sandbox.restore(self._blank)
            except SandboxError:
                self._end_session()
            else:
                return
        self._end_session()
        kind, allowed, options = self._make
        sandbox = make_sandbox(kind, allow_unsandboxed=allowed, **options)
        sandbox.start()
        self._adopt(sandbox)
        self._blank = sandbox.snapshot()

    def _adopt(self, sandbox: Sandbox) -> None:
        self._end_session()
        self._sandbox = sandbox
        self._finalizer = weakref.finalize(self, close_sandbox, sandbox, ProcessGuard("a sandbox"))

    def _run_with_recovery(self, cell: str) -> tuple[str, GoalProgress]:
        """Run a cell and inspect the files; rebuilds a lost session and tries once more.

        A session that dies twice was ended by the cell itself.
        """
        for _ in range(2):
            try:
                return self._run(cell), self._progress()
            except SandboxError as error:
                self._recover(error)
        return "The session ended and was restored to its state before this cell.", self._progress()

    def _recover(self, error: SandboxError) -> None:
        cells, score = self._cells, self._score
        try:
            self._replay(self._seed, cells)
        except BackendError as failure:
            raise SandboxError(f"{error}; {failure}") from failure
        self._cells, self._score = cells, score

    def _replay(self, seed: int, cells: Sequence[tuple[str, str]]) -> None:
        try:
            self._end_session()
            self._start(seed)
            for number, (cell, shown) in enumerate(cells):
                again = self._run(cell)
                if again != shown:
                    raise RestoreMismatch(
                        f"the session was lost, and the output of replayed cell {number} differs",
                        step=number,
                    )
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            raise BackendError(f"the session was lost and cannot be rebuilt: {error}") from error

    def _state_to_replay(self, reason: str) -> ReplState:
        """The state of a session that no snapshot can hold."""
        assert self._sandbox is not None
        try:
            digest = _digest_of(self._sandbox)
        except SandboxError as error:
            raise BackendError(f"the session could not be saved: {error}") from error
        state = ReplState(self._seed, self._cells, self._over, self._score, self._sandbox, None)
        state.replayed, state.digest = reason, digest
        return state

    def _replay_verified(self, state: ReplState) -> None:
        """Run the cells of a state again, and compare the result with it."""
        self._replay(state.seed, state.cells)
        assert self._sandbox is not None
        if _digest_of(self._sandbox) != state.digest:
            raise RestoreMismatch(
                f"{state.replayed}; after its cells were run again, variables or files differ",
                step=len(state.cells),
            )

    def _run(self, cell: str) -> str:
        assert self._sandbox is not None
        if not cell.strip() or len(cell) > MAX_CODE:
            return f"No code, or more than {MAX_CODE} characters of it."
        return _shown(self._sandbox.run_cell(cell, timeout=self._seconds), self._seconds)

    def _progress(self) -> GoalProgress:
        assert self._goal is not None
        return self._goal.check(self._read)

    def _read(self, path: str) -> bytes | None:
        assert self._sandbox is not None
        try:
            return self._sandbox.read_file(path, _MAX_FILE)
        except (OSError, UsageError):
            return None


def _digest_of(sandbox: Sandbox) -> str:
    """Digest of variables and files; "" for a sandbox that computes none."""
    compute = getattr(sandbox, "state_digest", None)
    return "" if compute is None else str(compute())


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


def _check(kind: str | None, goal: int | None, split: str | None, cell_seconds: float) -> None:
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        raise UsageError(f"kind={kind!r}: use one of {', '.join(sorted(KINDS))}, or None for any")
    if goal is not None:
        whole_number("goal", goal, 0)
    check_split(split, optional=True)
    check_above_zero("cell_seconds", cell_seconds, "seconds")
