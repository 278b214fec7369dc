"""A model behind an OpenAI-compatible server as a policy: vLLM, SGLang, llama.cpp, a cloud.

One layer of retries, with one deadline over all tries of a call: the client's own retries are off.
What the server gets wrong is sorted into what another try may mend (no connection, 408, 409, 429,
5xx, a reply that is none) and what it may not (a bad request, a wrong key, no such model).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from leafe_gym.errors import MissingExtra, PolicyError, UsageError
from leafe_gym.types import Completion, Message, Sampling, Usage

PASSING = (408, 409, 425, 429)
"""Status codes below 500 after which another try may succeed."""
LONGEST_PAUSE = 30.0
"""Seconds between two tries where the server does not say."""
MAX_BODY = 300
"""Longest part of a server's message that is quoted, in characters."""


class _Passing(Exception):
    """Another try may succeed; after `pause` seconds, where the server says so."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _NoSchema(Exception):
    """The server refuses structured output."""


@dataclass(slots=True)
class _Line:
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
        deadline: seconds for a call, all its tries and pauses together.
        tries: most tries of a call.
        structured: ask for replies that satisfy a JSON schema where one is known; given up for
            good when the server refuses.
        extra: further fields of the request, such as `{"top_k": 20}`.
        prompts: the prompt set agents use with it where they are told no other.

    Raises:
        UsageError: for a number out of range.
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
        extra: dict[str, Any] | None = None,
        prompts: str = "chat",
    ) -> None:
        if concurrency < 1 or tries < 1 or not deadline > 0:
            raise UsageError(
                f"concurrency={concurrency}, tries={tries}, deadline={deadline}: expected > 0"
            )
        try:
            import openai  # noqa: F401 - asked for here so that its absence shows at once
        except ImportError:
            raise MissingExtra("openai", "openai") from None
        self.prompts = prompts
        self.model = model
        self.base_url = base_url
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._concurrency, self._deadline, self._tries = concurrency, deadline, tries
        self._structured = structured
        self._extra = dict(extra or {})
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        about = hashlib.blake2b(repr(sorted(self._extra.items())).encode(), digest_size=3)
        self.name = f"openai:{model}@{base_url}" + (f":{about.hexdigest()}" if extra else "")

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if no reply could be had in time, or the server refused the request.
        """
        line = self._line()
        why = "it waited for a free slot"
        tried = 0
        try:
            async with asyncio.timeout(self._deadline), line.slots:
                while True:
                    tried += 1
                    try:
                        return await self._try(line.client, messages, sampling, tried - 1)
                    except _NoSchema:
                        self._structured = False
                        tried -= 1
                    except _Passing as error:
                        why = str(error)
                        if tried == self._tries:
                            break
                        await asyncio.sleep(_pause(tried, error.pause))
        except TimeoutError:
            raise PolicyError(
                f"{self.name}: no reply within {self._deadline:g} s, {tried} tries; the last: {why}"
            ) from None
        raise PolicyError(f"{self.name}: no reply in {tried} tries; the last: {why}")

    def _line(self) -> _Line:
        """The client of the running loop; closed when the loop ends."""
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        if loop not in self._lines:
            client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key,
                max_retries=0,
                timeout=self._deadline,
                http_client=_fast_client(),
            )
            self._lines[loop] = _Line(
                client, asyncio.Semaphore(self._concurrency), loop.create_task(_keep(client))
            )
        return self._lines[loop]

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
                raise _NoSchema from error
            raise self._sorted(error) from error
        except openai.APIConnectionError as error:  # its timeouts among them
            raise _Passing(f"{type(error).__name__}: {error}") from error
        except ValueError as error:  # a body that is no JSON
            raise _Passing(f"the reply is no JSON: {error}") from error
        return self._read(answer, retries)

    def _sorted(self, error: Any) -> Exception:
        """What a status other than 200 means for the call."""
        said = f"HTTP {error.status_code}: {str(error.message)[:MAX_BODY]}"
        if error.status_code >= 500 or error.status_code in PASSING:
            return _Passing(said, _seconds(error.response.headers.get("retry-after")))
        return PolicyError(f"{self.name}: {said}")

    def _read(self, answer: Any, retries: int) -> Completion:
        try:
            choice = answer.choices[0]
            text, reason = choice.message.content, choice.finish_reason
        except (AttributeError, IndexError, TypeError):
            raise _Passing(f"the reply holds no choice: {str(answer)[:MAX_BODY]}") from None
        if reason == "content_filter":
            raise PolicyError(f"{self.name}: the server's content filter held the reply back")
        used = answer.usage
        return Completion(
            text=text or "",
            finish_reason="length" if reason == "length" else "stop",
            usage=Usage(
                prompt_tokens=getattr(used, "prompt_tokens", None),
                completion_tokens=getattr(used, "completion_tokens", None),
            ),
            retries=retries,
        )


def _pause(tried: int, told: float | None) -> float:
    """Seconds before the next try: what the server said, else twice as long each time.

    The spread keeps many callers from coming back at the same moment.
    """
    if told is not None:
        return told
    return min(LONGEST_PAUSE, 0.25 * 2.0**tried) * random.uniform(0.5, 1.0)


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After in seconds; one that names a date is left to our own pauses."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def _fast_client() -> Any:
    """A transport that holds up with hundreds of requests; the usual one where it is absent."""
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
