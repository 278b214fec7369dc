"""The container side of the benchmark `sandbox`; what needs an engine is null with the reason."""

from __future__ import annotations

from collections.abc import Callable

KEYS = ("docker_checkpoint_ms", "docker_branch_ms", "vs_commit_run")


def measure_docker(embedded_ms: Callable[[], float]) -> tuple[dict[str, float | None], str]:
    """Times of a container's snapshots, if an engine answers.

    Args:
        embedded_ms: takes a snapshot and comes back to it in the embedded sandbox, at the state
            that `STATE` of `sandbox` makes; milliseconds. For `vs_commit_run`, in turns with
            `docker commit` and `docker run`.

    Returns:
        A value for each of `KEYS`, and why there is none.
    """
    return dict.fromkeys(KEYS), "containers are not measured by this version"
