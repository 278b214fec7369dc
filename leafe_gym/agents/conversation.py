"""The prompts along one attempt, each turn rendered and encoded once.

An attempt that runs and one that is charged, or read back from a store, make the same prompts of
the same path; both use a `Conversation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from leafe_gym.agents.config import AgentConfig
from leafe_gym.agents.plan import AttemptPlan
from leafe_gym.budget import CallSize, Tokenizer, measure
from leafe_gym.prefixes import PromptEncoder
from leafe_gym.prompts.base import PromptSet
from leafe_gym.prompts.fitting import FULL, extends, rendered
from leafe_gym.tree import actions_in
from leafe_gym.types import Experience, Message, PromptFit, Step, Usage


class SharedMessage(dict[str, Any]):
    """A message that stands in many prompts; it cannot be changed. Copies of it can."""

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise TypeError(
            "a prompt's messages are shared with later prompts and cannot be changed: copy them "
            "first, for example with [dict(message) for message in messages]"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """An acting prompt, and what it was rendered from."""

    experiences: tuple[Experience, ...]
    fit: PromptFit
    steps: int
    actions: int
    messages: list[Message]


class Conversation:
    """The path of one attempt, and the prompts on it.

    Args:
        plan: the attempt.
        prompts: renders.
        config: how long an experience is shown.

    Attributes:
        path: all steps so far from the start of the episode; read only.
        actions: how many of them reached the environment.
    """

    def __init__(self, plan: AttemptPlan, prompts: PromptSet, config: AgentConfig) -> None:
        self.plan = plan
        self.path = list(plan.prefix)
        self.actions = actions_in(self.path)
        self._prompts = prompts
        self._config = config
        self._extends = extends(prompts)
        self._encoder = PromptEncoder()
        self._last: _Rendered | None = None

    @property
    def first_fit(self) -> PromptFit:
        """The cut that the attempt begins with: the one that its history was acted in."""
        return self.plan.prefix[-1].fit if self.plan.prefix else FULL

    def add(self, step: Step) -> None:
        """Append a step."""
        self.path.append(step)
        self.actions += step.action is not None

    @property
    def shown(self) -> tuple[int, ...]:
        """The branches whose experience is in the prompt."""
        return tuple(branch for branch, _ in self._in_force())

    def acting(self, fit: PromptFit) -> list[Message]:
        """The acting prompt."""
        experiences = tuple(experience for _, experience in self._in_force())
        self._last = _Rendered(
            experiences, fit, len(self.path), self.actions, self._messages(experiences, fit)
        )
        return list(self._last.messages)

    def reflecting(self, fit: PromptFit) -> list[Message]:
        """The reflecting (or refining) prompt."""
        refine = self.plan.reflection == "refine"
        render = self._prompts.render_refinement if refine else self._prompts.render_reflection
        plan, experiences = self.plan, [experience for _, experience in self._in_force()]
        return _shared(rendered(render, plan.task, plan.task_start, self.path, experiences, fit))

    def size(
        self, messages: list[Message], reply: str, usage: Usage, tokenizer: Tokenizer | None
    ) -> CallSize:
        """The size of a call, see `measure`."""
        return measure(messages, reply, usage, tokenizer, self._encoder)

    def _in_force(self) -> list[tuple[int, Experience]]:
        return self.plan.in_force(self.actions, self._config.until)

    def _messages(self, experiences: tuple[Experience, ...], fit: PromptFit) -> list[Message]:
        last = self._last
        if last is None or not self._continues(last, experiences, fit):
            plan, render = self.plan, self._prompts.render
            return _shared(
                rendered(render, plan.task, plan.task_start, self.path, experiences, fit)
            )
        messages, number = last.messages, last.actions
        for step in self.path[last.steps :]:
            number += step.action is not None
            render_step: Any = self._prompts.render_step  # type: ignore[attr-defined]
            messages += _shared(render_step(step, number))
        return messages

    def _continues(
        self, last: _Rendered, experiences: tuple[Experience, ...], fit: PromptFit
    ) -> bool:
        """Whether the prompt is the last one and the turns since: no experience is in those."""
        return (
            self._extends
            and (last.experiences, last.fit) == (experiences, fit)
            and all(one.step < last.actions for one in experiences)
        )


def _shared(messages: Iterable[Message]) -> list[Message]:
    return [cast(Message, SharedMessage(message)) for message in messages]
