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
from importlib.resources.abc import Traversable
from typing import Any, ClassVar

from leafe_gym._fingerprint import code_fingerprint
from leafe_gym.errors import BadReply, UsageError
from leafe_gym.prompts import parse
from leafe_gym.prompts.actions import admissible_commands, choose_commands, read_action
from leafe_gym.prompts.base import ReflectionVerdict
from leafe_gym.prompts.fitting import FULL, note, rendered, shortened
from leafe_gym.prompts.reflections import read_reflection, reflection_form, reflection_schema
from leafe_gym.prompts.templates import TextTemplate
from leafe_gym.types import Completion, Experience, Json, Message, PromptFit, Start, Step, Task

LONGEST_LINE = 160
"""Characters of an action, and of a comment on it, that a request's list shows."""

REQUEST = {"outcome", "actions", "last", "action", "result", "form"}
"""Placeholders of a request to reflect: what became of the attempt, one line for each action with
its number, the last number, action and observation, and the form of the answer."""

PLACEHOLDERS: Mapping[str, tuple[set[str], set[str]]] = {
    "system": (set(), set()),
    "first": ({"observation"}, {"instruction"}),
    "turn": ({"observation"}, {"number"}),
    "over": ({"observation"}, {"number"}),
    "now": (set(), {"commands", "command"}),
    "experience": ({"text"}, set()),
    "reflect": (set(), REQUEST),
    "refine": (set(), REQUEST),
    "reason": (set(), set()),
    "advice": (set(), set()),
}
"""Template -> placeholders it must have, and those it may have. `$$` stands for a dollar sign.

"now" ends the last turn only; its placeholders stand for the possible commands, where the
environment lists them, and for "one of these commands" or else "the next command". "reason" and
"advice" say what these keys of a reflection hold.
"""


@cache
def _shipped() -> dict[str, str]:
    folder = resources.files("leafe_gym.prompts") / "templates"
    return {
        name: "" if name == "now" else _file(folder / f"chat_{name}.txt") for name in PLACEHOLDERS
    }


def _file(path: Traversable) -> str:
    return path.read_text("utf-8").removesuffix("\n")


class ChatPrompts:
    """Chats for instruction-tuned models; actions are numbered from 0 in the turns.

    Attributes:
        templates: texts that replace the shipped ones, by the names in `PLACEHOLDERS`; a subclass
            sets those it changes. "experience", "reflect" and "refine" are appended to a turn.
        reminder: ends the message about an unusable reply.
        names_step: whether a reflection after a failure names a step; if not, it is the last one.
        hash: covers the templates and, for a class outside this package, its code.

    Raises:
        UsageError: for a template with an unknown name, or an unknown or missing placeholder.
    """

    name = "chat"
    reminder: ClassVar[str] = 'Reply with one line that starts with "Action: ".'
    templates: ClassVar[Mapping[str, str]] = {}
    names_step: ClassVar[bool] = True

    def __init__(self) -> None:
        self._texts = _templates(type(self).__qualname__, self.templates)
        parts = [template.template for template in self._texts.values()] + [self.reminder]
        self._said = tuple(parts)
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
        if not (steps and steps[-1].over):
            listed = choose_commands(admissible_commands(start, steps))
            commands = f"Commands that are possible now: {', '.join(listed)}" if listed else ""
            one = "one of these commands" if listed else "the next command"
            now = self._texts["now"].substitute(commands=commands, command=one)
            chat[-1] = {"role": "user", "content": chat[-1]["content"] + now}
        return chat

    @property
    def append_only(self) -> bool:
        """Whether later prompts repeat the last turn unchanged."""
        return not self._texts["now"].template

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
        count = len(acted)
        texts = {name: self._texts[name].substitute() for name in ("reason", "advice")}
        shape = (1, True) if kind == "refine" else (self._nameable(count, over), over)
        request = self._texts[kind].substitute(
            outcome="The attempt failed." if over else "The task is not done yet.",
            actions="\n".join(self._line(number, step) for number, step in enumerate(acted)),
            last=count - 1,
            action=acted[-1].action if acted else "",
            result=acted[-1].observation if acted else "",
            form=reflection_form(*shape, texts["reason"], texts["advice"]),
        )
        last = chat[-1]
        return [*chat[:-1], {"role": last["role"], "content": last["content"] + request}]

    def reflection_schema(self, actions: int, over: bool) -> Json:
        """See `PromptSet.reflection_schema`."""
        return reflection_schema(self._nameable(actions, over), over)

    def _nameable(self, actions: int, over: bool) -> int:
        """Number of actions of which a reflection may name one."""
        return 1 if over and not self.names_step else actions

    def parse_action(self, completion: Completion, admissible: Sequence[str] = ()) -> str:
        """See `PromptSet.parse_action`; which forms count is said in `read_action`."""
        return read_action(parse.answer_text(completion), admissible)

    def parse_reflection(self, completion: Completion, actions: int) -> ReflectionVerdict:
        """See `PromptSet.parse_reflection`; one JSON object."""
        unnamed = None if self.names_step else actions - 1
        return read_reflection(completion, actions, self._said, unnamed)

    def parse_refinement(self, completion: Completion) -> ReflectionVerdict:
        """See `PromptSet.parse_refinement`; one JSON object."""
        verdict = read_reflection(completion, 1, self._said)
        if verdict.step is None:
            raise BadReply("it names no mistake")
        return verdict

    def unusable_reply_message(self, reason: str) -> str:
        """See `PromptSet.unusable_reply_message`."""
        return f"Your reply could not be used: {reason}. {self.reminder}"

    def _line(self, number: int, step: Step) -> str:
        """An action in the list of a request, with the environment's comment on it."""
        feedback = step.info.get("feedback")
        name = one_line(step.action or "")
        return f"- action {number} ({name})" + (f": {one_line(feedback)}" if feedback else "")


def one_line(text: object) -> str:
    """The first `LONGEST_LINE` characters of a text, in one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _templates(owner: str, changed: Any) -> dict[str, TextTemplate]:
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
        try:
            found[name] = TextTemplate(text)
        except ValueError as error:
            raise UsageError(f"{owner}.templates[{name!r}]: write a dollar sign as $$") from error
        needed, allowed = PLACEHOLDERS[name]
        present = found[name].names
        if wrong := sorted(needed - present) or sorted(present - needed - allowed):
            problem = "lacks" if wrong[0] in needed else "has an unknown placeholder"
            raise UsageError(f"{owner}.templates[{name!r}] {problem} ${wrong[0]}")
    return found
