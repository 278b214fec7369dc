"""The body of a chat request, and which of its fields a server refuses.

Fields that a server refused are kept as a set of texts, which only grows:

| text | effect on later requests |
| --- | --- |
| a field's name | the field is left out; `max_tokens` is sent as `max_completion_tokens` instead |
| "seed >= 2**31" | seeds are sent modulo 2**31 |
| "temperature 0" | temperature 0 is sent as `NEARLY_GREEDY` |
| "lengths in schemas" | JSON schemas are sent without `minLength` and `maxLength` |
| "schema <digest>" | this JSON schema is left out |
| "messages without text" | they are sent with `leafe_gym.prompts.messages.NOTHING` |
| "system role" | the system text is sent at the start of the first user turn |

A request that is refused is sent again in the next form at once, so which requests came before it
does not change the form in which it is answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from leafe_gym.policies.http.failures import NO_ROLE
from leafe_gym.policies.http.schema import has_lengths, schema_digest, strict_schema
from leafe_gym.prompts.messages import without_blanks, without_system
from leafe_gym.types import Json, Message, Sampling

LARGE_SEED = "seed >= 2**31"
GREEDY = "temperature 0"
SCHEMA_LENGTHS = "lengths in schemas"
SYSTEM = "system role"
BLANKS = "messages without text"
NEARLY_GREEDY = 0.01
"""Temperature that servers get which refuse 0."""
IDS = ("return_token_ids", "logprobs")
"""Fields of vLLM that ask for token ids and their log probabilities."""
FIELDS = (
    *("response_format", "return_token_ids", "logprobs", "seed", "top_k", "top_p"),
    *("temperature", "max_tokens"),
)
"""Fields that can be left out, in the order in which a refusal's text is searched for them."""

_BLANK = re.compile(r"empty|blank|white.?space|must have (a |either )?(string|content)", re.I)
_SCHEMA = re.compile(
    r"response_format|json.?schema|structured|guided|grammar|schema|additionalProperties|"
    r"max_?length\b",
    re.IGNORECASE,
)
_GRAMMAR = re.compile(r"grammar|json.?schema|structured.?output|guided|outlines", re.IGNORECASE)
_UNSUPPORTED = re.compile(
    r"not support|unsupported|unrecogni[sz]ed|unknown|not permitted|forbidden|not available",
    re.IGNORECASE,
)
_PART = re.compile(r"grammar|regex|pattern|keyword|feature|propert|\bref\b", re.IGNORECASE)
"""What a refusal names that concerns one schema and not schemas as such."""
_OVERFLOW = re.compile(r"too large to convert|out of range|overflow|too big", re.IGNORECASE)
_POSITIVE = re.compile(r"positive|greater than|> ?0|above 0", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What all requests of a policy have in common.

    Attributes:
        structured: whether JSON schemas are sent.
        chat_template_kwargs: arguments of the server's chat template.
        extra: further fields; they take precedence, and None leaves a field out.
    """

    structured: bool = True
    chat_template_kwargs: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)


def request_body(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    refused: frozenset[str],
    options: RequestOptions,
) -> dict[str, Json]:
    """The body of a chat request, without what the server refuses."""
    body: dict[str, Json] = {
        "model": model,
        "messages": without_system(messages) if SYSTEM in refused else list(messages),
        "temperature": sampling.temperature,
        "seed": sampling.seed % 2**31 if LARGE_SEED in refused else sampling.seed,
        "max_tokens": sampling.max_tokens,
    }
    if BLANKS in refused:
        body["messages"] = without_blanks(body["messages"])
    if sampling.temperature == 0 and GREEDY in refused:
        body["temperature"] = NEARLY_GREEDY
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.return_ids:
        body.update(dict.fromkeys(IDS, True))
    if options.structured and sampling.json_schema is not None:
        schema = strict_schema(sampling.json_schema, lengths=SCHEMA_LENGTHS not in refused)
        if f"schema {schema_digest(schema)}" not in refused:
            wanted = {"name": "reply", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    if options.chat_template_kwargs:
        body["chat_template_kwargs"] = dict(options.chat_template_kwargs)
    for name in refused & body.keys():
        del body[name]
    if "max_tokens" in refused:
        body["max_completion_tokens"] = sampling.max_tokens
    body.update(options.extra)
    return {name: value for name, value in body.items() if value is not None}


def refused_part(
    body: Mapping[str, Json], status: int, named: str, said: str, extra: Mapping[str, Json]
) -> str | None:
    """What of a request a server refuses, as an element of the set of refused fields.

    Args:
        body: the request.
        status: of the response.
        named: the field that the response names as the cause, or "".
        said: the response's text.
        extra: the user's own fields, which are never left out.

    Returns:
        None if nothing can be left out.
    """
    there = [name for name in FIELDS if name in body and name not in extra]
    if status >= 500:
        if "response_format" in there and _GRAMMAR.search(said):
            return _schema(body)
        return _seed(body) if "seed" in there and _OVERFLOW.search(said) else None
    for text in (named, said):
        for name in there:
            pattern = _SCHEMA if name == "response_format" else re.compile(rf"\b{name}\b")
            if pattern.search(text):
                return _next_form(body, name, said)
    # Nothing is named. What changes no reply, or is asked for in the prompt too, is left out.
    if "response_format" in there:
        return _schema(body)
    for name in IDS:
        if name in there:
            return name
    return LARGE_SEED if "seed" in there and body["seed"] >= 2**31 else None


def refused_messages(body: Mapping[str, Json], status: int, said: str) -> str | None:
    """What of the messages a server refuses, as an element of the set of refused fields."""
    if status not in (400, 422, 500):
        return None
    if NO_ROLE.search(said):
        return SYSTEM
    if _BLANK.search(said) and without_blanks(body["messages"]) != body["messages"]:
        return BLANKS
    return None


def refused_own(status: int, problem: str, options: RequestOptions) -> str:
    """What to do about a refused field that the user set; "" if it is none of these."""
    if status >= 500:
        return ""
    if options.chat_template_kwargs and "chat_template_kwargs" in problem:
        return "the server refuses `chat_template_kwargs`: remove it"
    for name in options.extra:
        if re.search(rf"\b{re.escape(name)}\b", problem):
            return f"remove {name!r} from `extra`"
    return ""


def _next_form(body: Mapping[str, Json], name: str, said: str) -> str:
    """What to do about a field that was named."""
    if name == "response_format":
        as_such = _UNSUPPORTED.search(said) and not _PART.search(said)
        return name if as_such else _schema(body)
    if name == "seed":
        unknown = _UNSUPPORTED.search(said) and not re.search(r"rang|integer|less", said)
        return name if unknown else _seed(body)
    if name == "temperature" and body["temperature"] == 0 and _POSITIVE.search(said):
        return GREEDY
    return name


def _seed(body: Mapping[str, Json]) -> str:
    return LARGE_SEED if body["seed"] >= 2**31 else "seed"


def _schema(body: Mapping[str, Json]) -> str:
    schema = body["response_format"]["json_schema"]["schema"]
    return SCHEMA_LENGTHS if has_lengths(schema) else f"schema {schema_digest(schema)}"
