"""What a response other than a reply means for the call."""

from __future__ import annotations

import email.utils
import http
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from leafe_gym.errors import ContextFull, PolicyError, PolicyUnavailable
from leafe_gym.policies.http.transport import Response
from leafe_gym.types import Json

MAX_QUOTE = 300
"""Longest part of a server's message that is quoted, in characters."""
TRANSIENT = (408, 409, 425, 429)
"""Status codes below 500 after which another try may succeed."""
GONE = (502, 503, 504)
"""Status codes of a proxy whose server is down, or of a server that is not ready."""
REMEDIES = {
    401: "check the API key",
    402: "check the account's quota and billing",
    403: "check the API key and its permissions",
    404: "check the model's name and the base URL, which usually ends in /v1",
    405: "check the base URL, which usually ends in /v1",
    407: "check the proxy (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), its user name and password",
    410: "check the model's name and the base URL",
    429: "use a smaller `concurrency`",
    501: "check the base URL, which usually ends in /v1",
    503: "see the server's log",
}
"""Status codes that every request to the server gets -> what to do."""
NO_SERVER = "start the server, or check the base URL"
ROLES = "the model's chat template refuses the prompt set's messages; use another prompt set"
TEMPLATE = "use an instruction-tuned model, or start the server with a chat template"

_NO_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing|credit", re.I)
NO_ROLE = re.compile(
    r"system.?role|roles must alternate|must alternate between|only user and assistant roles|"
    r"(system|developer) (message|prompt|instruction)s?\b.{0,40}\bnot (supported|enabled|allowed)|"
    r"not (support|allow)\b.{0,20}\bsystem\b",
    re.I,
)
"""In a refusal: the model's chat template takes no system message, or other roles only."""
_NO_TEMPLATE = re.compile(
    r"(provide|no|without|needs|require[sd]?|have) (an? )?chat.template|"
    r"chat.template\b.{0,40}\b(is not set|not found|missing)",
    re.I,
)
_NO_MODEL = re.compile(r"model_not_found|model\b.{0,200}(does not exist|not found)", re.I | re.S)
_BAD_KEY = re.compile(r"(invalid|incorrect|missing|valid|no)\W+api.?key|api.?key not valid", re.I)
_CONTEXT = re.compile(
    r"context[ _](length|size|window|limit)|maximum model length|max_model_len|"
    r"(prompt|input) is too long|too long to fit|reduce the length of|input token count|"
    r"inputs?`? tokens \+|exceed_context|longer than the model|context exceed|"
    r"maximum prompt length|allowed input length|prompt token count|input tokens exceed",
    re.I,
)
_WINDOW = re.compile(
    r"(?:context length|max_model_len|context size)(?: is| of|=)?\D{0,4}(\d+)",
    re.I,
)
_TOO_MANY = re.compile(
    r"max_(?:completion_|new_)?tokens\b.{0,60}(too large|less than|<=|cannot be greater|exceed)|"
    r"at most \d+ (completion|output) tokens",
    re.I,
)
_HIDDEN = re.compile(r"<(style|script)\b.{0,20000}?</\1>", re.I | re.S)
_TAG = re.compile(r"<[^>]{0,200}>")


