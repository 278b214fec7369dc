"""A server's answer to a chat request as a `Completion`."""

from __future__ import annotations

import math
from typing import Literal

from leafe_gym.errors import PolicyError
from leafe_gym.policies.http.failures import MAX_QUOTE, Transient
from leafe_gym.types import Completion, Json, Sampled, Usage, is_call_count

CUT = frozenset({"length", "max_tokens", "max_length", "model_length"})
BROKEN_OFF = frozenset({"error", "abort", "aborted", "insufficient_system_resource"})
FILTERED = frozenset({"content_filter", "safety", "recitation", "blocklist", "prohibited_content"})
"""Values of `finish_reason`; any other ends a whole reply."""


def read_reply(answer: Json, name: str, max_tokens: int, retries: int) -> Completion:
    """The completion that a response holds.

    Args:
        answer: the response's JSON.
        name: the policy, for messages.
        max_tokens: most tokens of the reply; tells whether one without `finish_reason` was cut.
        retries: failed tries before it.

    Raises:
        Transient: if it holds no reply.
        PolicyError: if it holds one that cannot be used.
    """
    choice, message = _choice(answer)
    reason = _reason(choice.get("finish_reason"))
    if reason in BROKEN_OFF:
        raise Transient(f"the server broke the reply off: finish_reason {reason}", outage=False)
    if reason in FILTERED:
        raise PolicyError(f"{name}: the server's content filter withheld the reply ({reason})")
    text, thinking = _content(message, name)
    usage = _usage(answer)
    if not reason:
        if not text:
            raise Transient("the reply is empty and has no finish_reason", outage=False)
        reason = "length" if (usage.completion_tokens or 0) >= max_tokens else "stop"
    finish: Literal["stop", "length"] = "length" if reason in CUT else "stop"
    if not text and finish == "stop":
        _refuse_empty(message, thinking, name)
    return Completion(
        text=text,
        reasoning=thinking,
        finish_reason=finish,
        usage=usage,
        retries=retries,
        sampled=_sampled(answer, choice),
    )


def _choice(answer: Json) -> tuple[dict[str, Json], dict[str, Json]]:
    """The first choice and its message.

    Raises:
        Transient: if there is none.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Transient(f"the response holds no choice: {str(answer)[:MAX_QUOTE]}", outage=False)
    return choice, message


def _reason(given: Json) -> str:
    """The finish reason in lower case; SGLang's own interface has a dict with a type."""
    if isinstance(given, dict):
        given = given.get("type")
    return given.lower() if isinstance(given, str) else ""


def _content(message: dict[str, Json], name: str) -> tuple[str, str]:
    """Answer and thinking of a message.

    Raises:
        PolicyError: if the content is neither text, a list of parts nor null.
    """
    content = message.get("content")
    text, thinking = content, ""
    if isinstance(content, list):
        text = "".join(_part(part, "text", "refusal") for part in content)
        thinking = "".join(_part(part, "thinking", "reasoning") for part in content)
    for key in ("reasoning_content", "reasoning"):
        if not thinking and isinstance(message.get(key), str):
            thinking = message[key]
    if text is None or text == "":
        refusal = message.get("refusal")
        text = refusal if isinstance(refusal, str) else ""
    if not isinstance(text, str):
        raise PolicyError(f"{name}: the reply's content is {str(text)[:MAX_QUOTE]!r}")
    return _encodable(text), _encodable(thinking)


def _part(part: Json, *keys: str) -> str:
    """The text of one part of a content, under one of `keys`; "" for parts of another kind."""
    if isinstance(part, str):
        return part if "text" in keys else ""
    for key in keys:
        found = part.get(key) if isinstance(part, dict) else None
        if isinstance(found, list):  # Mistral's thinking holds parts of text
            return "".join(_part(inner, "text") for inner in found)
        if isinstance(found, str):
            return found
    return ""


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no file can hold, replaced."""
    return text.encode("utf-8", "replace").decode()


def _refuse_empty(message: dict[str, Json], thinking: str, name: str) -> None:
    """Raise for a reply without an answer that holds something else.

    Raises:
        PolicyError: if it does.
    """
    if message.get("tool_calls") or message.get("function_call"):
        raise PolicyError(
            f"{name}: the reply is a tool call without text; start the server without a tool-call "
            "parser"
        )
    if thinking:
        raise PolicyError(
            f"{name}: the reply holds reasoning and no answer; check the server's reasoning parser"
        )


def _usage(answer: dict[str, Json]) -> Usage:
    """Token counts as the server reports them; None for anything that cannot be one."""
    reported = answer.get("usage")
    counts = reported if isinstance(reported, dict) else {}

    def count(name: str) -> int | None:
        found = counts.get(name)
        return found if is_call_count(found) else None

    return Usage(prompt_tokens=count("prompt_tokens"), completion_tokens=count("completion_tokens"))


def _sampled(answer: dict[str, Json], choice: dict[str, Json]) -> Sampled | None:
    """The reply's tokens in vLLM's form, where they are there."""
    prompt, ids = _ids(answer.get("prompt_token_ids")), _ids(choice.get("token_ids"))
    if prompt is None or ids is None:
        return None
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    parts = content if isinstance(content, list) else []
    found: list[Json] = [one.get("logprob") for one in parts if isinstance(one, dict)]
    usable = len(found) == len(ids) and all(
        type(one) in (int, float) and -math.inf < one < math.inf for one in found
    )
    return Sampled(prompt_ids=prompt, ids=ids, logprobs=tuple(found) if usable else ())


def _ids(given: Json) -> tuple[int, ...] | None:
    """Token ids, or None for anything else."""
    if isinstance(given, list) and all(type(one) is int and 0 <= one < 2**31 for one in given):
        return tuple(given)
    return None
