"""The link between the driver and a worker outside its process: what passes over it.

A frame is a pickled tuple: its kind, then its values. Frames to the worker: "job", "idle",
"choice", "reply", "result", "close". Frames to the driver: "ready", "event", "ask", "cancel",
"call". Both ends (`worker_end.py`, `driver_end.py`) belong to one user and one run; nothing
else can write to a link.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import cloudpickle
import gymnasium as gym

from leafe_gym.errors import LeafeError, UsageError
from leafe_gym.exploration.jobs import Setup

Send = Callable[[bytes], None]


class WorkerError(LeafeError):
    """An error of a worker that could not be sent as it is; says what it said."""


def frame(kind: str, *values: Any) -> bytes:
    """A frame."""
    return pickle.dumps((kind, *values), protocol=pickle.HIGHEST_PROTOCOL)


def sendable(error: BaseException) -> BaseException:
    """An error that pickles: itself, or one of the nearest class of ours with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - anything may go wrong in a foreign class
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def versions() -> dict[str, str]:
    """What must agree between the driver and its workers."""
    return {"python": platform.python_version(), "leafe-gym": version("leafe-gym")}


def check_versions(theirs: dict[str, str], where: str) -> None:
    """Compare a worker's versions with ours.

    Raises:
        UsageError: if they differ; names both.
    """
    for name, ours in versions().items():
        if theirs.get(name) != ours:
            raise UsageError(
                f"{where} has {name} {theirs.get(name)}, the driver has {ours}: install the same "
                "version on every machine of the run"
            )


def pack_setup(setup: Setup) -> bytes:
    """The setup, for another process, with what is registered here for its environments.

    Raises:
        UsageError: if the agent cannot be sent.
    """
    specs = [gym.registry[name] for name in setup.env_ids if name in gym.registry]
    try:
        return bytes(cloudpickle.dumps((setup, specs)))
    except Exception as error:
        raise UsageError(
            f"the agent or an environment cannot be sent to another process "
            f"({type(error).__name__}: {error}): use workers=0"
        ) from error


def unpack_setup(data: bytes) -> Setup:
    """The setup; environments that are not registered here are."""
    setup, specs = pickle.load(io.BytesIO(data))
    for spec in specs:
        if spec.id not in gym.registry:
            gym.registry[spec.id] = spec
    assert isinstance(setup, Setup)
    return setup


def search_path() -> list[str]:
    """Where this process finds modules; the current folder by its name."""
    return [entry or os.getcwd() for entry in sys.path]
