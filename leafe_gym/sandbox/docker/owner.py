"""Whose a container or image is, and removing what belongs to nobody any more.

Everything that is made has two labels: the sandbox that it is for, and the process that owns that.
What its owner's death (also by `kill -9`) left behind is removed when the next sandbox starts.
"""

from __future__ import annotations

import os
import platform
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from leafe_gym.errors import SandboxError
from leafe_gym.sandbox.docker.engine import Engine

SANDBOX, OWNER = "leafe-gym.sandbox", "leafe-gym.owner"

_OPEN: set[str] = set()
"""Sandboxes of this process that were started and not closed."""


@dataclass(slots=True)
class Belongings:
    """What one sandbox has in an engine.

    Attributes:
        engine: where.
        id: of the sandbox.
        containers: their ids.
        images: their ids.
        unwanted: those of them that are to be removed as soon as no container runs from them.
    """

    engine: Engine
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    containers: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        _OPEN.add(self.id)

    @property
    def labels(self) -> dict[str, str]:
        """What marks them as this sandbox's."""
        return {SANDBOX: self.id, OWNER: _me()}

    def remove(self) -> None:
        """Remove all; what the engine does not let go now, `sweep` will."""
        _OPEN.discard(self.id)
        for container in list(self.containers):
            self.forget(container)
        self.unwanted |= self.images
        self._remove_unwanted()

    def forget(self, container: str) -> None:
        """Remove a container, now or with the next sweep."""
        self.containers.discard(container)
        with suppress(SandboxError):
            self.engine.remove(container)
        self._remove_unwanted()

    def forget_image(self, image: str) -> None:
        """Remove an image as soon as that can be."""
        self.unwanted.add(image)
        self._remove_unwanted()

    def _remove_unwanted(self) -> None:
        for image in list(self.unwanted):
            with suppress(SandboxError):
                self.engine.remove_image(image)
                self.unwanted.discard(image)
                self.images.discard(image)


def sweep(engine: Engine) -> int:
    """Remove what sandboxes left behind whose process is gone, or that were given up.

    Returns:
        How many containers and images there were.

    Raises:
        SandboxError: if the engine does not answer.
    """
    owners, owned_images = engine.labelled(OWNER)
    sandboxes, sandbox_images = engine.labelled(SANDBOX)
    removed = 0
    for container, owner in owners.items():
        if _ended(owner, sandboxes.get(container, "")):
            engine.remove(container)
            removed += 1
    for image, owner in owned_images.items():
        if _ended(owner, sandbox_images.get(image, "")):
            engine.remove_image(image)
            removed += 1
    return removed


def _ended(owner: str, sandbox: str) -> bool:
    """Whether nobody will come back for something.

    What another machine, or another namespace of processes, made with the same engine is left
    alone, as from here its process cannot be seen.
    """
    if owner == _me():
        return sandbox not in _OPEN
    try:
        machine, boot, namespace, pid, start = owner.split("/")
    except ValueError:
        return False
    if machine != _machine():
        return False
    if boot != _boot():
        return True
    return namespace == _namespace() and _start_of(int(pid)) != start


def _me() -> str:
    pid = os.getpid()
    return "/".join((_machine(), _boot(), _namespace(), str(pid), _start_of(pid)))


def _start_of(pid: int) -> str:
    """When a process began, in ticks since the boot; "" if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@cache
def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip() or platform.node()
    except OSError:
        return platform.node()


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")
