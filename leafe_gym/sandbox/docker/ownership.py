"""Ownership of containers and images, and the removal of abandoned ones.

Every container and image has two labels: the sandbox that it belongs to, and the process that owns
that sandbox. Resources of a process that has ended, for example by `kill -9`, are removed when the
next sandbox starts.
"""

from __future__ import annotations

import os
import platform
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.errors import SandboxError
from leafe_gym.sandbox.docker.docker_client import DockerClient

SANDBOX, OWNER = "leafe-gym.sandbox", "leafe-gym.owner"

_OPEN_SANDBOXES: set[str] = set()
"""Ids of this process's sandboxes that were started and not closed."""


@dataclass(slots=True)
class OwnedResources:
    """Containers and images of one sandbox.

    Attributes:
        docker: the engine.
        id: of the sandbox.
        containers: container ids.
        images: image ids.
        unwanted: ids of images to remove as soon as no container uses them.
        guard: the process that owns them.
    """

    docker: DockerClient
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    containers: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)
    guard: ProcessGuard = field(default_factory=lambda: ProcessGuard("a sandbox's containers"))

    def __post_init__(self) -> None:
        _OPEN_SANDBOXES.add(self.id)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of this sandbox's containers and images."""
        return {SANDBOX: self.id, OWNER: _owner_id()}

    def remove_all(self) -> None:
        """Remove all of them; `sweep` removes what the engine cannot remove now.

        After a fork, does nothing in the child.
        """
        if self.guard.foreign:
            return
        _OPEN_SANDBOXES.discard(self.id)
        for container in list(self.containers):
            self.remove_container(container)
        self.unwanted |= self.images
        self._remove_unwanted()

    def remove_container(self, container: str) -> None:
        """Remove a container, now or in the next sweep."""
        self.containers.discard(container)
        with suppress(SandboxError):
            self.docker.remove(container)
        self._remove_unwanted()

    def remove_image_when_unused(self, image: str) -> None:
        """Remove an image as soon as no container uses it."""
        self.unwanted.add(image)
        self._remove_unwanted()

    def _remove_unwanted(self) -> None:
        for image in list(self.unwanted):
            with suppress(SandboxError):
                self.docker.remove_image(image)
                self.unwanted.discard(image)
                self.images.discard(image)


def sweep(docker: DockerClient) -> int:
    """Remove the containers and images of ended processes and of closed sandboxes.

    Returns:
        The number of containers and images removed.

    Raises:
        SandboxError: if the engine does not respond.
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
    """Whether the owner of a resource has ended or closed its sandbox.

    Resources that another machine or process namespace created with the same engine are kept, as
    their process is not visible from here.
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
    """Start time of a process, in clock ticks since boot; "" if it does not exist."""
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
