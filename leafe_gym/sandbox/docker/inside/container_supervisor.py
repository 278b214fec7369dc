"""The session in a container, and the supervisor that handles the host program's requests.

In addition to the requests of the embedded supervisor that need no layers: `exchange_token` keeps a
word in memory, `pack_state` returns the files and the digest of the session's variables,
`load_files` restores such files.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from leafe_gym.sandbox.docker.inside.file_trees import (
    MemoryFiles,
    pack_tree,
    put_trees,
    read_trees,
    unpack_tree,
)
from leafe_gym.sandbox.embedded.inside import processes, syscalls
from leafe_gym.sandbox.embedded.inside.privileges import drop_privileges
from leafe_gym.sandbox.embedded.inside.program_cgroup import ProgramCgroup
from leafe_gym.sandbox.embedded.inside.programs import WORK
from leafe_gym.sandbox.embedded.inside.saveable import threads
from leafe_gym.sandbox.embedded.inside.session_manager import RequestFailed, SessionManager
from leafe_gym.sandbox.embedded.inside.supervisor import Answer, Supervisor
from leafe_gym.sandbox.embedded.inside.wire import Channel

FOLDERS = (WORK, "/tmp", "/dev/shm")
"""Folders that a snapshot contains beside memory; the only writable ones."""

SNAPSHOT_FILE = "/leafe-gym/files"
"""Path of the snapshot's files in an image."""

PROCESSES = 30_000
"""Limit on the user's processes on the whole host; the container has a lower limit of its own."""

_ST_RDONLY = 1
_KILL_S = 2.0


class ContainerSessionManager(SessionManager):
    """A session confined by its container; without Landlock, which a checkpoint does not save."""

    root = ""
    homes = ()

    running = False
    """Whether the session must not be stopped now, as a checkpoint follows."""

    def pause(self) -> None:
        """See `SessionManager.pause`."""
        if not self.running:
            super().pause()


class ContainerContext:
    """Runs programs in the container beside the session, which they cannot signal.

    Args:
        path: search path for programs.
        protected: returns the processes that programs may not signal.
    """

    def __init__(self, path: str, protected: Callable[[], Sequence[int]]) -> None:
        self.path = path
        self.cgroup = ProgramCgroup(())  # the container is one
        self._protected = protected

    def fork(self) -> int:
        """See `ProgramContext.fork`."""
        return os.fork()

    def enter(self, disk_mb: int, own_folder: bool) -> None:
        """See `ProgramContext.enter`; the supervisor empties the folders, which are limited."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)

    def end_rest(self) -> None:
        """See `ProgramContext.end_rest`; orphans become children of this process."""
        deadline = time.monotonic() + _KILL_S
        own = os.getpid()
        while time.monotonic() < deadline:
            rest = [pid for pid in processes.all_processes() if processes.parent(pid) == own]
            if not rest:
                return
            for pid in rest:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def drop(self) -> None:
        """See `ProgramContext.drop`."""
        pids = [pid for pid in self._protected() if pid]
        groups = [os.getpgid(pid) for pid in pids]
        drop_privileges([WORK, "/tmp", "/dev"], sorted({*pids, *groups}))


class ContainerSupervisor(Supervisor):
    """A supervisor whose session runs in a container.

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
        self._container_session = session
        self._token = ""

    def _answer(self, message: dict[str, Any], blob: bytes) -> Answer:
        self._container_session.running = False
        return super()._answer(message, blob)

    def _do_run_program(self, request: dict[str, Any], blob: bytes) -> Answer:
        """See `Supervisor`; changes are undone outside the work folder, or everywhere."""
        own_folder = request["files"] is not None
        undone = FOLDERS if own_folder else FOLDERS[1:]
        before = read_trees(undone)
        if own_folder:
            put_trees(undone, {})
        try:
            return super()._do_run_program({**request, "processes": PROCESSES}, blob)
        finally:
            self._session.kill_leftovers()
            put_trees(undone, before)

    def _do_exchange_token(self, request: dict[str, Any], _: bytes) -> Answer:
        """Return the stored token; `new` replaces it."""
        old = self._token
        if "new" in request:
            self._session.ensure_alive()
            live = self._session.live_process()
            if threads(live.pid) > 1:
                raise RequestFailed(
                    "unsaved", "the session holds threads, which no snapshot can hold"
                )
            live.go()
            self._container_session.running = True
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
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    return ContainerSupervisor(settings, host)
