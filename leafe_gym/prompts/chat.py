"""The prompt set `chat`: one append-only conversation, JSON reflections.

Append-only: a turn never changes once it is written, so a server's prefix cache holds all earlier
turns. Acting with an experience and reflecting add a suffix to the last user turn. Only a cut that
fits a prompt into the model's window changes earlier turns, see `leafe_gym.prompts.fitting`.

A prompt set of your own is shortest as a subclass with other `templates`; see
`examples/06_own_prompts.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from string import Template
from typing import Any, ClassVar

from leafe_gym._fingerprint import code_fingerprint
from leafe_gym.errors import BadReply, UsageError
from leafe_gym.prompts import parse
from leafe_gym.prompts.base import ReflectionVerdict
from leafe_gym.prompts.fitting import FULL, note, rendered, shortened
from leafe_gym.types import Completion, Experience, Json, Message, PromptFit, Start, Step, Task

PLACEHOLDERS: Mapping[str, tuple[set[str], set[str]]] = {
    "system": (set(), set()),
    "first": ({"observation"}, {"instruction"}),
    "turn": ({"observation"}, {"number"}),
    "over": ({"observation"}, {"number"}),
    "experience": ({"text"}, set()),
    "reflect": (set(), {"outcome", "feedback", "last"}),
    "refine": (set(), {"outcome", "feedback", "last"}),
}
"""Template -> placeholders it must have, and those it may have. `$$` stands for a dollar sign."""


@cache
def _shipped() -> dict[str, str]:
    folder = resources.files("leafe_gym.prompts") / "templates"
    return {
        name: (folder / f"chat_{name}.txt").read_text("utf-8").removesuffix("\n")
        for name in PLACEHOLDERS
    }


class ChatPrompts:
    """Chats for instruction-tuned models; actions are numbered from 0 in the turns.

    Attributes:
        templates: texts that replace the shipped ones, by the names in `PLACEHOLDERS`; a subclass
            sets those it changes. "experience", "reflect" and "refine" are appended to a turn.
        hash: covers the templates and, for a class outside this package, its code.

    Raises:
        UsageError: for a template with an unknown name, or an unknown or missing placeholder.
    """

    name = "chat"
    reflection_schema: Json = parse.ReflectionReply.model_json_schema()
    templates: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self._texts = _templates(type(self).__qualname__, self.templates)
        parts = [template.template for template in self._texts.values()]
        if not type(self).__module__.startswith("leafe_gym."):
            parts.append(code_fingerprint(type(self)))
        self.hash = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
        fit: PromptFit = FULL,
    ) -> list[Message]:
        """See `PromptSet.render`; shows the full history as far as it fits."""
        texts = self._texts
        first = texts["first"].substitute(
            instruction=start.instruction or task.instruction, observation=start.observation
        )
        chat: list[Message] = [
            {"role": "system", "content": texts["system"].substitute()},
            {"role": "user", "content": first + note(fit.dropped)},
        ]
        number, turns = 0, [1]  # turns[n]: the last turn before action n
        for index, step in enumerate(steps):
            number += step.action is not None
            if index >= fit.dropped:
                if index < fit.shortened:
                    step = replace(step, observation=shortened(step.observation))
                chat += self.render_step(step, number)
            # An unusable reply repeats the number: an experience goes into the newest such turn.
            turns[number:] = [len(chat) - 1]
        for experience in experiences:
            if experience.step < len(turns):
                at = turns[experience.step]
                added = texts["experience"].substitute(text=experience.text)
                chat[at] = {"role": "user", "content": chat[at]["content"] + added}
        return chat

    def render_step(self, step: Step, number: int) -> list[Message]:
        """See `PromptSet.render_step`."""
        template = self._texts["over" if step.over else "turn"]
        turn = template.substitute(observation=step.observation, number=number)
        return [{"role": "assistant", "content": step.reply}, {"role": "user", "content": turn}]

    def render_reflection(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
        fit: PromptFit = FULL,
    ) -> list[Message]:
        """See `PromptSet.render_reflection`."""
        chat = rendered(self.render, task, start, steps, experiences, fit)
        return self._request("reflect", chat, steps)

    def render_refinement(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
        fit: PromptFit = FULL,
    ) -> list[Message]:
        """See `PromptSet.render_refinement`."""
        chat = rendered(self.render, task, start, steps, experiences, fit)
        return self._request("refine", chat, steps)

    def _request(self, kind: str, chat: list[Message], steps: Sequence[Step]) -> list[Message]:
        acted = [step for step in steps if step.action is not None]
        over = bool(steps) and steps[-1].over
        request = self._texts[kind].substitute(
            outcome="The attempt failed." if over else "The task is not done yet.",
            feedback=self._comments(acted),
            last=len(acted) - 1,
        )
        last = chat[-1]
        return [*chat[:-1], {"role": last["role"], "content": last["content"] + request}]

    def parse_action(self, completion: Completion) -> str:
        """See `PromptSet.parse_action`; the last line is `Action: ...`."""
        return parse.read_action(completion)

    def parse_reflection(self, completion: Completion, actions: int) -> ReflectionVerdict:
        """See `PromptSet.parse_reflection`; one JSON object."""
        reply, repaired = parse.read_json(completion, parse.ReflectionReply)
        if reply.step is None:
            return ReflectionVerdict(step=None, repaired=repaired)
        if reply.step >= actions:
            raise BadReply(f"step {reply.step} was not taken; the last one is {actions - 1}")
        if not reply.experience.strip():
            raise BadReply("it names a step but no experience")
        return ReflectionVerdict(step=reply.step, text=reply.experience, repaired=repaired)

    def parse_refinement(self, completion: Completion) -> ReflectionVerdict:
        """See `PromptSet.parse_refinement`; one JSON object."""
        reply, repaired = parse.read_json(completion, parse.RefinementReply)
        if not reply.experience.strip():
            raise BadReply("its experience is empty")
        return ReflectionVerdict(step=0, text=reply.experience, repaired=repaired)

    def unusable_reply_message(self, reason: str) -> str:
        """See `PromptSet.unusable_reply_message`."""
        return f"Your reply could not be used: {reason}. Nothing was done."

    def _comments(self, acted: Sequence[Step]) -> str:
        """The environment's own comments on the actions, one line each; "" without any."""
        lines = [
            f"- {self._named(number, step)}: {step.info['feedback']}"
            for number, step in enumerate(acted)
            if step.info.get("feedback")
        ]
        return "\n".join(["Comments of the environment:", *lines, ""]) if lines else ""

    def _named(self, number: int, step: Step) -> str:
        return f"action {number} ({step.action})"


def _templates(owner: str, changed: Any) -> dict[str, Template]:
    """The shipped templates with some replaced, checked."""
    if not isinstance(changed, Mapping):
        raise UsageError(f"{owner}.templates={changed!r}: expected a dict of texts")
    unknown = [name for name in changed if name not in PLACEHOLDERS]
    if unknown:
        raise UsageError(
            f"{owner}.templates has no entry {unknown[0]!r}; there are: {', '.join(PLACEHOLDERS)}"
        )
    found = {}
    for name, text in {**_shipped(), **changed}.items():
        if not isinstance(text, str):
            raise UsageError(f"{owner}.templates[{name!r}]={text!r}: expected a text")
        found[name] = Template(text)
        needed, allowed = PLACEHOLDERS[name]
        if not found[name].is_valid():
            raise UsageError(f"{owner}.templates[{name!r}]: write a dollar sign as $$")
        present = set(found[name].get_identifiers())
        if wrong := sorted(needed - present) or sorted(present - needed - allowed):
            problem = "lacks" if wrong[0] in needed else "has an unknown placeholder"
            raise UsageError(f"{owner}.templates[{name!r}] {problem} ${wrong[0]}")
    return found
