"""The session in a container, and what its first process does for the host program.

Beside the embedded supervisor's `exec`, `run`, `write`, `read` and `fresh`: `token` keeps a word in
memory, `pack` gives the files and the session's fingerprint, `adopt` puts such files in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from leafe_gym.sandbox.docker.inside.file_trees import (
    MemoryFiles,
    pack_tree,
    put_trees,
    read_trees,
    unpack_tree,
)
from leafe_gym.sandbox.embedded.inside import processes, syscalls
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.privileges import drop_privileges
from leafe_gym.sandbox.embedded.inside.session_manager import RequestFailed, SessionManager
from leafe_gym.sandbox.embedded.inside.supervisor import Answer, Supervisor
from leafe_gym.sandbox.embedded.inside.wire import Channel

WORK = f"{HOME}/work"
FOLDERS = (WORK, "/tmp", "/dev/shm")
"""What a snapshot holds beside memory; nothing else can be written."""

SNAPSHOT_FILE = "/leafe-gym/files"
"""Where an image has the files of its snapshot."""

PROCESSES = 30_000
"""Limit of the kernel's count by user, which is the host's: the container's own limit counts."""

_ST_RDONLY = 1


class ContainerSessionManager(SessionManager):
    """A session that is confined by its container; Landlock would be lost in a checkpoint."""

    root = ""
    homes = ()


class ContainerContext:
    """Where programs run: in the container, beside the session, which they may not signal.

    Args:
        path: where programs are looked for.
        protected: says which processes they may not signal.
    """

    def __init__(self, path: str, protected: Callable[[], Sequence[int]]) -> None:
        self.path = path
        self._protected = protected

    def fork(self) -> int:
        """See `ProgramContext.fork`."""
        return os.fork()

    def enter(self, disk_mb: int) -> None:
        """See `ProgramContext.enter`; the folders have their limit already."""

    def drop(self) -> None:
        """See `ProgramContext.drop`."""
        pids = [pid for pid in self._protected() if pid]
        groups = [os.getpgid(pid) for pid in pids]
        drop_privileges([HOME, "/tmp", "/dev"], sorted({*pids, *groups}))


class ContainerSupervisor(Supervisor):
    """See the module.

    Args:
        settings: limits and the search path for programs.
        host: channel to the host program.
    """

    def __init__(self, settings: dict[str, Any], host: Channel) -> None:
        never, self._unused = os.pipe()  # a container ends by being removed
        session = ContainerSessionManager(
            {**settings, "processes": PROCESSES}, never, MemoryFiles(FOLDERS)
        )
        super().__init__(host, never, session, ContainerContext(settings["path"], session.own_pids))
        self._token = ""

    def _do_run_program(self, order: dict[str, Any], stdin: bytes) -> Answer:
        """As everywhere; what it leaves outside the work folder is put back."""
        outside = FOLDERS[1:]
        before = read_trees(outside)
        answer = super()._do_run_program({**order, "processes": PROCESSES}, stdin)
        self._session.kill_leftovers()
        put_trees(outside, before)
        return answer

    def _do_exchange_token(self, order: dict[str, Any], _: bytes) -> Answer:
        """The word before this; `new` takes its place."""
        old = self._token
        if "new" in order:
            self._session.ensure_alive()
            if processes.threads(self._session.live_process().pid) > 1:
                raise RequestFailed(
                    "sandbox", "the session runs threads, which no snapshot can hold"
                )
            self._token = order["new"]
        closed = bool(os.statvfs("/").f_flag & _ST_RDONLY)
        return {"token": old, "read_only": closed}, ()

    def _do_pack_state(self, _: dict[str, Any], __: bytes) -> Answer:
        session = self._session
        session.ensure_alive()
        number = session.save()
        digest = session.digest(number)
        session.drop(number)
        return {"digest": digest}, (pack_tree(read_trees(FOLDERS)),)

    def _do_load_files(self, _: dict[str, Any], __: bytes) -> Answer:
        self._session.current_id = None
        with open(SNAPSHOT_FILE, "rb") as file:
            put_trees(FOLDERS, unpack_tree(file.read()))
        return {}, ()


def make_supervisor(settings: dict[str, Any], host: Channel) -> ContainerSupervisor:
    """Be the first process of a container, which code in it can neither trace nor look into."""
    os.umask(0o022)
    os.mkdir(WORK)
    syscalls.prctl(4, 0)
    return ContainerSupervisor(settings, host)
