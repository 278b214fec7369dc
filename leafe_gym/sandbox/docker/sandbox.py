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
from leafe_gym.sandbox.base import Capabilities, Limits, RunResult, SandboxSnapshot
from leafe_gym.sandbox.docker.box import Box, Kind, kept_file
from leafe_gym.sandbox.docker.engine import Absent, Engine
from leafe_gym.sandbox.docker.owner import Belongings, sweep
from leafe_gym.sandbox.docker.probe import IMAGE, ORDINARY, checkpoint_user, need_image
from leafe_gym.sandbox.stepwise import Step, Stepwise, not_running, steps_after
from leafe_gym.sandbox.talk import Dead, Talk


@dataclass(slots=True, eq=False, weakref_slot=True)
class Mark:
    """A snapshot as the sandbox that made it knows it.

    Attributes:
        sandbox: that sandbox.
        belongings: what it had then; others after it was closed.
        step: the last thing done before.
        place: a container's id, or an image's.
        name: of the checkpoint in the container; "" for an image.
        word: what has to be the same after coming back.
        dropped: whether it was given up.
    """

    sandbox: ContainerSandbox
    belongings: Belongings
    step: Step | None = field(repr=False)
    place: str
    name: str
    word: str
    dropped: bool = False

    @property
    def good(self) -> bool:
        """Whether it can still be used."""
        return not self.dropped and self.belongings is self.sandbox._belongings


