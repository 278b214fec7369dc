"""Runs the attacks against a sandbox and checks the host before and after.

python besiege.py KIND MODE... [--kinds KIND...] [--part N]: one JSON line for each attack.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attacks import ATTACKS, KINDS

from leafe_gym.errors import SandboxError, UsageError
from leafe_gym.sandbox.base import (
    PREPARED_COMMAND,
    PREPARED_END,
    PreparesPrograms,
    Sandbox,
    SandboxLimits,
    make_sandbox,
)

LIMITS = SandboxLimits(call_s=1.2, memory_mb=256, processes=64, disk_mb=64)
LATE_S = 60.0
"""Seconds beyond the wall-clock limit within which a call must return, on a busy machine."""

NOISE = 0.05
PARTS = 6

PREPARED = (
    *PREPARED_COMMAND,
    "import sys\n"
    "def main():\n"
    "    code = sys.stdin.read()\n"
    "    sys.stdin = open('/dev/null')\n"
    "    exec(compile(code, '<string>', 'exec'), vars(sys.modules['__main__']))"
    f"{PREPARED_END}",
)
"""A program that is forked from a prepared process and executes its input."""


@dataclass
class Finding:
    """Result of one attack: contained if `complaints` is empty."""

    name: str
    mode: str
    complaints: list[str]
    seconds: float


class Host:
    """Resources of the host that code must not reach, and checks of their state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"leafe{uuid.uuid4().hex[:12]}"
        self.secret = folder / "secret"
        self.secret.write_text(f"secret of {self.marker}")
        os.environ["LEAFE_TEST_SECRET"] = f"{self.marker}-env"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0" + self.marker)
        self.abstract.listen(5)

    def close(self) -> None:
        self.tcp.close()
        self.abstract.close()

    def fill(self, code: str) -> str:
        """Fill an attack's placeholders for this host."""
        texts: dict[str, str] = {}
        for path in ("/etc/shadow", "/root/.bashrc", "/root/.ssh/id_rsa"):
            try:
                texts[path] = Path(path).read_bytes()[:200].decode("latin-1")
            except OSError:
                continue
        for name, value in {
            "PORT": str(self.tcp.getsockname()[1]),
            "ABSTRACT": self.marker,
            "SECRET": str(self.secret),
            "FOLDER": str(self.folder),
            "HOST_TEXTS": repr(texts),
            "MARKER": self.marker,
            "ENV": f"{self.marker}-env",
            "PID": str(os.getpid()),
        }.items():
            code = code.replace(f"@{name}@", value)
        return code

    def complaints(self) -> list[str]:
        """What was left behind or changed on the host."""
        found = []
        if self.secret.read_text() != f"secret of {self.marker}":
            found.append("the secret was changed")
        for place in ("/", "/usr/bin", "/usr/lib", "/etc", "/var", "/dev", "/tmp", "/dev/shm"):
            found += [f"made {place}/{n}" for n in os.listdir(place) if n.startswith(self.marker)]
        found += [f"made {n}" for n in os.listdir(self.folder) if n != "secret"]
        return found


@dataclass(frozen=True)
class Load:
    """Available memory and disk of the host."""

    memory: int
    disk: int

    @classmethod
    def now(cls) -> Load:
        lines = Path("/proc/meminfo").read_text()
        match = re.search(r"MemAvailable:\s+(\d+)", lines)
        assert match is not None
        disk = os.statvfs(tempfile.gettempdir())
        return cls(int(match[1]) * 1024, disk.f_bavail * disk.f_frsize)

    def worse_than(self, before: Load) -> list[str]:
        """Resources that decreased by more than noise."""
        found = []
        for name in ("memory", "disk"):
            had, has = getattr(before, name), getattr(self, name)
            if has < had * (1 - NOISE):
                found.append(f"{name}: {had >> 20} MiB before, {has >> 20} after")
        return found


