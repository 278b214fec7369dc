"""`unsandboxed`: a child process with limits and nothing else between it and the host.

For hosts where no sandbox can be had and the user says `allow_unsandboxed=True`. Memory limits and
clocks hold for programs that are merely wrong; nothing holds against code that means harm.
Snapshots are the folder's files and the session's way there: a restore starts a new session, runs
its cells again in an empty folder, and then puts the files back. Programs run beside the session
are not run again, so a cell that read what one wrote may come out otherwise.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leafe_gym.errors import SandboxError, SnapshotLost, UsageError
from leafe_gym.sandbox.base import (
    Capabilities,
    CellResult,
    ProgramResult,
    SandboxLimits,
    SandboxSnapshot,
)
from leafe_gym.sandbox.interpreter import InterpreterProcess
from leafe_gym.sandbox.limited_process import run_limited

_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
HistoryEntry = tuple[str, Any, Any]
"""What was history: ("exec", code, timeout) or ("write", path, data)."""


class UnsandboxedSandbox:
    """See the module.

    Args:
        limits: of each call where it names none of its own.
    """

    kind = "unsandboxed"

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self.limits = limits or SandboxLimits()
        self._folder: Path | None = None
        self._interpreter: InterpreterProcess | None = None
        self._history: list[HistoryEntry] = []
        self._saved: dict[int, Path] = {}
        self._count = 0

    def start(self) -> None:
        """See `Sandbox.start`."""
        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix="leafe-plain-"))
        self._work.mkdir()
        self._history = []
        self._interpreter = InterpreterProcess(self._work, self.limits, self._environ())

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """See `Sandbox.run_cell`."""
        work = self._work
        assert self._interpreter is not None
        result = self._interpreter.run_cell(code, timeout or self.limits.call_s)
        if not result.timed_out:
            self._history.append(("exec", code, timeout))
            return result
        files = self._copy(work)
        self._replay(self._history, files)
        shutil.rmtree(files)
        return result

    def run_program(
        self, argv: Sequence[str], *, stdin: str = "", limits: SandboxLimits | None = None
    ) -> ProgramResult:
        """See `Sandbox.run_program`."""
        limits = limits or self.limits
        return run_limited(argv, stdin, limits, self._work, self._environ())

    def write_file(self, path: str, data: bytes) -> None:
        """See `Sandbox.write_file`."""
        self._resolve(path).write_bytes(data)
        self._history.append(("write", path, data))

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """See `Sandbox.read_file`."""
        file = self._resolve(path)
        if not file.is_file():
            raise FileNotFoundError(path)
        with file.open("rb") as opened:
            return opened.read(limit)

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`."""
        files = self._copy(self._work)
        self._count += 1
        self._saved[self._count] = files
        size = sum(one.stat().st_size for one in files.rglob("*") if one.is_file())
        token = (self, self._count, tuple(self._history))
        return SandboxSnapshot(kind=self.kind, token=token, nbytes=size + 4096)

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`."""
        self._replay(snapshot.token[2], _files(snapshot))

    def branch(self, snapshot: SandboxSnapshot) -> UnsandboxedSandbox:
        """See `Sandbox.branch`."""
        files = _files(snapshot)
        other = UnsandboxedSandbox(self.limits)
        other.start()
        other._replay(snapshot.token[2], files)
        return other

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        owner, number, _ = snapshot.token
        files = owner._saved.pop(number, None)
        if files is not None:
            shutil.rmtree(files, ignore_errors=True)

    def close(self) -> None:
        """See `Sandbox.close`."""
        if self._interpreter is not None:
            self._interpreter.close()
        folder, self._folder, self._interpreter = self._folder, None, None
        self._saved.clear()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=False, files=True, branch=True, isolation="none")

    @property
    def _work(self) -> Path:
        if self._folder is None:
            raise SandboxError("the sandbox is not running: call start()")
        return self._folder / "work"

    def _environ(self) -> dict[str, str]:
        return {"PATH": _PATH, "PYTHONHASHSEED": "0", "HOME": str(self._work), "LANG": "C.UTF-8"}

    def _resolve(self, path: str) -> Path:
        work = self._work.resolve()
        file = (work / path).resolve()
        if work not in file.parents:
            raise UsageError(f"{path!r} leads out of the work folder")
        return file

    def _copy(self, source: Path) -> Path:
        assert self._folder is not None
        target = Path(tempfile.mkdtemp(prefix="files-", dir=self._folder))
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        return target

    def _replay(self, history: Sequence[HistoryEntry], files: Path) -> None:
        """A new session that does `history` in an empty folder; then the folder is as in `files`."""
        work = self._work
        assert self._interpreter is not None
        self._interpreter.close()
        _empty(work)
        self._interpreter = InterpreterProcess(work, self.limits, self._environ())
        for what, first, second in history:
            if what == "exec":
                self._interpreter.run_cell(first, second or self.limits.call_s)
            else:
                self._resolve(first).write_bytes(second)
        _empty(work)
        shutil.copytree(files, work, symlinks=True, dirs_exist_ok=True)
        self._history = list(history)


def _files(snapshot: SandboxSnapshot) -> Path:
    owner, number, _ = snapshot.token
    files: Path | None = owner._saved.get(number)
    if files is None:
        raise SnapshotLost("the snapshot was dropped, or its sandbox closed")
    return files


def _empty(folder: Path) -> None:
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()
