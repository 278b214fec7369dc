"""A model behind an OpenAI-compatible server as a policy: vLLM, SGLang, llama.cpp, a cloud.

One layer of retries, with one deadline over all tries of a call. Failures are of four classes:

* transient: no connection, 408, 409, 425, 429, 5xx, a malformed response. The call is tried again.
* of this request: any other 4xx, a filtered reply. `PolicyError`.
* the prompt does not fit the model's window. `ContextFull`.
* of the server: wrong key, no such model, no quota, a chat template without a system role, or no
  connection or success after all tries. `PolicyUnavailable`, which ends a run.

Fields that a server refuses are left out from then on, see `leafe_gym.policies.http.request`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from leafe_gym._optional import require
from leafe_gym.errors import UsageError
from leafe_gym.policies.http.adapters import Adapter
from leafe_gym.policies.http.call import complete
from leafe_gym.policies.http.client import ChatClient, environment_key
from leafe_gym.policies.http.inspection import ServerReport
from leafe_gym.policies.http.request import RequestOptions
from leafe_gym.policies.http.servers import Servers, checked_urls
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Json, Message, Sampling

OWN_FIELDS = frozenset({"model", "messages", "stream"})
"""Fields of a request that `extra` cannot set; a stream is not read."""


class OpenAIPolicy:
    """A model behind one or several OpenAI-compatible servers.

    Attributes:
        name: model, revision, adapter and settings; neither the servers nor the key.
        context_window: most tokens of prompt and reply together, as the servers say; None until
            `prepare`, and where they do not say.
        chat_template_kwargs: see the argument.
        portable: a copy in another process is as good.

    Args:
        model: as the server calls it.
        base_url: such as "http://127.0.0.1:8000/v1"; or several, which serve the same model. The
            calls of one task go to one of them while it is up.
        api_key: default the environment variable OPENAI_API_KEY, else none.
        concurrency: most requests at the same time.
        deadline: seconds for a call, all its tries and pauses together; waiting for one of the
            `concurrency` slots does not count.
        tries: most tries of a call.
        structured: send the JSON schema of a reply where one is known.
        chat_template_kwargs: further arguments of the server's chat template, such as
            `enable_thinking`.
        adapter: folder of a LoRA adapter, as a vLLM server sees it; loaded before the first call.
        revision: of the weights, such as a commit; part of the name.
        extra: further fields of the request, such as `{"min_p": 0.05}`; None leaves a field out.
        prompts: the only prompt set that the model knows, if there is one.

    Raises:
        UsageError: for an argument of another type or range.
        MissingExtra: without aiohttp.
    """

    portable = True

    def __init__(
        self,
        model: str,
        base_url: str | Sequence[str],
        *,
        api_key: str | None = None,
        concurrency: int = 256,
        deadline: float = 300.0,
        tries: int = 6,
        structured: bool = True,
        chat_template_kwargs: Mapping[str, Json] | None = None,
        adapter: str | Path | None = None,
        revision: str = "",
        extra: Mapping[str, Json] | None = None,
        prompts: PromptSource | None = None,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise UsageError(f"model={model!r}: expected a text")
        if not isinstance(revision, str):
            raise UsageError(f"revision={revision!r}: expected a text")
        for name, count in (("concurrency", concurrency), ("tries", tries)):
            if type(count) is not int or count < 1:
                raise UsageError(f"{name}={count!r}: expected a whole number >= 1")
        number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        if not number or not 0 < deadline < float("inf"):
            raise UsageError(f"deadline={deadline!r}: expected a number of seconds > 0")
        options = RequestOptions(
            structured=bool(structured),
            chat_template_kwargs=_plain("chat_template_kwargs", chat_template_kwargs),
            extra=_extra(extra),
        )
        require("aiohttp", "openai", "the policy 'openai'")  # its absence shows at once
        self.prompts = prompts
        self.chat_template_kwargs = dict(options.chat_template_kwargs)
        self._revision = revision
        self._client = ChatClient(
            name="",
            model=model,
            key=_clean_key(api_key),
            servers=Servers(checked_urls(base_url)),
            concurrency=concurrency,
            deadline=deadline,
            tries=tries,
            options=options,
            adapter=None if adapter is None else Adapter.at(adapter),
        )
        self._client.name = self.name

    @property
    def name(self) -> str:
        """Model, revision, adapter and request settings; no address and no key."""
        client = self._client
        name = f"openai:{client.model}"
        if self._revision:
            name += f"@{self._revision}"
        if client.adapter is not None:
            name += f"+{client.adapter.name}"
            if client.adapter.digest not in client.adapter.name:
                name += f"-{client.adapter.digest}"
        options = client.options
        settings = [options.structured, dict(options.chat_template_kwargs), dict(options.extra)]
        if settings == [True, {}, {}]:
            return name
        text = json.dumps(settings, sort_keys=True)
        return f"{name}:{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}"

    @property
    def context_window(self) -> int | None:
        """Most tokens of prompt and reply together; None until a server has reported it."""
        return self._client.context_window

    def shared_by(self, count: int) -> OpenAIPolicy:
        """The copy that each of `count` processes gets, so that `concurrency` holds for all.

        Raises:
            UsageError: if `concurrency` is less than `count`.
        """
        limit = self._client.concurrency
        if limit < count:
            raise UsageError(
                f"the policy's concurrency={limit} is less than one request at a time for each of "
                f"{count} workers: raise it, or use fewer workers"
            )
        shared: OpenAIPolicy = pickle.loads(pickle.dumps(self))
        shared._client.concurrency = limit // count
        return shared

    async def prepare(self) -> None:
        """Ask the servers for their models and load the adapter; done once, by the first call too.

        Raises:
            PolicyUnavailable: if no server serves the model; names what they serve.
        """
        await self._client.prepare()

    async def inspect(self) -> list[ServerReport]:
        """What each server says of itself, in the order of the base URLs; raises nothing."""
        return await self._client.inspect()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if this request failed: it was refused, or took longer than `deadline`.
            ContextFull: if the prompt does not fit the model's window.
            PolicyUnavailable: if no server can be reached, or all requests are refused.
        """
        return await complete(self._client, messages, sampling)

    async def load_adapter(self, path: str | Path, name: str | None = None) -> None:
        """Have the vLLM servers load a LoRA adapter, which then answers; no restart.

        Args:
            path: its folder, as the servers see it.
            name: under which it is served; default the folder's name and a hash of the weights.

        Raises:
            PolicyUnavailable: if a server cannot load it.
            UsageError: for a path or name of another type.
        """
        await self._client.load_adapter(Adapter.at(path, name))
        self._client.name = self.name

    async def unload_adapter(self) -> None:
        """Unload the adapter from the servers; the model alone answers again.

        Raises:
            PolicyUnavailable: if a server refuses.
        """
        await self._client.unload_adapter()
        self._client.name = self.name


def _extra(given: object) -> dict[str, Json]:
    """Further fields of the request.

    Raises:
        UsageError: for one that this policy sets itself, or that changes the response's form.
    """
    found = _plain("extra", given)
    for name in OWN_FIELDS & found.keys():
        raise UsageError(f"extra: {name!r} cannot be set there")
    return found


def _plain(name: str, given: object) -> dict[str, Json]:
    """A dict of plain JSON.

    Raises:
        UsageError: if it is not a dict, or holds anything else than plain JSON.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(f"{name}={given!r}: expected a dict of request fields")
    try:
        found: dict[str, Json] = json.loads(json.dumps(dict(given), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: expected plain JSON: {error}") from None
    return found


def _clean_key(given: str | None) -> str:
    """The API key without surrounding white space.

    Raises:
        UsageError: if it cannot stand in an HTTP header; the key itself is not shown.
    """
    key = given if given is not None else environment_key()
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]*", key.strip()):
        raise UsageError(
            "api_key: expected a text of printable ASCII characters without white space"
        )
    return key.strip()
