"""The prompt set `chat`: one append-only conversation, JSON reflections.

Append-only: every turn is written once and never changes, so a server's prefix cache holds all of
it. What differs between acting, reflecting and acting on a tip is a suffix of the last user turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from string import Template

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.base import Verdict
from leafe_gym.types import Completion, Experience, Json, Message, Start, Step, Task

_NAMES = ("system", "first", "turn", "over", "tip", "reflect", "refine")


@cache
def _templates() -> dict[str, Template]:
    folder = resources.files("leafe_gym.prompts") / "templates"
    return {
        name: Template((folder / f"chat_{name}.txt").read_text("utf-8").removesuffix("\n"))
        for name in _NAMES
    }


class ChatPrompts:
    """Chats for instruction-tuned models; actions are numbered from 0 in the turns."""

    name = "chat"
    reflection_schema: Json = parse.ReflectionReply.model_json_schema()

    def __init__(self) -> None:
        text = "\0".join(template.template for template in _templates().values())
        self.hash = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`; shows the full history."""
        texts = _templates()
        first = texts["first"].substitute(
            instruction=start.instruction or task.instruction, observation=start.observation
        )
        chat: list[Message] = [
            {"role": "system", "content": texts["system"].template},
            {"role": "user", "content": first},
        ]
        number, turns = 0, [1]  # turns[n]: the last turn before action n
        for step in steps:
            chat.append({"role": "assistant", "content": step.reply})
            number += step.action is not None
            template = texts["over"] if step.over else texts["turn"]
            turn = template.substitute(observation=step.observation, number=number)
            chat.append({"role": "user", "content": turn})
            # An unusable reply repeats the number: what is said for an action stays behind it.
            turns[number:] = [len(chat) - 1]
        for tip in experiences:
            if tip.step < len(turns):
                turn = chat[turns[tip.step]]["content"] + texts["tip"].substitute(text=tip.text)
                chat[turns[tip.step]] = {"role": "user", "content": turn}
        return chat

    def render_reflection(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render_reflection`."""
        return self._look_back("reflect", self.render(task, start, steps, experiences), steps)

    def render_refinement(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render_refinement`."""
        return self._look_back("refine", self.render(task, start, steps, experiences), steps)

    def _look_back(self, kind: str, chat: list[Message], steps: Sequence[Step]) -> list[Message]:
        acted = [step for step in steps if step.action is not None]
        over = bool(steps) and steps[-1].over
        request = _templates()[kind].substitute(
            outcome="The attempt failed." if over else "The task is not done yet.",
            feedback=self._comments(acted),
            last=len(acted) - 1,
        )
        last = chat[-1]
        return [*chat[:-1], {"role": last["role"], "content": last["content"] + request}]

    def parse_action(self, completion: Completion) -> str:
        """See `PromptSet.parse_action`; the last line is `Action: ...`."""
        return parse.read_action(completion)

    def parse_reflection(self, completion: Completion, actions: int) -> Verdict:
        """See `PromptSet.parse_reflection`; one JSON object."""
        reply, repaired = parse.read_json(completion, parse.ReflectionReply)
        if reply.step is None:
            return Verdict(step=None, repaired=repaired)
        if reply.step >= actions:
            raise BadReply(f"step {reply.step} was not taken; the last one is {actions - 1}")
        if not reply.experience.strip():
            raise BadReply("it names a step but no experience")
        return Verdict(step=reply.step, text=reply.experience, repaired=repaired)

    def parse_refinement(self, completion: Completion) -> Verdict:
        """See `PromptSet.parse_refinement`; one JSON object."""
        reply, repaired = parse.read_json(completion, parse.RefinementReply)
        if not reply.experience.strip():
            raise BadReply("its experience is empty")
        return Verdict(step=0, text=reply.experience, repaired=repaired)

    def unusable(self, reason: str) -> str:
        """See `PromptSet.unusable`."""
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
