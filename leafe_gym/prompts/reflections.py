"""The form of a reflection: its JSON schema, the text that asks for it, and its parser.

The keys have the order in which a model should write them: first the reason, then the step,
then the experience, so that the decision follows from the diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.base import ReflectionVerdict
from leafe_gym.types import Completion, Json

LONGEST_REASON = 300
LONGEST_EXPERIENCE = 500
"""Lengths in characters that a schema allows, so that a reply ends within a few hundred tokens; a
reply that was made without the schema may be longer."""


class ReflectionReply(BaseModel):
    """The JSON of a reflection; a refinement and a reflection on one action have no step."""

    model_config = ConfigDict(strict=True, extra="forbid")
    reason: str | None = ""
    step: int | None = None
    experience: Annotated[str, Field(max_length=parse.MAX_EXPERIENCE)] | None = ""


def reflection_schema(actions: int, over: bool) -> dict[str, Json]:
    """See `PromptSet.reflection_schema`; every key is required."""
    properties: dict[str, Json] = {
        "reason": {"type": "string", "minLength": 1, "maxLength": LONGEST_REASON},
    }
    if not asks_no_step(actions, over):
        number: Json = {"type": "integer", "minimum": 0, "maximum": actions - 1}
        properties["step"] = number if over else {"anyOf": [number, {"type": "null"}]}
    properties["experience"] = {
        "type": "string",
        "minLength": 1 if over else 0,
        "maxLength": LONGEST_EXPERIENCE,
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def reflection_form(actions: int, over: bool, reason: str, experience: str) -> str:
    """The sentences that ask for a reflection in this form.

    Args:
        actions: number of actions taken, >= 1.
        over: whether the episode ended.
        reason: what "reason" is to say.
        experience: what "experience" is to say.
    """
    keys = [f'"reason": "<{reason}>"']
    if not asks_no_step(actions, over):
        which = f"0 to {actions - 1}" if actions > 1 else "0"
        keys.append(f'"step": <number of that action, {which}>')
    keys.append(f'"experience": "<{experience}>"')
    text = f"Answer with one JSON object and nothing else:\n{{{', '.join(keys)}}}"
    if not over:
        text += (
            '\nIf no action was a mistake, answer {"reason": "no mistake", "step": null, '
            '"experience": ""}.'
        )
    return text


def asks_no_step(actions: int, over: bool) -> bool:
    """Whether there is only one step that could be named."""
    return over and actions == 1


def read_reflection(
    completion: Completion,
    actions: int,
    prompt_texts: Iterable[str],
    unnamed: int | None = None,
) -> ReflectionVerdict:
    """The reflection in a reply.

    After a single action every named step is that action.

    Args:
        completion: the reply.
        actions: number of actions taken, >= 1.
        prompt_texts: texts of the prompt; an experience that only repeats sentences of them is
            refused.
        unnamed: the step that is meant by a reply without the key "step"; None where a step must
            be named.

    Raises:
        BadReply: if it cannot be read, its step is out of range or it holds no experience.
    """
    reply, repaired = parse.read_json(completion, ReflectionReply)
    step, text = reply.step, reply.experience or ""
    if "step" not in reply.model_fields_set:
        step = 0 if actions == 1 else unnamed
        if step is None:
            raise BadReply("its JSON is wrong: step: Field required")
    elif actions == 1 and step is not None:
        step = 0
    if step is None:
        return ReflectionVerdict(step=None, repaired=repaired)
    if not 0 <= step < actions:
        raise BadReply(f"step {step} was not taken; the last one is {actions - 1}")
    if not text.strip():
        raise BadReply("it names a step but no experience")
    if _copied(text, prompt_texts):
        raise BadReply("its experience only repeats the prompt")
    return ReflectionVerdict(step=step, text=text, repaired=repaired)


def _copied(text: str, prompt_texts: Iterable[str]) -> bool:
    """Whether every sentence of `text` has three or more words and stands in one of the texts."""
    sentences = [words for one in re.split(r"[.!?\n]+", text) if (words := _words(one))]
    prompts = [f" {_words(one)} " for one in prompt_texts]
    return all(
        words.count(" ") >= 2 and any(f" {words} " in prompt for prompt in prompts)
        for words in sentences
    )


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
