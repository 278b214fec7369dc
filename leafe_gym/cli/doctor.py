"""`leafe doctor`: checks what works on this machine and suggests remedies."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym._optional import available
from leafe_gym.cli.options import JsonOut
from leafe_gym.cli.screen import out, plain, write_json
from leafe_gym.envs.data_files import OFFICIAL
from leafe_gym.envs.textworld.jericho import TAGGER
from leafe_gym.errors import UsageError
from leafe_gym.evals.meta import machine_meta
from leafe_gym.policies.http.inspection import ServerReport
from leafe_gym.sandbox.base import SANDBOXES, Sandbox, make_sandbox

OLDEST = (3, 11)
NEEDED = "embedded"
"""The default sandbox, which needs nothing installed; without it, code environments fail."""

ANY_MODEL = "any"
"""Stands for the model's name in questions to a server where none is given."""

State = Literal["ok", "absent", "broken"]
_COLORS: dict[State, str] = {"ok": "green", "absent": "yellow", "broken": "bold red"}
_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?")


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        part: "python", "package", "extra", "sandbox", "gpu", "engine", "data" or "server".
        name: name of the item.
        state: "ok"; "absent" if an optional item is missing; "broken" if a required one fails.
        detail: version or figures; on failure, the cause and the remedy.
    """

    part: str
    name: str
    state: State
    detail: str


def command(
    base_url: Annotated[
        list[str] | None,
        typer.Option("--base-url", metavar="URL", help="Ask this server only. Repeatable."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Model that the server must serve."),
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Check Python, packages, sandboxes, GPU, container engine and data files, or a model's server.

    Exit code 1 if something that every installation needs, or the server, does not work.
    """
    if model is not None and not base_url:
        raise UsageError("--model: name its server, too: --base-url URL")
    found = list(_servers(base_url, model) if base_url else examine())
    ok = all(one.state != "broken" for one in found)
    if json_path:
        data = {"ok": ok, "findings": [asdict(one) for one in found], "meta": machine_meta()}
        write_json(data, json_path)
    if json_path != "-":
        table = Table(box=SIMPLE_HEAD)
        for column in ("part", "name", "state", "detail"):
            table.add_column(column, overflow="fold")
        for one in found:
            state = plain(one.state, _COLORS[one.state])
            table.add_row(one.part, plain(one.name), state, plain(one.detail))
        out.print(table)
    if not ok:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Run all checks, in the order of the table."""
    here = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < OLDEST
    wanted = f"; needs {'.'.join(map(str, OLDEST))} or newer" if old else ""
    yield Finding("python", sys.platform, "broken" if old else "ok", here + wanted)
    yield from _packages()
    for kind in SANDBOXES.names():
        yield _sandbox(kind)
    yield _gpu()
    yield _engine()
    yield from _data()


def _packages() -> Iterator[Finding]:
    groups: dict[str, list[str]] = {}
    for line in requires("leafe-gym") or ():
        match = _REQUIREMENT.match(line)
        if match is not None:
            groups.setdefault(match[2] or "", []).append(match[1])
    for extra, names in groups.items():
        there, missing = [], []
        for name in names:
            try:
                there.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                missing.append(name)
        target = f"leafe-gym[{extra}]" if extra else "leafe-gym"
        detail = f"pip install '{target}' (missing: {', '.join(missing)})" if missing else ""
        bad: State = "absent" if extra else "broken"
        part, name = ("extra", extra) if extra else ("package", "leafe-gym")
        yield Finding(part, name, bad if missing else "ok", detail or ", ".join(there))


def _sandbox(kind: str) -> Finding:
    """Start a sandbox, change a variable and a file, restore, and check both."""
    bad: State = "broken" if kind == NEEDED else "absent"
    try:
        with closing(make_sandbox(kind, allow_unsandboxed=kind == "unsandboxed")) as sandbox:
            return Finding("sandbox", kind, "ok", _try_restore(sandbox))
    except Exception as error:  # noqa: BLE001 - another package's sandbox may raise anything
        return Finding("sandbox", kind, bad, _why(error))


def _try_restore(sandbox: Sandbox) -> str:
    show = "print(x, open('f').read())"
    starting = _timed(sandbox.start)
    sandbox.run_cell("x = 1; open('f', 'w').write('one')")
    began = time.perf_counter()
    snapshot = sandbox.snapshot()
    saving = time.perf_counter() - began
    sandbox.run_cell("x = 2; open('f', 'w').write('two')")
    restoring = _timed(lambda: sandbox.restore(snapshot))
    seen = sandbox.run_cell(show)
    if seen.stdout.strip() != "1 one":
        raise RuntimeError(f"a restored session shows {seen.stdout!r} {seen.error[-200:]!r}")
    can = sandbox.capabilities()
    return (
        f"isolation: {can.isolation}; memory: {'saved' if can.memory else 'replayed'}; "
        f"start {starting:.0f} ms, snapshot {1e3 * saving:.0f} ms, restore {restoring:.0f} ms"
    )


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def _gpu() -> Finding:
    """GPU names from the driver, and whether torch can use them; imports torch in a subprocess."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("gpu", "cuda", "absent", "no nvidia-smi: everything runs on the CPU")
    names = _output_of(tool, "--query-gpu=name,memory.total", "--format=csv,noheader")
    code = "import torch; print(torch.__version__, torch.cuda.is_available())"
    torch = _output_of(sys.executable, "-c", code)
    usable = torch.endswith("True")
    note = "" if usable else f"; torch cannot use it ({torch or 'pip install leafe-gym[train]'})"
    return Finding("gpu", "cuda", "ok" if usable else "absent", f"{names}{note}")