class Transient(Exception):
    """Another try may succeed.

    Attributes:
        pause: seconds that the server names until then, or None.
        outage: after the last try this is a failure of the server, not of the request.
        gone: the server itself is down, so that another one should be used.
        busy: the server is up and has too much to do; another one is not used instead.
        remedy: what to do about it, or "".
    """

    def __init__(
        self,
        reason: str,
        *,
        pause: float | None = None,
        outage: bool = True,
        gone: bool = False,
        busy: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(reason)
        self.pause, self.outage, self.remedy = pause, outage, remedy
        self.gone, self.busy = gone, busy


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What an error response says.

    Attributes:
        status: HTTP status, or the one that a body with status 200 names.
        said: its text in one line, shortened.
        named: the request's field that it blames, or "".
        pause: seconds until the next try that it names, or None.
    """

    status: int
    said: str
    named: str
    pause: float | None = None


def problem_of(response: Response, status: int | None = None) -> ErrorResponse:
    """What a response that holds no reply says, wherever the server put it.

    Args:
        response: of the server.
        status: if the response's JSON names another than its own.
    """
    status = status or response.status
    named = ""
    try:
        said, named = _said(response.json())
    except ValueError:
        text = response.body.decode("utf-8", "replace")
        said = _TAG.sub(" ", _HIDDEN.sub(" ", text))
    said = " ".join(said.split())
    if not said:
        known = {one.value: one.phrase for one in http.HTTPStatus}
        said = known.get(status, "no text")
    return ErrorResponse(status, said[:MAX_QUOTE], named, named_pause(response.headers))


def _said(body: Json) -> tuple[str, str]:
    """Text and blamed field of an error's JSON."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return str(body), ""
    inner = body.get("error")
    error = {**body, **inner} if isinstance(inner, dict) else body
    metadata = error.get("metadata")  # OpenRouter's place for the provider's own message
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    texts, named = [], error.get("param")
    for found in (*(error.get(key) for key in ("message", "detail", "error", "msg")), raw):
        if isinstance(found, list):  # pydantic: [{"loc": ["body", "seed"], "msg": ...}]
            parts = [_located(one) for one in found]
            texts.append("; ".join(text for text, _ in parts))
            named = named or next((where for _, where in parts if where), None)
        elif isinstance(found, dict) and found is not inner:
            texts.append(_said(found)[0])
        elif isinstance(found, str):
            texts.append(found)
    kinds = [error.get("code"), error.get("type")] if isinstance(inner, dict) else []
    texts += [
        one for one in kinds if isinstance(one, str) and re.search("context_|_quota|not_found", one)
    ]
    said = " ".join(texts) if any(texts) else str(body)
    return said, named if isinstance(named, str) else ""


def _located(one: Json) -> tuple[str, str]:
    """Text and field of one element of a validation error; its `input` is the request itself."""
    if not isinstance(one, dict):
        return str(one), ""
    named = one.get("loc") or ()
    parts = named if isinstance(named, list | tuple) else [named]
    where = [str(part) for part in parts if part != "body"]
    return f"{'.'.join(where)}: {one.get('msg', '')}", where[0] if where else ""


def failure(problem: ErrorResponse, name: str, max_tokens: int) -> PolicyError | Transient:
    """The error for a response that refuses the call.

    Args:
        problem: what the response says.
        name: the policy, for messages.
        max_tokens: most tokens of the reply that was asked for.
    """
    status, said = problem.status, problem.said
    message = f"{name}: HTTP {status}: {said}"
    if status in (400, 413, 422, 500) and (_CONTEXT.search(said) or _TOO_MANY.search(said)):
        window = _WINDOW.search(said)
        if not _CONTEXT.search(said) or (window and int(window[1]) <= max_tokens):
            return PolicyUnavailable(f"{message}: use a max_tokens smaller than {max_tokens}")
        return ContextFull(message)
    if status == 429 and _NO_QUOTA.search(said):
        return PolicyUnavailable(f"{message}: {REMEDIES[402]}")
    if NO_ROLE.search(said):
        return PolicyUnavailable(f"{message}: {ROLES}")
    if _NO_TEMPLATE.search(said):
        return PolicyUnavailable(f"{message}: {TEMPLATE}")
    if status in (400, 404, 422, 500) and _NO_MODEL.search(said):
        return PolicyUnavailable(f"{message}: {REMEDIES[404]}")
    if status == 400 and _BAD_KEY.search(said):
        return PolicyUnavailable(f"{message}: {REMEDIES[401]}")
    if status in TRANSIENT or (status >= 500 and status != 501):
        remedy = REMEDIES.get(status, REMEDIES[503])
        return Transient(
            f"HTTP {status}: {said}",
            pause=problem.pause,
            gone=status in GONE,
            busy=status == 429,
            remedy=remedy,
        )
    if status in REMEDIES:
        return PolicyUnavailable(f"{message}: {REMEDIES[status]}")
    if status < 400:
        return PolicyUnavailable(f"{message}: {REMEDIES[405]}")
    return PolicyError(message)


def named_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, >= 0; it may hold a number or a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