def family(root: int) -> set[tuple[int, str]]:
    """(pid, start time) of all descendants of a process, in the host's view."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append((int(name), fields[19]))
    found: set[tuple[int, str]] = set()
    waiting = [root]
    while waiting:
        for one in parents.get(waiting.pop(), []):
            found.add(one)
            waiting.append(one[0])
    return found


def attack(sandbox: Sandbox, host: Host, base: Base, name: str, mode: str) -> Finding:
    """Run one attack and report what was not contained."""
    code = host.fill(ATTACKS[name])
    before, began = Load.now(), time.monotonic()
    found: list[str] = []
    try:
        if mode in ("run", "prepared"):
            argv: tuple[str, ...] = ("python3", "-c", code)
            given = {} if mode == "run" else {"stdin": code, "files": {}}
            ran = sandbox.run_program(argv if mode == "run" else PREPARED, **given)
            shown, size = ran.stdout, max(len(ran.stdout), len(ran.stderr))
        else:
            told = sandbox.run_cell(code)
            shown, size = told.stdout + told.error, max(len(told.stdout), len(told.stderr))
        found += re.findall(r"^BREACH.*", shown, re.MULTILINE)
        if size > LIMITS.output_bytes:
            found.append(f"{size} characters came out")
    except SandboxError as error:
        if "signal" not in name:
            found.append(f"the sandbox broke: {error}")
    took = time.monotonic() - began
    if took > LIMITS.call_s + LATE_S:
        found.append(f"took {took:.1f} s")
    try:
        if sandbox.read_file("out", 100):
            found.append("the sandbox reads what a link leads to")
    except (OSError, UsageError, SandboxError):
        pass
    found += base.restore()
    found += host.complaints()
    found += _recovered(before)
    return Finding(name, mode, found, round(took, 2))


_STATE = "kept = ['before']; open('kept', 'w').write('before'); None"
_LOOK = "import os; kept, sorted(os.listdir('.')), open('kept').read(), 6 * 7"
_SEEN = "(['before'], ['kept'], 'before', 42)"


class Base:
    """A state of a sandbox that is restored after each attack, and compared."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._save()

    def _save(self) -> None:
        assert not self._sandbox.run_cell(_STATE, timeout=120.0).error
        self._snapshot = self._sandbox.snapshot()

    def restore(self) -> list[str]:
        """Restore it; what is wrong then. A sandbox may say that it was lost; a new one works."""
        with suppress(SandboxError):
            self._sandbox.run_cell("6 * 7", timeout=5.0)
        try:
            self._sandbox.restore(self._snapshot)
            seen = self._sandbox.run_cell(_LOOK, timeout=120.0).stdout.strip()
            return [] if seen == _SEEN else [f"restored wrongly without an error: {seen}"]
        except SandboxError:
            self._sandbox.close()
            self._sandbox.start()
            self._save()
        again = self._sandbox.run_cell("6 * 7", timeout=120.0)
        return [] if again.stdout.strip() == "42" else [f"afterwards nothing works: {again}"]


def _recovered(before: Load) -> list[str]:
    deadline = time.monotonic() + 120
    while found := Load.now().worse_than(before):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return []


@contextmanager
def besieged(kind: str, **options: Any) -> Iterator[tuple[Sandbox, Host]]:
    """A sandbox and a host to attack."""
    with tempfile.TemporaryDirectory(prefix="leafe-host-") as folder:
        os.chmod(folder, 0o755)
        sandbox = make_sandbox(kind, limits=LIMITS, **options)
        assert sandbox.capabilities().isolation != "none", "these programs are for real"
        host = Host(Path(folder))
        if isinstance(sandbox, PreparesPrograms):
            sandbox.prepare(PREPARED)
        sandbox.start()
        try:
            yield sandbox, host
        finally:
            sandbox.close()
            host.close()


def alive(pid: int, start: str) -> bool:
    """Whether this process still runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == start and fields[0] != "Z"


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until a condition holds, on a machine that may be busy."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_over(before: set[tuple[int, str]]) -> list[str]:
    """Descendants that this process did not have before, after a moment to end."""
    deadline = time.monotonic() + 120
    while left := family(os.getpid()) - before:
        if time.monotonic() > deadline:
            return [str(one) for one in left]
        time.sleep(0.05)
    return []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("modes", nargs="+")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--part", type=int, help="0 to 5: a sixth of the attacks in each mode")
    parser.add_argument("--options", type=json.loads, default={})
    given = parser.parse_args()
    first, start = family(os.getpid()), Load.now()
    descriptors = len(os.listdir("/proc/self/fd"))
    with besieged(given.kind, **given.options) as (sandbox, host):
        base, names = Base(sandbox), [name for kind in given.kinds for name in KINDS[kind]]
        for at, mode in enumerate(given.modes):
            for number, name in enumerate(names):
                if given.part is None or (number + 2 * at) % PARTS == given.part:
                    finding = attack(sandbox, host, base, name, mode)
                    sys.stdout.write(json.dumps(asdict(finding)) + "\n")
                    sys.stdout.flush()
    rest = left_over(first) + _recovered(start)
    pool = 0 if given.kind == "embedded" else 32  # connections to the engine are kept
    if (left := len(os.listdir("/proc/self/fd"))) > descriptors + pool:
        rest.append(f"{descriptors} descriptors before, {left} after")
    sys.stdout.write(json.dumps(asdict(Finding("after it", "all", rest, 0.0))) + "\n")


if __name__ == "__main__":
    main()