def _output_of(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ")


def _engine() -> Finding:
    """Request the engine's version over its socket; needs no Docker client."""
    host = os.environ.get("LEAFE_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
    host = host or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        why = f"{host}: only unix:// sockets can be checked"
        return Finding("engine", "docker", "absent", why)
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(host.removeprefix("unix://"))
        connection.request("GET", "/version")
        response = json.loads(connection.getresponse().read(2**20))
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = f"{host}: {_why(error)}; start an engine, or name its socket in LEAFE_DOCKER_HOST"
        return Finding("engine", "docker", "absent", why)
    finally:
        connection.close()
    checkpoints = "with" if response.get("Experimental") else "without (not experimental)"
    detail = f"{response.get('Version')} at {host}, {checkpoints} checkpoints"
    return Finding("engine", "docker", "ok", detail)


def _data() -> Iterator[Finding]:
    root = os.environ.get("LEAFE_DATA")
    for one in OFFICIAL:
        name, source = one.name, one.source
        if root and (argument := one.argument(Path(root))) is not None:
            how = f"{Path(root) / name}; for {', '.join(one.environments)}: --data {argument}"
            yield Finding("data", name, "ok", how)
        else:
            where = f"not in {root}" if root else "LEAFE_DATA names no folder"
            yield Finding("data", name, "absent", f"{where}; from {source}")
    use = "lists admissible_commands of leafe/Jericho-v0"
    if available(TAGGER):
        yield Finding("data", TAGGER, "ok", use)
    else:
        yield Finding("data", TAGGER, "absent", f"{use}: python -m spacy download {TAGGER}")


def _servers(urls: list[str], model: str | None) -> Iterator[Finding]:
    """What OpenAI-compatible servers say of themselves; broken where they cannot be used."""
    reports = _inspected(urls, model or ANY_MODEL)
    listed = [name for report in reports for name in report.models]
    if model is None and listed:
        reports = _inspected(urls, listed[0])  # its window, too
    for report in reports:
        refused = "" if model is None and report.misses_model else report.problem
        yield _server(report, refused)


def _server(report: ServerReport, refused: str) -> Finding:
    """One server; `refused` says why it cannot be asked for the model, or is empty."""
    if not report.answers:
        return Finding("server", report.url, "broken", f"does not answer: {refused}")
    if report.unlisted and not refused and (longer := _with_version(report.url)):
        refused = f"use {longer} as the base URL"
    kind = " ".join(filter(None, (report.kind or "unknown kind", report.version)))
    said = [refused, kind, f"models: {', '.join(report.models) or 'none listed'}"]
    state: State = "broken" if refused else "ok"
    if report.unlisted and not refused:
        state = "absent"
        said.append(
            f"no list of models at {report.url}/models ({report.unlisted}): check the base URL, "
            "which usually ends in /v1"
        )
    if report.context_window is not None:
        said.append(f"window: {report.context_window:,} tokens")
    if report.healthy is False:
        state = "broken"
        said.append("/health says that it is not healthy")
    return Finding("server", report.url, state, "; ".join(filter(None, said)))


def _with_version(url: str) -> str:
    """The base URL with "/v1" behind it, if the server lists models there; else ""."""
    longer = f"{url.rstrip('/')}/v1"
    return longer if _inspected([longer], ANY_MODEL)[0].models else ""


def _inspected(urls: list[str], model: str) -> list[ServerReport]:
    from leafe_gym.policies.openai import OpenAIPolicy

    return asyncio.run(OpenAIPolicy(model, urls).inspect())


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
