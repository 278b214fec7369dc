"""One chat call: tries, pauses, deadlines, and the move to another server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from leafe_gym.errors import PolicyError, PolicyUnavailable
from leafe_gym.policies.http import adapters
from leafe_gym.policies.http.client import ChatClient
from leafe_gym.policies.http.failures import (
    MAX_QUOTE,
    NO_SERVER,
    REMEDIES,
    ErrorResponse,
    Transient,
    failure,
    problem_of,
)
from leafe_gym.policies.http.inspection import PATIENCE, answers, inspect_server, listing
from leafe_gym.policies.http.reply import read_reply
from leafe_gym.policies.http.request import (
    refused_messages,
    refused_own,
    refused_part,
    request_body,
)
from leafe_gym.policies.http.servers import Server
from leafe_gym.policies.http.transport import NoResponse, Response, Transport, pause_before
from leafe_gym.types import Completion, Json, Message, Sampling

FAILURES_TO_LEAVE = 2
"""Failed tries of a call at one server after which another server is used."""


async def complete(
    client: ChatClient, messages: Sequence[Message], sampling: Sampling
) -> Completion:
    """See `Policy.complete`.

    Raises:
        PolicyError: if this request failed.
        ContextFull: if the prompt does not fit.
        PolicyUnavailable: if no server answers, or all requests are refused.
    """
    await client.prepare()
    if client.context_window is not None and sampling.max_tokens >= client.context_window:
        raise PolicyUnavailable(
            f"{client.name}: max_tokens={sampling.max_tokens} leaves no room for a prompt in the "
            f"model's window of {client.context_window} tokens: use a smaller max_tokens"
        )
    transport = client.transport()
    async with transport.slots:
        return await _Call(client, transport, messages, sampling).run()


@dataclass(slots=True)
class _Call:
    """One call; see `complete`."""

    client: ChatClient
    transport: Transport
    messages: Sequence[Message]
    sampling: Sampling
    tried: int = 0
    last: Transient = field(default_factory=lambda: Transient("no response yet", outage=False))
    server: Server = field(init=False)
    failures: dict[str, int] = field(default_factory=dict)
    adapter_loaded: bool = False

    async def run(self) -> Completion:
        """The reply, from the session's server or, if that does not answer in time, another."""
        client = self.client
        for _ in client.servers.all:
            began = time.monotonic()
            try:
                async with asyncio.timeout(client.deadline):
                    return await self._tries(began + client.deadline)
            except TimeoutError:
                limit = f"within {client.deadline:g} s, {self.tried} tries"
                patience = min(PATIENCE, client.deadline)
                if not await answers(self.transport, self.server, patience):
                    self.last = Transient("the server hangs", remedy=REMEDIES[503])
                if not client.servers.leave(self.server, f"no reply {limit}"):
                    break
        raise self._final(limit)

    async def _tries(self, ends: float) -> Completion:
        client = self.client
        while True:
            self._probe()
            self.server = client.servers.choose(self._session(), self.tried)
            self.tried += 1
            try:
                completion = await self._answer()
            except Transient as error:
                self.last = error
                if self._moves(error):
                    self.tried -= 1
                    continue
                pause = pause_before(self.tried, error.pause)
                # A pause that the server names and that ends too late is not waited for.
                late = bool(error.pause) and time.monotonic() + pause > ends
                if self.tried >= client.tries or late:
                    if error.outage and client.servers.leave(self.server, str(error)):
                        self.tried = 0
                        continue
                    raise self._final(f"in {self.tried} tries") from error
                await asyncio.sleep(pause)
            else:
                self.server.up = True
                return completion

    def _moves(self, error: Transient) -> bool:
        """Leave a server that is down; whether the call goes on at another one at once."""
        url, servers = self.server.url, self.client.servers
        count = self.failures[url] = self.failures.get(url, 0) + 1
        down = error.gone or (error.outage and not error.busy and count >= FAILURES_TO_LEAVE)
        another = down and servers.leave(self.server, str(error))
        return another and count <= FAILURES_TO_LEAVE

    def _probe(self) -> None:
        if len(self.client.servers.all) > 1:
            for server in self.client.servers.due():
                self.transport.in_background(self.client.probe(self.transport, server))

    def _session(self) -> str:
        """The task, or what distinguishes tasks where none is named: the first messages."""
        if self.sampling.session:
            return self.sampling.session
        start = json.dumps(list(self.messages[:2]), sort_keys=True)
        return hashlib.blake2b(start.encode(), digest_size=8).hexdigest()

    async def _answer(self) -> Completion:
        """One try, repeated at once in other forms where the server refuses a part of it.

        Raises:
            Transient: if another try may succeed.
            PolicyError: see `complete`.
        """
        client, refused = self.client, self.client.refused
        while True:
            model = client.adapter.name if client.adapter else client.model
            body = request_body(model, self.messages, self.sampling, refused, client.options)
            found = await self._post(body)
            if isinstance(found, Completion):
                client.learn(refused)
                return found
            if await self._adapter_was_lost(found):
                continue
            error = failure(found, client.name, self.sampling.max_tokens)
            named = f"{found.named} {found.said}"
            part = refused_messages(body, found.status, found.said)
            again = isinstance(error, Transient) and found.status >= 500
            if part is None and (again or type(error) is PolicyError):
                if own := refused_own(found.status, named, client.options):
                    raise PolicyUnavailable(f"{error}: {own}")
                part = refused_part(
                    body, found.status, found.named, found.said, client.options.extra
                )
            if part is None or part in refused:
                if found.status == 404:
                    error = await self._with_models(error)
                raise error
            refused |= {part}

    async def _post(self, body: Json) -> Completion | ErrorResponse:
        session = quote(self.sampling.session, safe="".join(map(chr, range(33, 127))))
        headers = {"X-Session-ID": session} if session else {}
        url = self.server.at("/chat/completions")
        try:
            response = await self.transport.send(url, body, headers)
        except NoResponse as error:
            raise Transient(str(error), gone=error.refused, remedy=NO_SERVER) from error
        if not 200 <= response.status < 300 or response.status in (204, 205):
            return problem_of(response)
        answer, failed = _read_json(response), sum(self.failures.values())
        if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
            inner = answer["error"].get("code") if isinstance(answer["error"], dict) else None
            status = inner if type(inner) is int and 400 <= inner < 600 else 500
            return problem_of(response, status)
        return read_reply(answer, self.client.name, self.sampling.max_tokens, failed)

    async def _adapter_was_lost(self, problem: ErrorResponse) -> bool:
        """Load the adapter again, once, on a server that was restarted without it."""
        adapter = self.client.adapter
        if adapter is None or self.adapter_loaded or problem.status != 404:
            return False
        self.adapter_loaded = True
        await adapters.load(self.transport, self.server, adapter)
        return True

    async def _with_models(self, error: PolicyError | Transient) -> PolicyError | Transient:
        client = self.client
        report = await inspect_server(self.transport, self.server, client.model)
        return PolicyUnavailable(f"{error}; {listing(report.models)}") if report.models else error

    def _final(self, limit: str) -> PolicyError:
        client, last = self.client, self.last
        message = f"{client.name}: no reply {limit}; the last: {last} ({self.server.shown})"
        others = [one for one in client.servers.all if one is not self.server and one.why]
        message += "".join(f"; {one.shown}: {one.why}" for one in others)
        if last.remedy:
            message += f": {last.remedy}"
        return PolicyUnavailable(message) if last.outage else PolicyError(message)


def _read_json(response: Response) -> Json:
    """The JSON of a response with status 200.

    Raises:
        Transient: if it is not JSON.
    """
    try:
        return response.json()
    except ValueError as error:
        text = response.body[:MAX_QUOTE].decode("utf-8", "replace")
        if text.lstrip().startswith("<"):
            said = problem_of(response).said
            raise Transient(f"the response is HTML: {said}", remedy=REMEDIES[405]) from error
        raise Transient(f"the response is not JSON: {error}: {text}", outage=False) from error
