"""The two sandboxes in containers.

`docker`: a snapshot is a checkpoint of the container (CRIU), which holds memory and files, as these
lie in memory, too. `docker-commit`: a snapshot is an image with the files; memory is made again by
doing the same things again, and everything they show is compared.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self

from leafe_gym.errors import SnapshotLost, UsageError
from leafe_gym.sandbox.base import Capabilities, ProgramResult, SandboxLimits, SandboxSnapshot
from leafe_gym.sandbox.docker.container import Container, ContainerSpec, snapshot_file_path
from leafe_gym.sandbox.docker.docker_client import DockerClient, NotFound
from leafe_gym.sandbox.docker.ownership import OwnedResources, sweep
from leafe_gym.sandbox.docker.probe import IMAGE, ORDINARY, checkpoint_user, require_image
from leafe_gym.sandbox.replayable import (
    Operation,
    ReplayableSandbox,
    not_running,
    operations_between,
)
from leafe_gym.sandbox.supervisor_client import SessionDied, SupervisorClient


@dataclass(slots=True, eq=False, weakref_slot=True)
class SavedContainer:
    """A snapshot as the sandbox that made it knows it.

    Attributes:
        sandbox: that sandbox.
        resources: what it had then; others after it was closed.
        operation: the last thing done before.
        location: a container's id, or an image's.
        name: of the checkpoint in the container; "" for an image.
        token: what has to be the same after coming back.
        dropped: whether it was given up.
    """

    sandbox: ContainerSandbox
    resources: OwnedResources
    operation: Operation | None = field(repr=False)
    location: str
    name: str
    token: str
    dropped: bool = False

    @property
    def usable(self) -> bool:
        """Whether it can still be used."""
        return not self.dropped and self.resources is self.sandbox._resources


class ContainerSandbox(ReplayableSandbox):
    """What both have in common.

    Code runs in a container without capabilities, network or a writable root; its folders are
    memory with a limit. A cell that runs out of time or memory, or ends the interpreter, leaves the
    session as it was before; what a cell starts in the background ends with it.

    Args:
        limits: of each call where it names none of its own; `memory_mb`, `processes` and
            `disk_mb` are also the container's.
        image: an image of the engine with Python 3.11 or newer as `python3`.

    Raises:
        MissingExtra: if the Docker SDK for Python is not installed.
        SandboxUnavailable: if the engine cannot do it; says what is missing.
    """

    kind: str

    def __init__(self, limits: SandboxLimits | None = None, *, image: str = IMAGE) -> None:
        super().__init__(limits or SandboxLimits())
        self.image = image
        self._docker = DockerClient()
        require_image(self._docker, image)
        self._spec = ContainerSpec(image, self._user_id(), self.limits)
        self._resources: OwnedResources | None = None
        self._container: Container | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def start(self) -> None:
        """See `Sandbox.start`."""
        self.close()
        sweep(self._docker)
        self._acquire()
        self._new_container().start()

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`.

        Raises:
            SnapshotLost: if it was dropped, its sandbox closed, or it comes out otherwise.
        """
        saved = self._saved(snapshot)
        if saved.sandbox is not self or not saved.usable:
            raise SnapshotLost(
                "the snapshot was dropped, its sandbox closed, or it is another one's: branch()"
            )
        self._restore_in_place(saved)
        self._last = saved.operation

    def branch(self, snapshot: SandboxSnapshot) -> Self:
        """See `Sandbox.branch`.

        Raises:
            SnapshotLost: if it is gone, or comes out otherwise.
        """
        saved = self._saved(snapshot)
        if not saved.usable:
            raise SnapshotLost("the snapshot was dropped, or its sandbox closed")
        other = type(self)(self.limits, image=self.image)
        other._acquire()
        try:
            other._start_from(saved)
        except BaseException:
            other.close()
            raise
        other._last = saved.operation
        return other

    def close(self) -> None:
        """See `Sandbox.close`; what cannot be removed now goes when another starts."""
        container, self._container = self._container, None
        if container is not None:
            container.disconnect()
        self._resources, self._last = None, None
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None

    @abstractmethod
    def _user_id(self) -> int:
        """Number of the user in the container."""

    @abstractmethod
    def _restore_in_place(self, saved: SavedContainer) -> None:
        """Go on from a snapshot of this sandbox."""

    @abstractmethod
    def _start_from(self, saved: SavedContainer) -> None:
        """Begin from another sandbox's snapshot."""

    @property
    def _client(self) -> SupervisorClient:
        if self._container is None:
            raise not_running()
        return self._container.client

    def _run_program(self, argv: Any, stdin: str, limits: SandboxLimits) -> ProgramResult:
        if self._container is None:
            raise not_running()
        self._container.ensure_limits(limits)
        return super()._run_program(argv, stdin, limits)

    def _acquire(self) -> OwnedResources:
        resources = OwnedResources(self._docker)
        self._resources = resources
        self._finalizer = weakref.finalize(self, resources.remove_all)
        return resources

    def _new_container(self) -> Container:
        assert self._resources is not None
        self._container = Container(self._spec, self._resources)
        return self._container

    def _saved(self, snapshot: SandboxSnapshot) -> SavedContainer:
        saved = snapshot.token
        if not isinstance(saved, SavedContainer) or type(saved.sandbox) is not type(self):
            raise UsageError(f"a snapshot of sandbox {snapshot.kind!r} cannot be used here")
        return saved


