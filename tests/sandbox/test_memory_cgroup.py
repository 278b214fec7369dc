"""Memory cgroups of programs: where they are created, what they bound, and that none is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafe_gym.sandbox.base import SandboxLimits, make_sandbox
from leafe_gym.sandbox.embedded import memory_cgroup
from leafe_gym.sandbox.embedded.inside.program_cgroup import ProgramCgroup
from leafe_gym.sandbox.embedded.memory_cgroup import MemoryCgroup, make_memory_cgroup


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    made = make_memory_cgroup()
    if made is None:
        pytest.skip("this process may not create memory cgroups")
    yield made
    made.close()


def allocate(cgroup: ProgramCgroup, megabytes: int) -> int:
    """Exit code of a process in the cgroup that uses memory; negative for a signal."""
    pid = os.fork()
    if not pid:
        try:
            cgroup.join()
            data = bytearray(b"x") * (megabytes << 20)
            os._exit(len(data) >> 20 != megabytes)
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_kernel_ends_what_exceeds_the_limit(cgroup: MemoryCgroup) -> None:
    program = ProgramCgroup(cgroup.fds)
    before = program.kills()
    program.limit(40 << 20)
    assert allocate(program, 10) == 0
    assert program.kills() == before
    assert allocate(program, 200) == -9
    assert program.kills() == before + 1
    program.limit(300 << 20)  # the next program has a limit of its own
    assert allocate(program, 200) == 0
    assert program.kills() == before + 1


def test_without_one_nothing_is_bounded_or_counted() -> None:
    program = ProgramCgroup(())
    program.limit(1)
    assert allocate(program, 5) == 0
    assert program.kills() == 0


@pytest.mark.parametrize("program", ["import os; os.write(1, b'x' * 9)", "1 / 0"])
def test_a_program_that_stays_below_ends_by_itself(program: str, cgroup: MemoryCgroup) -> None:
    box = make_sandbox("embedded", limits=SandboxLimits(memory_mb=64, disk_mb=8))
    box.start()
    for _ in range(2):
        ran = box.run_program(["python3", "-c", program], files={})
        assert not ran.out_of_memory
        assert ran.exit_code == ("1 / 0" in program)
    shown = box.run_program(["cat", "/proc/self/cgroup"], files={}).stdout
    assert "/leafe-" in shown
    assert str(os.getpid()) not in shown
    box.close()


def groups() -> set[Path]:
    """Cgroups of sandboxes that exist."""
    return {one for parent, _ in memory_cgroup._parents() for one in parent.glob("leafe-*")}


KILLED = """
import os, signal
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox
box = EmbeddedSandbox()
box.start()
print(box._host._cgroup._folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_program_left_is_removed_by_the_next(cgroup: MemoryCgroup) -> None:
    """One that is in use, even without a process, is not."""
    ran = subprocess.run(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False
    )
    left = Path(ran.stdout.strip())
    assert left in groups()
    other = make_memory_cgroup()
    assert other is not None
    assert left not in groups()
    assert {cgroup._folder, other._folder} <= groups()
    other.close()
    assert other._folder not in groups()


CASES = {
    "delegated, beside this process": (
        "0::/user.slice/app.scope/main\n",
        {"user.slice/app.scope": "cpu memory", "user.slice/app.scope/main": ""},
        ["user.slice/app.scope"],
    ),
    "this process's own": ("0::/a\n", {"a": "memory", "": "memory"}, ["a", "."]),
    "root of a container": ("0::/\n", {"": "memory pids"}, ["."]),
    "not delegated": ("0::/a/b\n", {"a": "cpu", "a/b": ""}, []),
    "version 1": ("4:memory:/x/y\n3:cpu:/\n", {}, ["memory/x/y"]),
    "both": ("4:memory:/x\n0::/a\n", {"a": "hugetlb", "": ""}, ["memory/x"]),
    "none": ("3:cpu:/\n", {}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_where_they_are_created(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines, controllers, expected = CASES[name]
    monkeypatch.setattr(memory_cgroup, "_MOUNT", tmp_path)
    monkeypatch.setattr(memory_cgroup, "_CGROUP", tmp_path / "own")
    assert make_memory_cgroup() is None
    (tmp_path / "own").write_text(lines)
    for folder, text in controllers.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "cgroup.subtree_control").write_text(f"{text}\n")
    found = [one.relative_to(tmp_path) for one, _ in memory_cgroup._parents()]
    assert found == [Path(one) for one in expected]
    assert make_memory_cgroup() is None  # these are no cgroups, so files are missing
    assert not list(tmp_path.rglob("leafe-*"))
