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
from leafe_gym.sandbox.docker.docker_client import DockerClient

SANDBOX, OWNER = "leafe-gym.sandbox", "leafe-gym.owner"

_OPEN_SANDBOXES: set[str] = set()
"""Sandboxes of this process that were started and not closed."""


@dataclass(slots=True)
class OwnedResources:
    """What one sandbox has in an docker.

    Attributes:
        docker: where.
        id: of the sandbox.
        containers: their ids.
        images: their ids.
        unwanted: those of them that are to be removed as soon as no container runs from them.
    """

    docker: DockerClient
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    containers: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        _OPEN_SANDBOXES.add(self.id)

    @property
    def labels(self) -> dict[str, str]:
        """What marks them as this sandbox's."""
        return {SANDBOX: self.id, OWNER: _owner_id()}

    def remove_all(self) -> None:
        """Remove all; what the docker does not let go now, `sweep` will."""
        _OPEN_SANDBOXES.discard(self.id)
        for container in list(self.containers):
            self.remove_container(container)
        self.unwanted |= self.images
        self._remove_unwanted()

    def remove_container(self, container: str) -> None:
        """Remove a container, now or with the next sweep."""
        self.containers.discard(container)
        with suppress(SandboxError):
            self.docker.remove(container)
        self._remove_unwanted()

    def remove_image_when_unused(self, image: str) -> None:
        """Remove an image as soon as that can be."""
        self.unwanted.add(image)
        self._remove_unwanted()

    def _remove_unwanted(self) -> None:
        for image in list(self.unwanted):
            with suppress(SandboxError):
                self.docker.remove_image(image)
                self.unwanted.discard(image)
                self.images.discard(image)


def sweep(docker: DockerClient) -> int:
    """Remove what sandboxes left behind whose process is gone, or that were given up.

    Returns:
        How many containers and images there were.

    Raises:
        SandboxError: if the docker does not answer.
    """
    owners, owned_images = docker.labelled(OWNER)
    sandboxes, sandbox_images = docker.labelled(SANDBOX)
    removed = 0
    for container, owner in owners.items():
        if _abandoned(owner, sandboxes.get(container, "")):
            docker.remove(container)
            removed += 1
    for image, owner in owned_images.items():
        if _abandoned(owner, sandbox_images.get(image, "")):
            docker.remove_image(image)
            removed += 1
    return removed


def _abandoned(owner: str, sandbox: str) -> bool:
    """Whether nobody will come back for something.

    What another machine, or another namespace of processes, made with the same docker is left
    alone, as from here its process cannot be seen.
    """
    if owner == _owner_id():
        return sandbox not in _OPEN_SANDBOXES
    try:
        machine, boot, namespace, pid, start = owner.split("/")
    except ValueError:
        return False
    if machine != _machine():
        return False
    if boot != _boot():
        return True
    return namespace == _namespace() and _start_time(int(pid)) != start


def _owner_id() -> str:
    pid = os.getpid()
    return "/".join((_machine(), _boot(), _namespace(), str(pid), _start_time(pid)))


def _start_time(pid: int) -> str:
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
