"""Container sandboxes with a real engine: exact snapshots, nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from besiege import wait_for

from leafe_gym.errors import SandboxError, SnapshotLost, UsageError
from leafe_gym.sandbox.base import Sandbox, SandboxLimits, make_sandbox
from leafe_gym.sandbox.docker import container as container_module
from leafe_gym.sandbox.docker.docker_client import DockerClient
from leafe_gym.sandbox.docker.ownership import OWNER, sweep
from leafe_gym.sandbox.docker.sandbox import ContainerSandbox

pytest.importorskip("docker", reason="pip install 'leafe-gym[docker]'")
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("engine")]
KINDS = ("docker", "docker-commit")
LOOK = "print(n, open('f').read(), sorted(os.listdir('.')), os.listdir('/tmp'), random.random())"

CHILD = """
import sys, time
from leafe_gym.sandbox.base import make_sandbox
box = make_sandbox(sys.argv[1])
box.start()
box.run_cell("n = 1; open('f', 'w').write('x' * 1000)")
snapshot = box.snapshot()
other = box.branch(snapshot)
print("ready", flush=True)
if sys.argv[2] == "busy": box.run_cell("while True: pass", timeout=60)
time.sleep(60)
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "docker" and os.geteuid() != 0:
        pytest.skip("checkpoints need root")
    return str(request.param)


@pytest.fixture
def box(kind: str) -> Iterator[Sandbox]:
    sandbox = make_sandbox(kind, limits=SandboxLimits(disk_mb=16))
    sandbox.start()
    sandbox.run_cell("import os, random, time; n = 0; open('f', 'w').write('0')")
    yield sandbox
    sandbox.close()


def held() -> Counter[str]:
    """Numbers of containers, images, checkpoints, mounts and processes of containers."""
    engine = DockerClient()
    containers, images = engine.labelled(OWNER)
    root = Path(str(engine.info()["DockerRootDir"]))
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    processes = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line, group = ((process / name).read_bytes() for name in ("cmdline", "cgroup"))
        except OSError:
            continue
        # One that has ended, and that only its parent has not heard of, has no command line.
        processes += b"containerd-shim" in line or (bool(line) and b"/docker/" in group)
    return Counter(
        containers=len(containers),
        images=len(images),
        checkpoints=len(list(root.glob("containers/*/checkpoints/*"))),
        mounts=sum("overlay2" in line or "docker" in line for line in mounts),
        processes=processes,
    )


def state(box: Sandbox) -> str:
    result = box.run_cell(LOOK)
    assert not result.error, result.error
    return result.stdout


def change(box: Sandbox, number: int) -> None:
    cell = (
        f"n = {number}; open('f', 'w').write(str(n)); open(f'f{number % 3}', 'a').write('.')\n"
        f"random.random(); os.path.exists('f{number % 5}') and os.unlink('f{number % 5}'); None"
    )
    assert not box.run_cell(cell).error


def test_branches_and_restores_are_exact(
    kind: str, box: Sandbox, counts: Callable[[int, int], int]
) -> None:
    """Each snapshot twice in a new container and once in place, in any order: 12 for `docker`."""
    rng = random.Random(0)
    before, right, wanted = [], 0, []
    for number in range(counts(4 if kind == "docker" else 1, 20)):
        change(box, number)
        snapshot = box.snapshot()
        before.append((snapshot, state(box)))
        box.restore(snapshot)
        wanted += [(snapshot, before[-1][1], way) for way in ("branch", "branch", "place")]
    rng.shuffle(wanted)
    for snapshot, seen, way in wanted:
        if way == "place":
            box.restore(snapshot)
            right += state(box) == seen
            change(box, 99)
        else:
            other = box.branch(snapshot)
            right += state(other) == seen
            other.close()
    assert right == len(wanted) >= 3
    for snapshot, _ in before:
        box.drop(snapshot)
        box.drop(snapshot)
    with pytest.raises(SnapshotLost):
        box.restore(before[0][0])
    assert held()["checkpoints"] == 0
    assert held()["images"] <= 1  # that which the session's container was made of


def test_what_was_done_since_is_not_mixed_in(box: Sandbox) -> None:
    box.run_cell(
        "f = open('log', 'w'); f.write('one\\n'); f.flush(); os.mkdir('in'); os.chdir('in')"
    )
    snapshot = box.snapshot()
    box.run_cell("f.write('lost\\n'); f.flush(); os.chdir('..'); open('/tmp/t', 'w').write('t')")
    for _ in range(2):
        box.restore(snapshot)
        box.run_cell("f.write('two\\n'); f.flush()")
        assert box.run_cell("open('../log').read(), os.getcwd(), os.listdir('/tmp')").stdout == (
            "('one\\ntwo\\n', '/home/box/work/in', [])\n"
        )


def test_branches_go_on_independently(box: Sandbox) -> None:
    change(box, 1)
    snapshot = box.snapshot()
    change(box, 2)
    with closing(box.branch(snapshot)) as other:
        change(other, 3)
        assert box.run_cell("n, open('f').read()").stdout == "(2, '2')\n"
        assert other.run_cell("n, open('f').read()").stdout == "(3, '3')\n"
        with pytest.raises(SnapshotLost, match="branch"):
            other.restore(snapshot)
        box.close()
        assert other.run_cell("n").stdout == "3\n"
        with pytest.raises(SnapshotLost, match="closed"):
            other.branch(snapshot)


