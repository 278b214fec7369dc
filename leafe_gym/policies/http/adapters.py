"""LoRA adapters that a vLLM server loads and unloads while it runs."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from leafe_gym._files import open_regular
from leafe_gym.errors import PolicyUnavailable, UsageError
from leafe_gym.policies.http.failures import problem_of
from leafe_gym.policies.http.servers import Server
from leafe_gym.policies.http.transport import NoResponse, Transport
from leafe_gym.types import Json

HOW = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
LOADING = 300.0
"""Seconds that a server has to load an adapter."""
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        name: under which the server serves it.
        path: of its folder, as the server sees it.
        digest: hash of its weights, where the folder can be read here; else "".
    """

    name: str
    path: str
    digest: str

    @classmethod
    def at(cls, path: object, name: object = None) -> Adapter:
        """An adapter in a folder; reads its weights where it can.

        Raises:
            UsageError: for a path or name of another type.
        """
        if not isinstance(path, str | Path) or not str(path):
            raise UsageError(f"adapter={path!r}: expected the folder of a LoRA adapter")
        if Path(path).is_dir():  # the server's current folder may be another one
            path = Path(path).absolute()
        digest = _digest(Path(path))
        if name is None:
            about = digest or hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()
            name = f"{Path(path).name}-{about}"
        if not isinstance(name, str) or not re.fullmatch(r"[\w./:@+-]+", name):
            raise UsageError(f"adapter name={name!r}: expected letters, digits and ._/:@+-")
        return cls(name, str(path), digest)


async def load(transport: Transport, server: Server, adapter: Adapter) -> None:
    """Have a server load an adapter; one that it holds under this name already is kept.

    Raises:
        PolicyUnavailable: if it cannot; says how to start it.
    """
    asked = {"lora_name": adapter.name, "lora_path": adapter.path}
    await _post(transport, server, "/load_lora_adapter", asked, "already been loaded")


async def unload(transport: Transport, server: Server, name: str) -> None:
    """Unload an adapter from a server; one that is not loaded there is no error.

    Raises:
        PolicyUnavailable: if it cannot.
    """
    asked = {"lora_name": name}
    await _post(transport, server, "/unload_lora_adapter", asked, "cannot be found")


async def _post(transport: Transport, server: Server, path: str, asked: Json, done: str) -> None:
    try:
        async with asyncio.timeout(LOADING):
            response = await transport.send(server.at(path), asked)
    except (NoResponse, TimeoutError) as error:
        why = str(error) or f"no response within {LOADING:g} s"
        raise PolicyUnavailable(f"{server.shown}{path}: {why}") from error
    if response.status == 200:
        return
    problem = problem_of(response)
    if response.status in (400, 404) and done in problem.said:
        return
    missing = response.status in (404, 405, 501) and "adapter" not in problem.said
    remedy = HOW if missing else f"the server must be able to read {asked}"
    raise PolicyUnavailable(
        f"{server.shown}{path}: HTTP {problem.status}: {problem.said}: {remedy}"
    )


def _digest(folder: Path) -> str:
    """Hash of an adapter's weights; "" where they cannot be read."""
    try:
        with open_regular(folder / WEIGHTS) as file:
            return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()[:12]
    except OSError:
        return ""
