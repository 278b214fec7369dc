"""HTTP requests of one event loop: a session, bounds, and failures without a response."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from leafe_gym._optional import require
from leafe_gym.policies.http.secrets import Secrets
from leafe_gym.types import Json

CONNECT = 15.0
"""Seconds to open a connection."""
FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
"""First and longest pause between two tries, in seconds, unless the server names one."""
KEEP_ALIVE = 3.0
"""Seconds that an unused connection stays open; less than servers keep theirs (uvicorn: 5)."""
MAX_RESPONSE = 64 * 2**20
"""Longest response that is read, in bytes."""
MAX_HEADER = 64 * 2**10
"""Longest header of a response, in bytes; proxies add policies and cookies of many kilobytes."""
_TASKS: set[asyncio.Task[None]] = set()
"""What runs beside the calls; a loop holds its tasks weakly, and a policy may be dropped first."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole HTTP response; `headers` ignores case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as JSON.

        Raises:
            ValueError: if it is not JSON.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class NoResponse(Exception):
    """There was no whole response.

    Attributes:
        refused: no connection could be opened.
    """

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


class Transport:
    """Requests of one event loop; closed when the loop ends.

    Attributes:
        slots: bound on model calls at the same time.
        preparing: the inspection of the servers, one for all calls that wait for it.

    Args:
        concurrency: most model calls at the same time.
        headers: sent with every request.
        secrets: what no response and no error may repeat.
    """

    def __init__(
        self, concurrency: int, headers: Mapping[str, str], secrets: Secrets | None = None
    ) -> None:
        aiohttp = require("aiohttp", "openai", "the policy 'openai'")
        self.slots = asyncio.Semaphore(concurrency)
        self.preparing: asyncio.Task[None] | None = None
        self._secrets = secrets or Secrets(())
        self._aiohttp = aiohttp
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=dict(headers),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
            trust_env=True,  # proxies
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        self.in_background(self._keep())

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside the calls; it is cancelled when the loop ends."""
        task = asyncio.get_running_loop().create_task(work)
        _TASKS.add(task)
        task.add_done_callback(_ended)
        return task

    async def send(
        self, url: str, body: Json = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """POST `body` as JSON, or GET where there is none. Redirects are not followed.

        Raises:
            NoResponse: if no whole response arrived.
        """
        data = None if body is None else json.dumps(body).encode()
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if data else {})}
        method = "GET" if body is None else "POST"
        try:
            async with self._session.request(
                method, url, data=data, headers=sent, allow_redirects=False
            ) as answer:
                whole = bytearray()
                async for chunk in answer.content.iter_any():
                    whole += chunk
                    if len(whole) > MAX_RESPONSE:
                        answer.close()
                        raise NoResponse(
                            f"the response is longer than {MAX_RESPONSE} bytes", refused=False
                        )
                return Response(answer.status, answer.headers, self._secrets.hidden(bytes(whole)))
        except (self._aiohttp.ClientConnectorError, self._aiohttp.ConnectionTimeoutError) as error:
            raise NoResponse(self._named(error), refused=True) from None
        except (self._aiohttp.ClientError, OSError, ValueError) as error:
            raise NoResponse(self._named(error), refused=False) from None

    def _named(self, error: BaseException) -> str:
        """An error's class and text; "Cannot connect" errors hold the system's reason.

        The text of some names the whole URL; the error itself is not chained for that reason.
        """
        said = self._secrets.hidden(" ".join(str(error).split()).encode()).decode()
        return f"{type(error).__name__}: {said}" if said else type(error).__name__

    async def _keep(self) -> None:
        """Close the session when the loop ends, which cancels all that still runs."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._session.close()


def _ended(task: asyncio.Task[None]) -> None:
    """Forget a task; its error may have no caller left."""
    _TASKS.discard(task)
    if not task.cancelled():
        task.exception()


def pause_before(tried: int, named: float | None = None) -> float:
    """Seconds before the next try: twice as long each time, never less than the server names.

    Args:
        tried: failed tries so far, >= 1.
        named: seconds that the server names.

    A random factor keeps many callers from retrying at the same moment.
    """
    own = min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0)
    return max(own, named or 0.0)
