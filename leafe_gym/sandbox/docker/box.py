"""One container: how it is confined, started, reached, saved and brought back."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import Any

from leafe_gym.errors import SandboxError, SnapshotLost
from leafe_gym.sandbox.base import Limits
from leafe_gym.sandbox.docker.engine import Clash, checkpoint_folder
from leafe_gym.sandbox.docker.inside.guest import KEPT
from leafe_gym.sandbox.docker.line import BOOT, Line, sources
from leafe_gym.sandbox.docker.owner import Belongings
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.programs import ENVIRON

PAUSE_FROM = 28
"""Engines since this version restore no container with a network namespace of its own
(containerd #12141), so there another container holds that."""

_TRIES = 3
_OWN_MB = 64
_PYTHON = ["python3", "-s", "-S", "-P", "-c"]
_OUTSIDE_PROCESSES = 3
"""The first process, the session or its guard, a program's parent or the session."""

# As the engine's restore of a checkpoint leaves the root writable that it had made read-only.
_CLOSE_ROOT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
space = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
def done(result):
    if result: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
done(libc.setns(space, 0x20000))
done(libc.mount(None, b"/", None, ctypes.c_ulong(32 | 4096 | 1), None))
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for all containers of a sandbox and its branches.

    Attributes:
        image: made of.
        user: number of the user in it.
        limits: of memory, disk and processes.
    """

    image: str
    user: int
    limits: Limits


def memory_of(limits: Limits) -> int:
    """Bytes for a container: a session and a copy of it, its files and a copy of them."""
    return (2 * limits.memory_mb + 3 * limits.disk_mb + _OWN_MB) * 2**20


class Box:
    """A container that runs.

    Args:
        kind: how it is made.
        belongings: of the sandbox that it is for.
    """

    def __init__(self, kind: Kind, belongings: Belongings) -> None:
        self.kind = kind
        self.id = ""
        self._belongings = belongings
        self._engine = belongings.engine
        self._line: Line | None = None
        self._limits = (memory_of(kind.limits), kind.limits.processes)

    @property
    def line(self) -> Line:
        """The way to its first process."""
        if self._line is None:
            raise SandboxError("the container is not running")
        return self._line

    def begin(self, image: str = "") -> None:
        """A new container with a new session.

        Args:
            image: other than the kind's: that of a snapshot.
        """
        self._create(image)
        self._engine.start(self.id)
        self._line = Line(self._engine.attach(self.id))
        limits = self.kind.limits
        settings = {
            "memory_mb": limits.memory_mb,
            "disk_mb": limits.disk_mb,
            "output_bytes": limits.output_bytes,
        }
        self._line.boot(sources(), settings)

    def save(self) -> tuple[str, str, int]:
        """A checkpoint of memory and files: its name, the word in it, and its size in bytes."""
        for left in reversed(range(_TRIES)):
            word, name = secrets.token_hex(16), f"c{uuid.uuid4().hex[:16]}"
            self.line.ask("token", new=word)
            try:
                self._engine.checkpoint(self.id, name)
            except Clash:
                if not left:
                    raise
            else:
                return name, word, self._size(name)
        raise AssertionError("unreachable")

    def come_back(self, name: str, word: str) -> None:
        """Go on from a checkpoint, in place.

        Raises:
            SnapshotLost: if it is gone, or the session does not have that word in its memory.
        """
        self.hang_up()
        self._engine.stop(self.id)
        self._start(name)
        self._line = Line(self._engine.attach(self.id))
        close_root(self._engine.running(self.id))
        try:
            told, _ = self._line.ask("token")
        except SandboxError as error:
            raise SnapshotLost(f"the restored session does not answer: {error}") from error
        if told.get("token") != word:
            raise SnapshotLost("the engine started a container that is not the saved one")
        if told.get("read_only") is not True:
            raise SandboxError("the restored container's root cannot be made read-only")

    def born_from(self, other: str, name: str, word: str) -> None:
        """A new container that goes on from another one's checkpoint.

        Args:
            other: that container's id.
            name: of the checkpoint.
            word: in its memory.
        """
        self._create()
        root = str(self._engine.info()["DockerRootDir"])
        source, target = (checkpoint_folder(root, one, name) for one in (other, self.id))
        try:
            shutil.copytree(source, target)
        except OSError as error:
            raise SnapshotLost(f"the checkpoint is gone: {error}") from error
        self.come_back(name, word)
        self._engine.drop_checkpoint(self.id, name)

    def fit(self, limits: Limits) -> None:
        """Have room for a call with other limits than the container's own."""
        wanted = (max(memory_of(limits), self._limits[0]), limits.processes)
        if wanted != self._limits:
            self._engine.resize(self.id, wanted[0], wanted[1] + _OUTSIDE_PROCESSES)
            self._limits = wanted

    def hang_up(self) -> None:
        """Speak to it no more."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def end(self) -> None:
        """Remove it with its checkpoints."""
        self.hang_up()
        self._belongings.forget(self.id)

    def _start(self, name: str) -> None:
        folder = checkpoint_folder(str(self._engine.info()["DockerRootDir"]), self.id, name)
        for left in reversed(range(_TRIES)):
            try:
                (folder / "nonce").write_text(uuid.uuid4().hex)
            except OSError as error:
                raise SnapshotLost(f"the checkpoint is gone: {error}") from error
            try:
                self._engine.start(self.id, name)
            except Clash:
                if not left:
                    raise
            else:
                return

    def _create(self, image: str = "") -> None:
        network = "none"
        if self._engine.major >= PAUSE_FROM:
            network = f"container:{self._pause()}"
        self.id = self._engine.create(
            image or self.kind.image, **confined(self.kind, self._belongings.labels, network)
        )
        self._belongings.containers.add(self.id)

    def _pause(self) -> str:
        """A container that only holds a network namespace."""
        given = confined(self.kind, self._belongings.labels, "none")
        given["command"] = ["import signal; signal.pause()"]
        held = self._engine.create(self.kind.image, **given)
        self._belongings.containers.add(held)
        self._engine.start(held)
        return held

    def _size(self, name: str) -> int:
        folder = checkpoint_folder(str(self._engine.info()["DockerRootDir"]), self.id, name)
        return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def confined(kind: Kind, labels: dict[str, str], network: str) -> dict[str, Any]:
    """Arguments of `Engine.create` for a container that may do as little as possible."""
    limits = kind.limits
    memory, own = memory_of(limits), f"uid={kind.user},gid={kind.user},nosuid,nodev"
    room = f"size={limits.disk_mb}m,nr_inodes={max(64, limits.disk_mb) * 256},{own}"
    folders = {HOME: f"{room},mode=755,exec", "/tmp": f"{room},mode=1777,exec"}
    folders["/dev/shm"] = f"{room},mode=1777,noexec"
    # A snapshot's image has this folder; so that / looks the same, every container has it.
    folders[f"{kept_file()[0]}/own"] = "size=4k,mode=755,ro"
    given: dict[str, Any] = {
        "command": [BOOT],
        "entrypoint": _PYTHON,
        "user": f"{kind.user}:{kind.user}",
        "environment": dict(ENVIRON, PYTHONDONTWRITEBYTECODE="1"),
        "working_dir": "/",
        "stdin_open": True,
        "labels": labels,
        "host_config": {
            "AutoRemove": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "NetworkMode": network,
            "IpcMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": folders,
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": 10**9,
            "PidsLimit": limits.processes + _OUTSIDE_PROCESSES,
            "OomScoreAdj": 500,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "LogConfig": {"Type": "none", "Config": {}},
            "RestartPolicy": {"Name": "no"},
        },
    }
    if network == "none":
        given["hostname"] = "box"
    return given


def kept_file() -> tuple[str, str]:
    """(folder, name) of the file in which an image has its snapshot's files."""
    folder, _, name = KEPT.rpartition("/")
    return folder, name


def close_root(pid: int) -> None:
    """Make the root of a container read-only, from outside; needs root.

    Args:
        pid: the host's process of the container.

    Raises:
        SandboxError: if that is refused.
    """
    if not pid:
        raise SandboxError("the restored container ended at once")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _CLOSE_ROOT, str(pid)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"its root cannot be made read-only: {done.stderr[-200:]}")
