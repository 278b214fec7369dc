"""Strict reading of model replies: refuse first, repair second, guess never.

A reply that was cut at the token limit is never a decision, however complete it looks: JSON repair
turns `{"step": 1` (cut from 12) into 1.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, TypeVar

import json_repair
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leafe_gym.errors import BadReply
from leafe_gym.types import Completion

MAX_REPLY = 64 * 1024
"""Longest reply that is looked at, in characters."""
MAX_ACTION = 2000
MAX_EXPERIENCE = 4000
_THINK = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_ACTION = re.compile(r"\s*Action:[ \t]*(.*?)\s*")
_Reply = TypeVar("_Reply", bound=BaseModel)
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


class ReflectionReply(BaseModel):
    """The JSON a reflection answers with."""

    model_config = ConfigDict(strict=True, extra="forbid")
    step: Annotated[int, Field(ge=0)] | None
    experience: Annotated[str, Field(max_length=MAX_EXPERIENCE)] = ""


class RefinementReply(BaseModel):
    """The JSON a refinement answers with."""

    model_config = ConfigDict(strict=True, extra="forbid")
    experience: Annotated[str, Field(min_length=1, max_length=MAX_EXPERIENCE)]


def visible_text(completion: Completion) -> str:
    """The reply without its leading thinking block.

    Raises:
        BadReply: if the reply was cut, is too long, or its thinking never ends.
    """
    if completion.finish_reason != "stop":
        raise BadReply("the reply was cut at the token limit")
    if len(completion.text) > MAX_REPLY:
        raise BadReply(f"the reply has {len(completion.text)} characters; at most {MAX_REPLY}")
    text = _THINK.sub("", completion.text, count=1)
    if "<think>" in text:
        raise BadReply("the reply's thinking block is not closed")
    return text


def read_action(completion: Completion) -> str:
    """The action in a reply that ends with a line `Action: ...`.

    Raises:
        BadReply: if the last line is none, or other action lines say something else.
    """
    lines = [line for line in visible_text(completion).splitlines() if line.strip()]
    found = [match.group(1) for line in lines if (match := _ACTION.fullmatch(line))]
    if not lines or not _ACTION.fullmatch(lines[-1]):
        raise BadReply("its last line is not of the form 'Action: <the action>'")
    if len(set(found)) > 1:
        raise BadReply("it names several actions")
    if not found[-1]:
        raise BadReply("its action is empty")
    if len(found[-1]) > MAX_ACTION:
        raise BadReply(f"its action has {len(found[-1])} characters; at most {MAX_ACTION}")
    return found[-1]


def read_json(completion: Completion, model: type[_Reply]) -> tuple[_Reply, bool]:
    """The reply as `model`, and whether its JSON had to be repaired.

    Raises:
        BadReply: if it cannot be read, or says something `model` forbids.
    """
    text = visible_text(completion)
    fenced = _FENCE.fullmatch(text)
    text = (fenced.group(1) if fenced else text).strip()
    try:
        return model.model_validate_json(text), False
    except ValidationError as error:
        first = error
    if "{" not in text:
        raise BadReply("it holds no JSON object")
    if is_json(text):  # well-formed but wrong: repairing would invent another answer
        raise BadReply(f"its JSON is wrong: {describe(first)}")
    try:
        repaired = json_repair.loads(text, skip_json_loads=True)
    except (RecursionError, ValueError):
        raise BadReply("its JSON cannot be read") from None
    try:
        return model.model_validate(repaired), True
    except ValidationError as error:
        raise BadReply(f"its JSON is wrong: {describe(error)}") from None


def is_json(text: str) -> bool:
    """Whether `text` is one well-formed JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def describe(error: ValidationError) -> str:
    """The first complaint, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