def test_a_lost_session_is_made_again(kind: str, box: Any) -> None:
    """Rebuilt from the nearest snapshot by replaying later operations; outputs are compared."""
    change(box, 1)
    snapshot = box.snapshot()
    change(box, 2)
    box.run_program(["sh", "-c", "echo ran > ran"])
    kill_session(box)
    assert box.run_cell("n, open('ran').read()").stdout == "(2, 'ran\\n')\n"
    box.run_cell("time.time_ns()")
    kill_session(box)
    with pytest.raises(SnapshotLost, match="differs"):
        box.run_cell("1")
    box.restore(snapshot)
    assert box.run_cell("n").stdout == "1\n"


def kill_session(box: Any) -> None:
    """Kill the session's processes from the host."""
    first = DockerClient().pid_of(box._container.id)
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    for pid in map(int, children):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(dead(pid) for pid in children))


def dead(pid: str) -> bool:
    """Whether a process has ended; it may not be reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize(
    "cell", ["t = time.time_ns()", "print(time.time_ns())", "import uuid; u = uuid.uuid4()"]
)
def test_memory_that_cannot_be_made_again_is_an_error(cell: str) -> None:
    box = make_sandbox("docker-commit")
    box.start()
    try:
        box.run_cell("import time")
        box.run_cell(cell)
        snapshot = box.snapshot()
        with pytest.raises(SnapshotLost, match="differ"):
            box.restore(snapshot)
    finally:
        box.close()


def test_threads_are_refused(box: Sandbox) -> None:
    box.run_cell("import threading; threading.Thread(target=time.sleep, args=(60,)).start()")
    with pytest.raises(SandboxError, match="threads"):
        box.snapshot()


def test_a_snapshot_is_good_for_its_kind_alone(box: Sandbox) -> None:
    other = make_sandbox("embedded")
    other.start()
    try:
        with pytest.raises(UsageError, match="embedded"):
            box.restore(other.snapshot())
    finally:
        other.close()


def test_after_a_restore_it_is_confined_as_before(box: Sandbox) -> None:
    look = (
        "import re\nfind = '(?m)^(?:Cap|NoNewPrivs|Seccomp:).*'\n"
        "print(re.findall(find, open('/proc/self/status').read()),\n"
        "  os.statvfs('/').f_flag & 1,\n"
        "  os.statvfs('.').f_blocks * os.statvfs('.').f_frsize >> 20, os.listdir('/sys/class/net'))"
    )
    first = box.run_cell(look).stdout
    assert "CapEff:\\t0000000000000000" in first
    assert "NoNewPrivs:\\t1" in first
    assert first.endswith(" 1 16 ['lo']\n")
    box.restore(box.snapshot())
    assert box.run_cell(look).stdout == first
    refused = box.run_cell("open('/usr/x', 'w')").error
    assert "Read-only" in refused or "Permission" in refused


def test_a_container_that_was_removed_or_ended(kind: str, box: Any) -> None:
    change(box, 1)
    snapshot = box.snapshot()
    DockerClient().stop(box._container.id)
    with pytest.raises(SandboxError, match="gone"):
        box.run_cell("1")
    box.restore(snapshot)
    assert box.run_cell("n").stdout == "1\n"
    if kind == "docker":
        DockerClient().remove(box._container.id)
        with pytest.raises(SnapshotLost):
            box.restore(snapshot)


def test_newer_engines_way_with_networks(
    kind: str, monkeypatch: Any, counts: Callable[[int, int], int]
) -> None:
    """A second container holds the network namespace, as for engines from version 28 on."""
    if kind != "docker" and not counts(0, 1):
        pytest.skip("--full-counts runs it")
    monkeypatch.setattr(container_module, "NETWORK_HOLDER_FROM", 0)
    box = make_sandbox(kind)
    try:
        box.start()
        box.run_cell("n = 1; open('f', 'w').write('1')")
        snapshot = box.snapshot()
        box.run_cell("n = 2")
        box.restore(snapshot)
        assert box.run_cell("n, open('f').read()").stdout == "(1, '1')\n"
        assert (
            "unreachable"
            in box.run_cell("import socket; socket.create_connection(('192.0.2.1', 53), 1)").error
        )
    finally:
        box.close()


def test_nothing_is_left_after_close(kind: str) -> None:
    before = held()
    box: Any = make_sandbox(kind)
    box.start()
    box.run_cell("import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)")
    other = box.branch(box.snapshot())
    assert held() - before
    other.close()
    box.close()
    box.close()
    wait_for(lambda: held() == before)


@pytest.mark.parametrize("what", ["idle", "busy"])
def test_nothing_is_left_after_a_kill(
    kind: str, what: str, counts: Callable[[int, int], int]
) -> None:
    """The owner is killed; the next sandbox's start removes its containers."""
    if (kind, what) in (("docker", "busy"), ("docker-commit", "idle")) and not counts(0, 1):
        pytest.skip("--full-counts runs it")
    before = held()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, kind, what], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.kill()
        child.wait()
    assert (held() - before)["containers"] == 2
    if what == "idle":
        assert sweep(DockerClient()) == (2 if kind == "docker" else 3)
    else:
        box = make_sandbox("docker-commit")
        box.start()
        box.close()
    wait_for(lambda: held() == before)


def test_a_sandbox_that_nobody_has_any_more_is_removed() -> None:
    before = held()
    box: ContainerSandbox | None = make_sandbox("docker-commit")  # type: ignore[assignment]
    assert box is not None
    box.start()
    assert box._container is not None
    box._container.disconnect()
    del box
    wait_for(lambda: held() == before)
