"""Container part of the benchmark `sandbox`; figures that need an engine are null without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from _harness import alternate, median, ratio

from leafe_gym.errors import LeafeError
from leafe_gym.sandbox.base import Sandbox, SandboxLimits, make_sandbox
from leafe_gym.sandbox.docker.container import Container
from leafe_gym.sandbox.docker.sandbox import DockerCommitSandbox

KEYS = ("docker_checkpoint_ms", "docker_branch_ms", "vs_commit_run")
ROUNDS = 7
LIMITS = SandboxLimits(memory_mb=512)
STATE = """
import os
data = [os.urandom(1000) for _ in range(10_000)]
for n in range(1000):
    with open(f"file{n}", "w") as file: file.write(str(n) * 100)
"""
"""The same as in `sandbox`: 10 MB of small objects, 1,000 files."""


def measure_docker(embedded_ms: Callable[[], float]) -> tuple[dict[str, float | None], str]:
    """Times of a container's snapshots, if an engine responds.

    Args:
        embedded_ms: takes and restores a snapshot in the embedded sandbox, in the state that
            `STATE` of `sandbox` creates; returns milliseconds. For `vs_commit_run` it alternates
            with `docker commit` and `docker run`.

    Returns:
        A value for each of `KEYS`, and the reason for missing values.
    """
    figures: dict[str, float | None] = dict.fromkeys(KEYS)
    reason = ""
    try:
        figures["docker_checkpoint_ms"], figures["docker_branch_ms"] = checkpoints()
    except LeafeError as error:
        reason = str(error)
    try:
        times = alternate({"ours": embedded_ms, "theirs": commit_and_run}, ROUNDS)
        figures["vs_commit_run"] = ratio(times["ours"], times["theirs"])
    except LeafeError as error:
        reason = str(error)
    return figures, reason


def checkpoints() -> tuple[float, float]:
    """Milliseconds of a snapshot, and of a branch until it replies, in `docker`."""
    box = made("docker")
    saves, branches = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        snapshot = box.snapshot()
        saves.append(1e3 * (time.perf_counter() - began))
        began = time.perf_counter()
        other = box.branch(snapshot)
        other.run_cell("1")
        branches.append(1e3 * (time.perf_counter() - began))
        other.close()
        box.drop(snapshot)
    box.close()
    return median(saves), median(branches)


def commit_and_run() -> float:
    """Milliseconds of committing a container and starting a new one until it replies.

    This transfers no state, and the time to create state is not included.
    """
    box: Any = made("docker-commit")
    assert isinstance(box, DockerCommitSandbox)
    assert box._container is not None
    assert box._resources is not None
    began = time.perf_counter()
    image = box._docker.commit(box._container.id, box._resources.labels)
    new = Container(box._spec, box._resources)
    new.start(image)
    new.client.ask("run_cell", b"1", limit=10.0, output_bytes=4096)
    took = 1e3 * (time.perf_counter() - began)
    new.remove()
    box._resources.remove_image_when_unused(image)
    box.close()
    return took


def made(kind: str) -> Sandbox:
    """A sandbox in that state."""
    box = make_sandbox(kind, limits=LIMITS)
    box.start()
    result = box.run_cell(STATE, timeout=60.0)
    assert not result.error, result.error
    return box
