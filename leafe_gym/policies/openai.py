"""A model behind an OpenAI-compatible server as a policy: vLLM, SGLang, llama.cpp, a cloud.

One layer of retries, with one deadline over all tries of a call: the client's own retries are off.
Failures are of three classes:

* transient: no connection, 408, 409, 425, 429, 5xx, a malformed response. The call is tried again.
* of this request: any other 4xx, a filtered reply. `PolicyError`.
* of the server: wrong key, no such model, no quota, a chat template without a system role, or no
  connection or success after all tries. `PolicyUnavailable`, which ends a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from leafe_gym._optional import require
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Json, Message, Sampling, Usage

TRANSIENT = (408, 409, 425, 429)
"""Status codes below 500 after which another try may succeed."""
REMEDIES = {
    401: "check the API key",
    402: "check the account's quota and billing",
    403: "check the API key and its permissions",
    404: "check the model's name and the base URL",
}
"""Status codes that every request to the server gets -> what to do."""
MAX_PAUSE = 30.0
"""Longest pause between two tries, in seconds, unless the server names one."""
MAX_BODY = 300
"""Longest part of a server's message that is quoted, in characters."""
_NO_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
_NO_ROLE = re.compile(r"system role|roles must alternate", re.IGNORECASE)
_TAG = re.compile(r"<[^>]{0,200}>")


class _Transient(Exception):
    """Another try may succeed, after `pause` seconds if the server named a time.

    Attributes:
        outage: after the last try this is a failure of the server, not of the request.
    """

    def __init__(self, reason: str, pause: float | None = None, *, outage: bool = True) -> None:
        super().__init__(reason)
        self.pause = pause
        self.outage = outage


class _SchemaRefused(Exception):
    """The server refuses structured output."""


@dataclass(slots=True)
class _Connection:
    """The client of one event loop, and its bound on requests at the same time."""

    client: Any
    slots: asyncio.Semaphore
    keeper: asyncio.Task[None]


class OpenAIPolicy:
    """See the module.

    Attributes:
        name: model, server and settings; never the key.

    Args:
        model: as the server calls it.
        base_url: such as "http://127.0.0.1:8000/v1".
        api_key: default the environment variable OPENAI_API_KEY, else none.
        concurrency: most requests at the same time.
        deadline: seconds for a call, all its tries and pauses together; waiting for one of the
            `concurrency` slots does not count.
        tries: most tries of a call.
        structured: ask for replies that satisfy a JSON schema where one is known; switched off
            for good when the server refuses it.
        extra: further fields of the request, such as `{"top_k": 20}`.
        prompts: the only prompt set that the model knows, if there is one.

    Raises:
        UsageError: for an argument of another type or range.
        MissingExtra: without the openai package.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        concurrency: int = 256,
        deadline: float = 300.0,
        tries: int = 6,
        structured: bool = True,
        extra: Mapping[str, Any] | None = None,
        prompts: PromptSource | None = None,
    ) -> None:
        for name, text in (("model", model), ("base_url", base_url)):
            if not isinstance(text, str) or not text:
                raise UsageError(f"{name}={text!r}: expected a text")
        if not re.match(r"https?://[^\s/]", base_url):
            raise UsageError(
                f"base_url={base_url!r}: expected a URL such as 'http://127.0.0.1:8000/v1'"
            )
        for name, count in (("concurrency", concurrency), ("tries", tries)):
            if type(count) is not int or count < 1:
                raise UsageError(f"{name}={count!r}: expected a whole number >= 1")
        number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if not number or not 0 < deadline < float("inf"):
            raise UsageError(f"deadline={deadline!r}: expected a number of seconds > 0")
        if extra is not None and not isinstance(extra, Mapping):
            raise UsageError(f"extra={extra!r}: expected a dict of request fields")
        require("openai", "openai", "the policy 'openai'")  # its absence shows at once
        self.prompts = prompts
        self.model = model
        self.base_url = base_url
        self._key = _clean_key(api_key)
        self._concurrency, self._deadline, self._tries = concurrency, deadline, tries
        self._structured = bool(structured)
        self._extra = dict(extra or {})
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = (
            WeakKeyDictionary()
        )
        about = hashlib.blake2b(repr(sorted(self._extra.items())).encode(), digest_size=3)
        self.name = f"openai:{model}@{base_url}" + (f":{about.hexdigest()}" if extra else "")

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if this request failed: it was refused, or took longer than `deadline`.
            PolicyUnavailable: if the server cannot be reached or refuses every request.
        """
        connection = self._connection()
        last = _Transient("there was no response yet", outage=False)
        tried = 0
        try:
            async with connection.slots, asyncio.timeout(self._deadline):
                while True:
                    tried += 1
                    try:
                        return await self._try(connection.client, messages, sampling, tried - 1)
                    except _SchemaRefused:
                        self._structured = False
                        tried -= 1
                    except _Transient as error:
                        last = error
                        if tried == self._tries:
                            break
                        await asyncio.sleep(_pause(tried, error.pause))
        except TimeoutError:
            limit = f"within {self._deadline:g} s, {tried} tries"
        else:
            limit = f"in {tried} tries"
        message = f"{self.name}: no reply {limit}; the last: {last}"
        raise PolicyUnavailable(message) if last.outage else PolicyError(message)

    def _connection(self) -> _Connection:
        """The client of the running loop; closed when the loop ends."""
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key,
                max_retries=0,
                timeout=self._deadline,
                http_client=_fast_client(),
            )
            self._connections[loop] = _Connection(
                client, asyncio.Semaphore(self._concurrency), loop.create_task(_keep(client))
            )
        return self._connections[loop]

    async def _try(
        self, client: Any, messages: Sequence[Message], sampling: Sampling, retries: int
    ) -> Completion:
        import openai

        fields: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "extra_body": self._extra or None,
        }
        if asked := self._structured and sampling.json_schema is not None:
            schema = {"name": "reply", "strict": True, "schema": sampling.json_schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            answer = await client.chat.completions.create(**fields)
        except openai.APIStatusError as error:
            if asked and error.status_code in (400, 422):
                raise _SchemaRefused from error
            raise self._classified(error) from error
        except openai.APIConnectionError as error:  # its timeouts among them
            causes = _causes(error)
            # Some transports report a refused connection as a timeout of connecting.
            slow = isinstance(error, openai.APITimeoutError) and not any(
                "Connect" in type(cause).__name__ for cause in causes
            )
            said = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes[:2])
            raise _Transient(said[:MAX_BODY], outage=not slow) from error
        except ValueError as error:
            reason = f"the response is not JSON: {error}"
            raise _Transient(reason, outage=False) from error
        return self._read(answer, retries)

    def _classified(self, error: Any) -> Exception:
        """What a status other than 200 means for the call."""
        code, said = error.status_code, _quoted(error)
        message = f"{self.name}: HTTP {code}: {said}"
        if code == 429 and _NO_QUOTA.search(said):
            return PolicyUnavailable(f"{message}: {REMEDIES[402]}")
        if code >= 500 or code in TRANSIENT:
            return _Transient(f"HTTP {code}: {said}", _seconds(error.response))
        if code in REMEDIES:
            return PolicyUnavailable(f"{message}: {REMEDIES[code]}")
        if _NO_ROLE.search(said):
            return PolicyUnavailable(
                f"{message}: the model's chat template refuses the prompt set's messages; use "
                "another prompt set or template"
            )
        return PolicyError(message)

    def _read(self, answer: Any, retries: int) -> Completion:
        try:
            choice = answer.choices[0]
            message, reason = choice.message, choice.finish_reason
            content = message.content
        except (AttributeError, IndexError, TypeError):
            shown = str(answer)[:MAX_BODY]
            raise _Transient(f"the response holds no choice: {shown}", outage=False) from None
        if reason in ("error", "abort"):
            raise _Transient(f"the server broke the reply off: {reason}", outage=False)
        if reason == "content_filter":
            raise PolicyError(f"{self.name}: the server's content filter withheld the reply")
        text = _text(content) or getattr(message, "refusal", None) or ""
        if not isinstance(text, str):
            raise PolicyError(f"{self.name}: the reply's content is {str(content)[:MAX_BODY]!r}")
        if not text and reason != "length":
            if getattr(message, "tool_calls", None):
                raise PolicyError(f"{self.name}: the reply is a tool call without text")
            for name in ("reasoning_content", "reasoning"):
                if getattr(message, name, None):
                    raise PolicyError(f"{self.name}: the reply holds {name} and no answer")
        return Completion(
            text=text,
            finish_reason="length" if reason == "length" else "stop",
            usage=Usage(
                prompt_tokens=_count(answer, "prompt_tokens"),
                completion_tokens=_count(answer, "completion_tokens"),
            ),
            retries=retries,
        )


