"""The session in a container, and what its first process does for the host program.

Beside the embedded supervisor's `exec`, `run`, `write`, `read` and `fresh`: `token` keeps a word in
memory, `pack` gives the files and the session's fingerprint, `adopt` puts such files in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from leafe_gym.sandbox.docker.inside.files import Held, packed, put_trees, read_trees, unpacked
from leafe_gym.sandbox.embedded.inside import calls, processes
from leafe_gym.sandbox.embedded.inside.drop import drop_rights
from leafe_gym.sandbox.embedded.inside.jail import HOME
from leafe_gym.sandbox.embedded.inside.session import Failed, Session
from leafe_gym.sandbox.embedded.inside.supervisor import Answer, Supervisor
from leafe_gym.sandbox.embedded.inside.wire import Channel

WORK = f"{HOME}/work"
FOLDERS = (WORK, "/tmp", "/dev/shm")
"""What a snapshot holds beside memory; nothing else can be written."""

KEPT = "/leafe-gym/files"
"""Where an image has the files of its snapshot."""

PROCESSES = 30_000
"""Limit of the kernel's count by user, which is the host's: the container's own limit counts."""

_ST_RDONLY = 1


class GuestSession(Session):
    """A session that is confined by its container; Landlock would be lost in a checkpoint."""

    root = ""
    homes = ()


class Here:
    """Where programs run: in the container, beside the session, which they may not signal.

    Args:
        path: where programs are looked for.
        spared: says which processes they may not signal.
    """

    def __init__(self, path: str, spared: Callable[[], Sequence[int]]) -> None:
        self.path = path
        self._spared = spared

    def fork(self) -> int:
        """See `Place.fork`."""
        return os.fork()

    def enter(self, disk_mb: int) -> None:
        """See `Place.enter`; the folders have their limit already."""

    def drop(self) -> None:
        """See `Place.drop`."""
        pids = [pid for pid in self._spared() if pid]
        groups = [os.getpgid(pid) for pid in pids]
        drop_rights([HOME, "/tmp", "/dev"], sorted({*pids, *groups}))


class Guest(Supervisor):
    """See the module.

    Args:
        settings: limits and the search path for programs.
        host: channel to the host program.
    """

    def __init__(self, settings: dict[str, Any], host: Channel) -> None:
        never, self._unused = os.pipe()  # a container ends by being removed
        session = GuestSession({**settings, "processes": PROCESSES}, never, Held(FOLDERS))
        super().__init__(host, never, session, Here(settings["path"], session.known))
        self._token = ""

    def _do_run(self, order: dict[str, Any], stdin: bytes) -> Answer:
        """As everywhere; what it leaves outside the work folder is put back."""
        outside = FOLDERS[1:]
        before = read_trees(outside)
        answer = super()._do_run({**order, "processes": PROCESSES}, stdin)
        self._session.settle()
        put_trees(outside, before)
        return answer

    def _do_token(self, order: dict[str, Any], _: bytes) -> Answer:
        """The word before this; `new` takes its place."""
        old = self._token
        if "new" in order:
            self._session.revive()
            if processes.threads(self._session.current().pid) > 1:
                raise Failed("sandbox", "the session runs threads, which no snapshot can hold")
            self._token = order["new"]
        closed = bool(os.statvfs("/").f_flag & _ST_RDONLY)
        return {"token": old, "read_only": closed}, ()

    def _do_pack(self, _: dict[str, Any], __: bytes) -> Answer:
        session = self._session
        session.revive()
        number = session.save()
        mark = session.mark(number)
        session.forget(number)
        return {"mark": mark}, (packed(read_trees(FOLDERS)),)

    def _do_adopt(self, _: dict[str, Any], __: bytes) -> Answer:
        self._session.at = None
        with open(KEPT, "rb") as file:
            put_trees(FOLDERS, unpacked(file.read()))
        return {}, ()


def become_first(settings: dict[str, Any], host: Channel) -> Guest:
    """Be the first process of a container, which code in it can neither trace nor look into."""
    os.umask(0o022)
    os.mkdir(WORK)
    calls.prctl(4, 0)
    return Guest(settings, host)
