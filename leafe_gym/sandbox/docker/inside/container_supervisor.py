"""The session in a container, and the supervisor that handles the host program's requests.

In addition to `run_cell`, `run_program`, `write_file`, `read_file` and `reset` of the embedded
supervisor: `exchange_token` keeps a word in memory, `pack_state` returns the files and the digest
of the session's variables, `load_files` restores such files.
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
"""Folders that a snapshot contains beside memory; the only writable ones."""

SNAPSHOT_FILE = "/leafe-gym/files"
"""Path of the snapshot's files in an image."""

PROCESSES = 30_000
"""Limit on the user's processes on the whole host; the container has a lower limit of its own."""

_ST_RDONLY = 1


class ContainerSessionManager(SessionManager):
    """A session confined by its container; without Landlock, which a checkpoint does not save."""

    root = ""
    homes = ()


class ContainerContext:
    """Runs programs in the container beside the session, which they cannot signal.

    Args:
        path: search path for programs.
        protected: returns the processes that programs may not signal.
    """

    def __init__(self, path: str, protected: Callable[[], Sequence[int]]) -> None:
        self.path = path
        self._protected = protected

    def fork(self) -> int:
        """See `ProgramContext.fork`."""
        return os.fork()

    def enter(self, disk_mb: int) -> None:
        """See `ProgramContext.enter`; the folders already have their size limit."""

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
        never, self._unused = os.pipe()  # never readable: a container ends by being removed
        session = ContainerSessionManager(
            {**settings, "processes": PROCESSES}, never, MemoryFiles(FOLDERS)
        )
        super().__init__(host, never, session, ContainerContext(settings["path"], session.own_pids))
        self._token = ""

    def _do_run_program(self, request: dict[str, Any], stdin: bytes) -> Answer:
        """As in the base class; changes outside the work folder are undone."""
        outside = FOLDERS[1:]
        before = read_trees(outside)
        answer = super()._do_run_program({**request, "processes": PROCESSES}, stdin)
        self._session.kill_leftovers()
        put_trees(outside, before)
        return answer

    def _do_exchange_token(self, request: dict[str, Any], _: bytes) -> Answer:
        """Return the stored token; `new` replaces it."""
        old = self._token
        if "new" in request:
            self._session.ensure_alive()
            if processes.threads(self._session.live_process().pid) > 1:
                raise RequestFailed(
                    "sandbox", "the session runs threads, which no snapshot can hold"
                )
            self._token = request["new"]
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
    """Create the supervisor; makes this process inaccessible to other processes."""
    os.umask(0o022)
    os.mkdir(WORK)
    syscalls.prctl(4, 0)
    return ContainerSupervisor(settings, host)