def _clean_key(given: str | None) -> str:
    """The API key without surrounding white space.

    Raises:
        UsageError: if it cannot stand in an HTTP header; the key itself is not shown.
    """
    key = given if given is not None else os.environ.get("OPENAI_API_KEY", "")
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]*", key.strip()):
        raise UsageError("api_key: expected printable ASCII characters without white space")
    return key.strip() or "none"


def _text(content: Json) -> Json:
    """A message's content; a list of parts is joined."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return "".join(part for part in parts if isinstance(part, str))


def _count(answer: Any, name: str) -> int | None:
    """A token count as the server reports it; None for anything but a whole number >= 0."""
    count = getattr(getattr(answer, "usage", None), name, None)
    return count if type(count) is int and count >= 0 else None


def _quoted(error: Any) -> str:
    """What an error response says, in one line, wherever the server put it."""
    body = error.body
    if isinstance(body, dict):
        # The client already unpacks {"error": ...}; others use "detail" or "message".
        found = [body[key] for key in ("message", "detail", "error", "code") if body.get(key)]
        said = " ".join(one if isinstance(one, str) else repr(one) for one in found) or repr(body)
    elif isinstance(body, str) and body.strip():
        said = _TAG.sub(" ", body)
    else:
        said = str(error.message)
    return " ".join(said.split())[:MAX_BODY]


def _pause(tried: int, named: float | None) -> float:
    """Seconds before the next try: twice as long each time, and never less than the server names.

    The random factor keeps many callers from retrying at the same moment.
    """
    own = min(MAX_PAUSE, 0.25 * 2.0**tried) * random.uniform(0.5, 1.0)
    return max(own, named or 0.0)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what led to it, outermost first."""
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found


def _seconds(response: Any) -> float | None:
    """The Retry-After header in seconds; one that names a date counts as absent."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None


def _fast_client() -> Any:
    """A transport for hundreds of requests at a time; None, the usual one, where it is absent."""
    from openai import DefaultAioHttpClient

    try:
        return DefaultAioHttpClient()
    except RuntimeError:
        return None


async def _keep(client: Any) -> None:
    """Close a client when its loop ends, which cancels all that still runs."""
    try:
        await asyncio.Event().wait()
    finally:
        await client.close()


def openai_policy(model: str, base_url: str, **options: Any) -> OpenAIPolicy:
    """The policy called "openai"; see `OpenAIPolicy`."""
    return OpenAIPolicy(model, base_url, **options)
