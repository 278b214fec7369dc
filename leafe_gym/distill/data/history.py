"""The history before a row: its prompt, its hash and its leak check, continued step by step.

Rows of one attempt are asked for in the order of its steps, so each needs little more than the row
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from leafe_gym.distill.data.leaks import HistoryCheck, LeakCheck
from leafe_gym.distill.data.row_types import RowKind
from leafe_gym.prompts.base import PromptSet
from leafe_gym.prompts.fitting import extends
from leafe_gym.tree import Tree
from leafe_gym.types import Message, PromptFit, Step

_FULL = PromptFit()


class RowHistory:
    """The history before a row of one tree.

    Args:
        tree: the tree.
        prompts: the run's prompt set. One with `render_step` is append-only: its prompts are
            continued instead of rendered anew.
    """

    def __init__(self, tree: Tree, prompts: PromptSet) -> None:
        self._tree = tree
        self._prompts = prompts
        self._leaks = LeakCheck(tree, prompts)
        self._render_step = _step_renderer(prompts)
        self._whole: list[Message] | None = None
        self._restart()

    @property
    def prompt(self) -> list[Message]:
        """The prompt after the history, without experiences; not to be changed."""
        return self._chat if self._whole is None else self._whole

    def move_to(self, steps: Sequence[Step], fit: PromptFit = _FULL) -> None:
        """Continue with `steps`, all steps before the row, whose prompt is cut by `fit`."""
        done = len(self._steps)
        if len(steps) < done or any(a is not b for a, b in zip(self._steps, steps, strict=False)):
            self._restart()
            done = 0
        for step in steps[done:]:
            self._steps.append(step)
            self._check.add(step)
            self._actions += step.action is not None
            if self._render_step is not None:
                self._extend(self._render_step(step, self._actions))
        self._whole = None
        if self._render_step is None or fit != _FULL:
            render: Any = self._prompts.render
            options = {} if fit == _FULL else {"fit": fit}
            self._whole = render(self._tree.task, self._tree.start, self._steps, (), **options)

    def leak(self, step: Step, target: str) -> str | None:
        """Why the row with this target leaks; None if it does not. See `HistoryCheck.reason`."""
        return self._check.reason(step, target, self._whole)

    def row_hash(self, kind: RowKind, target: str) -> bytes:
        """Equal for rows of one kind with the same prompt and target."""
        if self._whole is None:
            digest = self._hash.copy()
        else:
            digest = blake2b(digest_size=16)
            _add_turns(digest, self._whole)
        _add(digest, target)
        _add(digest, kind)
        return digest.digest()

    def _restart(self) -> None:
        self._steps: list[Step] = []
        self._actions = 0
        self._check = HistoryCheck(self._leaks)
        self._hash = blake2b(digest_size=16)
        self._chat: list[Message] = []
        if self._render_step is not None:
            self._extend(self._prompts.render(self._tree.task, self._tree.start, [], ()))

    def _extend(self, turns: list[Message]) -> None:
        self._chat += turns
        self._check.add_turns(turns)
        _add_turns(self._hash, turns)


def _step_renderer(prompts: PromptSet) -> Callable[[Step, int], list[Message]] | None:
    """The method `render_step` of a set, where it may be used."""
    return prompts.render_step if extends(prompts) else None  # type: ignore[attr-defined]


def _add_turns(digest: blake2b, turns: Sequence[Message]) -> None:
    for turn in turns:
        _add(digest, turn["role"])
        _add(digest, turn["content"])


def _add(digest: blake2b, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)
