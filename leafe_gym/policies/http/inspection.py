"""What a server says of itself: its kind, its models, their window, its health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from leafe_gym.policies.http.failures import problem_of
from leafe_gym.policies.http.servers import Server
from leafe_gym.policies.http.transport import NoResponse, Response, Transport
from leafe_gym.types import Json

KINDS = {"vllm": "vLLM", "sglang": "SGLang", "llamacpp": "llama.cpp"}
"""`owned_by` of a served model -> the server; these list every model that they serve."""
WINDOWS = ("max_model_len", "context_window", "context_length", "max_context_length")
PATIENCE = 10.0
"""Seconds that a server has to answer one of these questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """What one server says of itself.

    Attributes:
        url: its base URL.
        answers: whether it answered anything.
        refused: whether no connection could be opened.
        healthy: what `/health` says; None where there is none.
        kind: "vLLM", "SGLang", "llama.cpp", or "" where it is not known.
        version: of the server, or "".
        models: names under which models and adapters are served; empty where it has no list.
        roots: name -> what the server loaded under it (folder or name on the hub), where known.
        context_window: most tokens of prompt and reply together of the policy's model, or None.
        misses_model: it lists its models, and the policy's is not among them.
        problem: why the policy's model cannot be asked there, or "".
        unlisted: why its list of models cannot be read, or ""; it may be usable all the same.
    """

    url: str
    answers: bool
    refused: bool = False
    healthy: bool | None = None
    kind: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    roots: dict[str, str] = field(default_factory=dict)
    context_window: int | None = None
    misses_model: bool = False
    problem: str = ""
    unlisted: str = ""


async def inspect_server(
    transport: Transport, server: Server, model: str, patience: float = PATIENCE
) -> ServerReport:
    """Ask a server about itself; tolerates one that knows none of the questions.

    Args:
        transport: of the running loop.
        server: the server.
        model: as the policy calls it.
        patience: seconds that it has for each answer.
    """
    urls = (server.at("/models"), server.at_root("/health"), server.at_root("/version"))
    listed, health, version = await asyncio.gather(
        *(_get(transport, url, patience) for url in urls)
    )
    answers = [one for one in (listed, health, version) if isinstance(one, Response)]
    if not answers:
        failed = [one for one in (listed, health, version) if isinstance(one, NoResponse)]
        refused = all(one.refused for one in failed)
        return ServerReport(
            url=server.shown, answers=False, refused=refused, problem=str(failed[0])
        )
    entries = _entries(_json(listed))
    owners = [str(entry.get("owned_by")) for entry in entries]
    kind = next((KINDS[owner] for owner in owners if owner in KINDS), "")
    names = tuple(e["id"] for e in entries)
    misses = bool(kind and names) and not served(names, model)
    said = _json(version)
    number = said.get("version") if isinstance(said, dict) else None
    return ServerReport(
        url=server.shown,
        answers=True,
        healthy=_healthy(health),
        kind=kind,
        version=number if isinstance(number, str) else "",
        models=names,
        roots={e["id"]: e["root"] for e in entries if isinstance(e.get("root"), str)},
        context_window=_window(entries, model),
        misses_model=misses,
        problem=_problem(listed, names, model, misses),
        unlisted=_unlisted(listed),
    )


async def answers(transport: Transport, server: Server, patience: float = PATIENCE) -> bool:
    """Whether a server takes requests: its health or, without that, its list of models says so."""
    for url in (server.at_root("/health"), server.at("/models")):
        found = await _get(transport, url, patience / 2)
        if not isinstance(found, Response) or found.status in (500, 502, 503, 504):
            return False
        if found.status == 200:
            return True
    return True


def served(names: Iterable[str], model: str) -> bool:
    """Whether a model is among served names, some of which hold a folder or a tag."""
    return any(
        model in (name, name.removesuffix(":latest"), name.removeprefix("models/"))
        for name in names
    )


def listing(names: tuple[str, ...]) -> str:
    """The served names for a message."""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"the server has: {shown}" if names else "the server lists no models"


def _problem(
    listed: Response | NoResponse, names: tuple[str, ...], model: str, misses: bool
) -> str:
    if isinstance(listed, Response) and listed.status in (401, 403):
        problem = problem_of(listed)
        return f"HTTP {problem.status}: {problem.said}: check the API key"
    if misses:
        return f"it does not serve the model {model!r}; {listing(names)}"
    return ""


def _unlisted(listed: Response | NoResponse) -> str:
    if isinstance(listed, NoResponse):
        return str(listed)
    if listed.status != 200:
        return f"HTTP {listed.status}"
    found = _json(listed)
    data = found.get("data") if isinstance(found, dict) else found
    return "" if isinstance(data, list) else "it is none"


async def _get(transport: Transport, url: str, patience: float) -> Response | NoResponse:
    """A response, or why there is none."""
    try:
        async with asyncio.timeout(patience):
            return await transport.send(url)
    except TimeoutError:
        return NoResponse(f"no response within {patience:g} s", refused=False)
    except NoResponse as error:
        return error


def _json(found: Response | NoResponse) -> Json:
    """The JSON of a response with status 200; None for any other."""
    if not isinstance(found, Response) or found.status != 200:
        return None
    try:
        return found.json()
    except ValueError:
        return None


def _healthy(found: Response | NoResponse) -> bool | None:
    if not isinstance(found, Response):
        return False
    return None if found.status in (401, 403, 404, 405, 501) else found.status < 400


def _entries(listed: Json) -> list[dict[str, Json]]:
    """The models of a list of models."""
    data = listed.get("data") if isinstance(listed, dict) else listed
    found = data if isinstance(data, list) else []
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _window(entries: list[dict[str, Json]], model: str) -> int | None:
    """The window of a model in tokens, under the names that servers use for it."""
    for entry in entries:
        meta = entry.get("meta")  # llama.cpp
        known = {**entry, **meta} if isinstance(meta, dict) else entry
        window = next((known[name] for name in (*WINDOWS, "n_ctx") if known.get(name)), None)
        if served([entry["id"]], model) and type(window) is int and window > 0:
            return window
    return None
