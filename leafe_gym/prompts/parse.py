"""Strict parsing of model replies: malformed JSON is repaired only where one reading is possible.

A reply that was cut at the token limit is refused even if it looks complete: JSON repair turns
`{"step": 1` (cut from 12) into 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeVar

import json_repair
from pydantic import BaseModel, ValidationError

from leafe_gym.errors import BadReply
from leafe_gym.prompts.thinking import BLOCKS, split_thinking
from leafe_gym.types import Completion, Json

MAX_REPLY = 64 * 1024
"""Longest reply that is parsed, in characters."""
MAX_REPAIRED = 8 * 1024
"""Longest JSON that is repaired, in characters: time grows with the square of the length."""
MAX_EXPERIENCE = 4000
MAX_NESTING = 8
"""Deepest JSON that is repaired; valid answers are flat."""
_END_OF_TURN = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>",
    "<|return|>", "<|END_OF_TURN_TOKEN|>", "</s>", "<end_of_turn>", "<eos>",
)  # fmt: skip
"""Marks that a server may leave at the end of a reply."""
_PROSE_BLOCKS = (
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
)
"""Blocks that a model writes as text, where it was asked to think; no template knows them."""
_TOKENS = re.compile(r"""\\.|["{}\[\]]""", re.DOTALL)
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"(\s*:)?', re.DOTALL)
"""A text in JSON; a colon follows a key."""
_Reply = TypeVar("_Reply", bound=BaseModel)


def answer_text(completion: Completion) -> str:
    """The reply without its leading thinking block and trailing end-of-turn marks.

    A thinking block may have been opened by the prompt: what stands before the first closing mark
    is thinking then. Of a reply in channels the answer is the final one.

    Raises:
        BadReply: if the reply was cut, is too long, or its thinking never ends.
    """
    if completion.finish_reason != "stop":
        raise BadReply("the reply was cut at the token limit")
    if len(completion.text) > MAX_REPLY:
        raise BadReply(f"the reply has {len(completion.text)} characters; at most {MAX_REPLY}")
    text = completion.text
    if text.lstrip().startswith("<|channel|>"):
        text = split_thinking(text)[1]
        if not text:
            raise BadReply("it has no final channel")
    for opening, closing in _PROSE_BLOCKS:
        if text.lstrip().startswith(opening) and closing in text:
            text = text.partition(closing)[2]
    for opening, closing in BLOCKS:
        thought, closed, rest = text.partition(closing)
        if text.lstrip().startswith(opening) and not closed:
            raise BadReply("the reply's thinking block is not closed")
        if closed and opening not in thought.lstrip().removeprefix(opening):
            text = rest
        if opening in text:
            raise BadReply("it thinks after its answer began")
    while (bare := text.rstrip()).endswith(_END_OF_TURN):
        text = bare[: bare.rindex("<")]
    return text


def read_json(completion: Completion, model: type[_Reply]) -> tuple[_Reply, bool]:
    """The reply as `model`, and whether its JSON had to be repaired.

    Raises:
        BadReply: if it cannot be read, or says something `model` forbids.
    """
    text = _unfenced(answer_text(completion).strip())
    try:
        read = model.model_validate_json(text)
    except ValidationError as error:
        first = error
    else:
        json.loads(text, object_pairs_hook=_refuse_duplicates)
        return read, False
    if "{" not in text:
        raise BadReply("it holds no JSON object")
    if is_json(text):  # well-formed but wrong: repairing would invent another answer
        raise BadReply(f"its JSON is wrong: {describe(first)}")
    broken = _only_object(text, tuple(model.model_fields))
    if len(broken) > MAX_REPAIRED:
        raise BadReply(f"its JSON is malformed and longer than {MAX_REPAIRED} characters")
    for name in model.model_fields:
        if len(_keys(broken, name)) > 1:
            raise BadReply(f"its JSON says {name!r} twice")
        if _several_numbers(broken, name):
            raise BadReply(f"its JSON says several things of {name!r}")
    try:
        repaired = json_repair.loads(broken, skip_json_loads=True)
    except (RecursionError, ValueError):
        raise BadReply("its JSON cannot be read") from None
    try:
        return model.model_validate(repaired), True
    except ValidationError as error:
        raise BadReply(f"its JSON is wrong: {describe(error)}") from None


def _unfenced(text: str) -> str:
    """The content of `text` if it is one Markdown code block, else `text`."""
    if text.startswith("```") and text.endswith("```"):
        language, _, body = text[3:-3].partition("\n")
        if language.strip() in ("", "json"):
            return body.strip()
    return text


def _refuse_duplicates(pairs: list[tuple[str, Json]]) -> Json:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise BadReply(f"its JSON says {name!r} twice")
    return dict(pairs)


def _keys(text: str, name: str) -> list[str]:
    """The places at which malformed JSON has a key, quoted or not."""
    quoted = re.findall(rf"""(?<!\\)["']{name}["']\s*:""", text)
    return quoted + re.findall(rf"[{{,]\s*{name}\s*:", _without_values(text))


def _without_values(text: str) -> str:
    """Malformed JSON with empty texts in place of those that are no keys."""
    return _TEXT.sub(lambda one: one[0] if one[1] else '""', text)


def _several_numbers(text: str, name: str) -> bool:
    """Whether more than a number stands behind a key of malformed JSON, as in `"step": 1 or 2`."""
    value = re.search(rf"""["']?\b{name}["']?\s*:\s*["']?-?\d+([^"'}}]*)""", _without_values(text))
    return bool(value and re.search(r"\d|\bor\b", value[1]))


def _only_object(text: str, names: Sequence[str]) -> str:
    """The one JSON object in `text`, from its first brace to its last.

    Of several, such as a dict that the prose before it quotes, the only one that has one of the
    keys `names`.

    Raises:
        BadReply: if it does not end, so that its values may have been cut, or is not the only one.
    """
    depth, begin, quoted = 0, 0, False
    found: list[str] = []
    for match in _TOKENS.finditer(text):
        token = match.group()
        if token == '"':
            quoted = depth > 0 and not quoted
        elif quoted or len(token) > 1 or (not depth and token != "{"):
            continue
        elif token in "{[":
            begin = begin if depth else match.start()
            depth += 1
            if depth > MAX_NESTING:
                raise BadReply("its JSON is nested too deeply")
        else:
            depth -= 1
            if not depth:
                found.append(text[begin : match.end()])
    if depth:
        raise BadReply("its JSON does not end")
    if len(found) > 1:
        keyed = [one for one in found if any(_keys(one, name) for name in names)]
        found = keyed if len(keyed) == 1 else found
    if len(found) != 1:
        raise BadReply(f"it holds {len(found) or 'no'} JSON objects")
    return found[0]


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
