"""Controls of the tree: prompt sets that take one part of its mechanism away.

A control wraps a prompt set. The parsers return the replacement of the model's choice, so the
branch stores it, prompts show it and the leak check searches for it. It is a function of the seed
and the reply only, so it does not depend on timing, concurrency or the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, cast

from leafe_gym.errors import UsageError
from leafe_gym.prompts.base import PromptSet
from leafe_gym.seeds import derive_rng
from leafe_gym.store.records import checksum, dump
from leafe_gym.types import Completion, Experience, Json, Message, Start, Step, Task

RENDER_METHODS = ("render", "render_reflection", "render_refinement")


@dataclass(frozen=True, slots=True)
class Donor:
    """An experience that may be shown in another task.

    Attributes:
        task: id of the task it comes from; "" for none.
        text: e.
    """

    task: str
    text: str


def withhold_experiences(prompts: PromptSet) -> PromptSet:
    """`prompts`, with no experience in any prompt: tau without e.

    Branches still store their experience, and steps name the branch, as if it had been shown.
    """
    return cast("PromptSet", _Withheld(prompts, "no-experience", None))


def swap_experiences(prompts: PromptSet, donors: Sequence[Donor], seed: int) -> PromptSet:
    """`prompts`, with the text of every experience replaced by that of another task.

    The parsers draw from all donors, because they do not get the task; a draw of the task's own
    experience is replaced when it is rendered.

    Args:
        prompts: what to wrap.
        donors: of at least two tasks, or of none.
        seed: of the draws.

    Raises:
        UsageError: if all donors are of one task, or there is no donor.
    """
    return cast("PromptSet", _Swapped(prompts, tuple(donors), seed))


def random_tau(prompts: PromptSet, seed: int) -> PromptSet:
    """`prompts`, with tau drawn uniformly from 0..t-1 wherever a reflection names a step."""
    return cast("PromptSet", _RandomTau(prompts, "random-tau", {"seed": seed}))


class _Control:
    """A prompt set that passes everything on to another one."""

    def __init__(self, prompts: PromptSet, label: str, identity: Json) -> None:
        self._prompts: Any = prompts
        self.name = f"{prompts.name}+{label}"
        self.hash = checksum(dump([prompts.hash, label, identity]))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pickle asks before `_prompts` is there
            raise AttributeError(name)
        value = getattr(self._prompts, name)
        return self._rendering(value) if name in RENDER_METHODS else value

    def _rendering(self, method: Callable[..., list[Message]]) -> Callable[..., list[Message]]:
        """A render method of the wrapped set, with other experiences; its signature stays."""

        @wraps(method)
        def render(
            task: Task,
            start: Start,
            steps: Sequence[Step],
            experiences: Sequence[Experience] = (),
            **fit: Any,
        ) -> list[Message]:
            return method(task, start, steps, self._shown(task, experiences), **fit)

        return render

    def _shown(self, task: Task, experiences: Sequence[Experience]) -> Sequence[Experience]:
        """The experiences that are rendered in place of `experiences`."""
        return experiences


class _Withheld(_Control):
    def _shown(self, task: Task, experiences: Sequence[Experience]) -> Sequence[Experience]:
        return ()


class _Swapped(_Control):
    def __init__(self, prompts: PromptSet, donors: tuple[Donor, ...], seed: int) -> None:
        owners = {donor.task for donor in donors}
        if not donors or (len(owners) == 1 and owners != {""}):
            raise UsageError(
                "donors of at least two tasks are needed, so that each task has another task's"
            )
        pairs = [[donor.task, donor.text] for donor in donors]
        super().__init__(prompts, "other-experience", {"seed": seed, "donors": pairs})
        self._donors, self._seed = donors, seed
        self._owners: dict[str, set[str]] = {}
        for donor in donors:
            self._owners.setdefault(donor.text, set()).add(donor.task)

    def parse_reflection(self, completion: Completion, actions: int) -> Any:
        """See `PromptSet.parse_reflection`."""
        return self._swap(self._prompts.parse_reflection(completion, actions), completion)

    def parse_refinement(self, completion: Completion) -> Any:
        """See `PromptSet.parse_refinement`."""
        return self._swap(self._prompts.parse_refinement(completion), completion)

    def _swap(self, verdict: Any, completion: Completion) -> Any:
        if verdict.step is None:
            return verdict
        return replace(verdict, text=_draw(self._donors, self._seed, completion.text).text)

    def _shown(self, task: Task, experiences: Sequence[Experience]) -> Sequence[Experience]:
        others = [donor for donor in self._donors if donor.task != task.id]
        return [
            replace(one, text=_draw(others, self._seed, task.id, one.text).text)
            if self._owners.get(one.text) == {task.id}
            else one
            for one in experiences
        ]


class _RandomTau(_Control):
    def __init__(self, prompts: PromptSet, label: str, identity: Json) -> None:
        super().__init__(prompts, label, identity)
        self._seed: int = identity["seed"]

    def parse_reflection(self, completion: Completion, actions: int) -> Any:
        """See `PromptSet.parse_reflection`."""
        verdict = self._prompts.parse_reflection(completion, actions)
        if verdict.step is None:
            return verdict
        rng = derive_rng(self._seed, "random tau", completion.text, actions)
        return replace(verdict, step=int(rng.integers(0, actions)))


def _draw(donors: Sequence[Donor], seed: int, *what: str) -> Donor:
    return donors[int(derive_rng(seed, "donor", *what).integers(0, len(donors)))]