class DockerSandbox(ContainerSandbox):
    """`docker`: see the module and `ContainerSandbox`. Needs root on the engine's host."""

    kind = "docker"

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxError: if the session runs threads, or the engine refuses.
        """
        if self._container is None or self._resources is None:
            raise not_running()
        try:
            name, token, size = self._container.checkpoint()
        except SessionDied:
            self._rebuild(self._last)
            name, token, size = self._container.checkpoint()
        saved = SavedContainer(self, self._resources, self._last, self._container.id, name, token)
        self._snapshots.append(weakref.ref(saved))
        return SandboxSnapshot(kind=self.kind, token=saved, nbytes=size)

    def start(self) -> None:
        """See `Sandbox.start`."""
        self._snapshots: list[weakref.ref[SavedContainer]] = []
        super().start()

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        saved = self._saved(snapshot)
        if saved.usable:
            saved.dropped = True
            self._docker.remove_checkpoint(saved.location, saved.name)

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(
            memory=True, files=True, branch=True, isolation="container", needs_root=True
        )

    def _user_id(self) -> int:
        return checkpoint_user(self._docker, self.image)

    def _restore_in_place(self, saved: SavedContainer) -> None:
        assert self._container is not None
        try:
            self._container.restore(saved.name, saved.token)
        except NotFound as error:
            raise SnapshotLost(f"its container was removed: {error}") from error

    def _start_from(self, saved: SavedContainer) -> None:
        self._snapshots = []
        self._new_container().start_from_checkpoint(saved.location, saved.name, saved.token)

    def _rebuild(self, operation: Operation | None) -> None:
        """The nearest snapshot before a operation, and what was done since then once more."""
        by_operation = {
            saved.operation: saved for one in self._snapshots if (saved := one()) and saved.usable
        }
        since: list[Operation] = []
        at = operation
        while at is not None and at not in by_operation:
            since.append(at)
            at = at.previous
        if at in by_operation:
            self._restore_in_place(by_operation[at])
        else:
            self._client.ask("reset")
        self._last = at
        self._replay(since[::-1])


class DockerCommitSandbox(ContainerSandbox):
    """`docker-commit`: see the module and `ContainerSandbox`. Needs no root and no checkpoints."""

    kind = "docker-commit"

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxError: if the session runs threads, or the engine refuses.
        """
        resources = self._resources
        if resources is None:
            raise not_running()
        try:
            token, files = self._pack_state()
        except SessionDied:
            self._rebuild(self._last)
            token, files = self._pack_state()
        carrier = self._docker.create(self.image, command=["none"], labels=resources.labels)
        resources.containers.add(carrier)
        self._docker.put_file(carrier, *snapshot_file_path(), files)
        image = self._docker.commit(carrier, resources.labels)
        resources.images.add(image)
        resources.remove_container(carrier)
        saved = SavedContainer(self, resources, self._last, image, "", token)
        return SandboxSnapshot(kind=self.kind, token=saved, nbytes=len(files))

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        saved = self._saved(snapshot)
        if saved.usable:
            saved.dropped = True
            saved.resources.remove_image_when_unused(saved.location)

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=False, files=True, branch=True, isolation="container")

    def _user_id(self) -> int:
        return ORDINARY

    def _restore_in_place(self, saved: SavedContainer) -> None:
        old, last = self._container, self._last
        try:
            self._start_from(saved)
        except BaseException:
            if self._container is not None and self._container is not old:
                self._container.remove()
            self._container, self._last = old, last
            raise
        if old is not None:
            old.remove()

    def _start_from(self, saved: SavedContainer) -> None:
        try:
            self._new_container().start(saved.location)
        except NotFound as error:
            raise SnapshotLost(f"its image was removed: {error}") from error
        self._last = None
        self._replay(operations_between(saved.operation))
        self._client.ask("load_files")
        token, _ = self._pack_state()
        if not saved.token or token != saved.token:
            raise SnapshotLost("made again in another container, variables differ")

    def _pack_state(self) -> tuple[str, bytes]:
        most = 4 * self.limits.disk_mb * 2**20 + 2**20
        answer, (files,) = self._client.ask("pack_state", most=most)
        return str(answer["digest"]), files

    def _rebuild(self, operation: Operation | None) -> None:
        """A session in which everything up to a operation was done, in empty folders."""
        self._client.ask("reset")
        self._last = None
        self._replay(operations_between(operation))