class ContainerSandbox(Stepwise):
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

    def __init__(self, limits: Limits | None = None, *, image: str = IMAGE) -> None:
        super().__init__(limits or Limits())
        self.image = image
        self._engine = Engine()
        need_image(self._engine, image)
        self._kind = Kind(image, self._user(), self.limits)
        self._belongings: Belongings | None = None
        self._box: Box | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def start(self) -> None:
        """See `Sandbox.start`."""
        self.close()
        sweep(self._engine)
        self._own()
        self._new_box().begin()

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`.

        Raises:
            SnapshotLost: if it was dropped, its sandbox closed, or it comes out otherwise.
        """
        mark = self._mark(snapshot)
        if mark.sandbox is not self or not mark.good:
            raise SnapshotLost(
                "the snapshot was dropped, its sandbox closed, or it is another one's: branch()"
            )
        self._return(mark)
        self._last = mark.step

    def branch(self, snapshot: SandboxSnapshot) -> Self:
        """See `Sandbox.branch`.

        Raises:
            SnapshotLost: if it is gone, or comes out otherwise.
        """
        mark = self._mark(snapshot)
        if not mark.good:
            raise SnapshotLost("the snapshot was dropped, or its sandbox closed")
        other = type(self)(self.limits, image=self.image)
        other._own()
        try:
            other._inherit(mark)
        except BaseException:
            other.close()
            raise
        other._last = mark.step
        return other

    def close(self) -> None:
        """See `Sandbox.close`; what cannot be removed now goes when another starts."""
        box, self._box = self._box, None
        if box is not None:
            box.hang_up()
        self._belongings, self._last = None, None
        if self._end is not None:
            self._end()
            self._end = None

    @abstractmethod
    def _user(self) -> int:
        """Number of the user in the container."""

    @abstractmethod
    def _return(self, mark: Mark) -> None:
        """Go on from a snapshot of this sandbox."""

    @abstractmethod
    def _inherit(self, mark: Mark) -> None:
        """Begin from another sandbox's snapshot."""

    @property
    def _link(self) -> Talk:
        if self._box is None:
            raise not_running()
        return self._box.line

    def _run(self, argv: Any, stdin: str, limits: Limits) -> RunResult:
        if self._box is None:
            raise not_running()
        self._box.fit(limits)
        return super()._run(argv, stdin, limits)

    def _own(self) -> Belongings:
        belongings = Belongings(self._engine)
        self._belongings = belongings
        self._end = weakref.finalize(self, belongings.remove)
        return belongings

    def _new_box(self) -> Box:
        assert self._belongings is not None
        self._box = Box(self._kind, self._belongings)
        return self._box

    def _mark(self, snapshot: SandboxSnapshot) -> Mark:
        mark = snapshot.token
        if not isinstance(mark, Mark) or type(mark.sandbox) is not type(self):
            raise UsageError(f"a snapshot of sandbox {snapshot.kind!r} cannot be used here")
        return mark


class DockerSandbox(ContainerSandbox):
    """`docker`: see the module and `ContainerSandbox`. Needs root on the engine's host."""

    kind = "docker"

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxError: if the session runs threads, or the engine refuses.
        """
        if self._box is None or self._belongings is None:
            raise not_running()
        try:
            saved = self._box.save()
        except Dead:
            self._make_again(self._last)
            saved = self._box.save()
        name, word, size = saved
        mark = Mark(self, self._belongings, self._last, self._box.id, name, word)
        self._marks.append(weakref.ref(mark))
        return SandboxSnapshot(kind=self.kind, token=mark, nbytes=size)

    def start(self) -> None:
        """See `Sandbox.start`."""
        self._marks: list[weakref.ref[Mark]] = []
        super().start()

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        mark = self._mark(snapshot)
        if mark.good:
            mark.dropped = True
            self._engine.drop_checkpoint(mark.place, mark.name)

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(
            memory=True, files=True, branch=True, isolation="container", needs_root=True
        )

    def _user(self) -> int:
        return checkpoint_user(self._engine, self.image)

    def _return(self, mark: Mark) -> None:
        assert self._box is not None
        try:
            self._box.come_back(mark.name, mark.word)
        except Absent as error:
            raise SnapshotLost(f"its container was removed: {error}") from error

    def _inherit(self, mark: Mark) -> None:
        self._marks = []
        self._new_box().born_from(mark.place, mark.name, mark.word)

    def _make_again(self, step: Step | None) -> None:
        """The nearest snapshot before a step, and what was done since then once more."""
        marks = {mark.step: mark for one in self._marks if (mark := one()) and mark.good}
        since: list[Step] = []
        at = step
        while at is not None and at not in marks:
            since.append(at)
            at = at.before
        if at in marks:
            self._return(marks[at])
        else:
            self._link.ask("fresh")
        self._last = at
        self._do_again(since[::-1])


class DockerCommitSandbox(ContainerSandbox):
    """`docker-commit`: see the module and `ContainerSandbox`. Needs no root and no checkpoints."""

    kind = "docker-commit"

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxError: if the session runs threads, or the engine refuses.
        """
        belongings = self._belongings
        if belongings is None:
            raise not_running()
        try:
            word, files = self._pack()
        except Dead:
            self._make_again(self._last)
            word, files = self._pack()
        carrier = self._engine.create(self.image, command=["none"], labels=belongings.labels)
        belongings.containers.add(carrier)
        self._engine.put(carrier, *kept_file(), files)
        image = self._engine.commit(carrier, belongings.labels)
        belongings.images.add(image)
        belongings.forget(carrier)
        mark = Mark(self, belongings, self._last, image, "", word)
        return SandboxSnapshot(kind=self.kind, token=mark, nbytes=len(files))

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        mark = self._mark(snapshot)
        if mark.good:
            mark.dropped = True
            mark.belongings.forget_image(mark.place)

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=False, files=True, branch=True, isolation="container")

    def _user(self) -> int:
        return ORDINARY

    def _return(self, mark: Mark) -> None:
        old, last = self._box, self._last
        try:
            self._inherit(mark)
        except BaseException:
            if self._box is not None and self._box is not old:
                self._box.end()
            self._box, self._last = old, last
            raise
        if old is not None:
            old.end()

    def _inherit(self, mark: Mark) -> None:
        try:
            self._new_box().begin(mark.place)
        except Absent as error:
            raise SnapshotLost(f"its image was removed: {error}") from error
        self._last = None
        self._do_again(steps_after(mark.step))
        self._link.ask("adopt")
        word, _ = self._pack()
        if not mark.word or word != mark.word:
            raise SnapshotLost("made again in another container, variables differ")

    def _pack(self) -> tuple[str, bytes]:
        most = 4 * self.limits.disk_mb * 2**20 + 2**20
        answer, (files,) = self._link.ask("pack", most=most)
        return str(answer["mark"]), files

    def _make_again(self, step: Step | None) -> None:
        """A session in which everything up to a step was done, in empty folders."""
        self._link.ask("fresh")
        self._last = None
        self._do_again(steps_after(step))
