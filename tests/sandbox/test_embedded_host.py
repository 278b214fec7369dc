"""The embedded sandbox's traces on the host, and its messages if the host refuses it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from besiege import alive, family, left_over, wait_for

from leafe_gym.errors import SandboxUnavailable
from leafe_gym.sandbox import base
from leafe_gym.sandbox.embedded import diagnose, sandbox
from leafe_gym.sandbox.embedded.inside import seccomp
from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox
from leafe_gym.sandbox.unsandboxed import UnsandboxedSandbox

CHILD = """
import os, sys, time
from leafe_gym.sandbox.embedded.sandbox import EmbeddedSandbox
boxes = [EmbeddedSandbox() for _ in range(2)]
for box in boxes:
    box.start()
    box.run_cell("n = 1; open('f', 'w').write('x' * 1000)")
    snapshot = box.snapshot()
print("ready", flush=True)
if sys.argv[1] == "busy": boxes[0].run_cell("while True: pass", timeout=60)
time.sleep(60)
"""


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_nothing_is_left_after_close(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, mounted = family(os.getpid()), mounts()
    box = EmbeddedSandbox()
    box.start()
    box.run_cell("import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)")
    box.snapshot()
    assert len(family(os.getpid()) - before) >= 3
    box.close()
    assert left_over(before) == []
    assert mounts() == mounted
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("victim", ["program", "watcher", "first"])
def test_nothing_is_left_after_a_kill(state: str, victim: str) -> None:
    """If any process of a sandbox is killed, its other processes end, too."""
    mounted = mounts()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, state], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        everyone = family(child.pid)
        assert len(everyone) >= 8
        pids = sorted(pid for pid, _ in everyone)
        watcher = pids[0]
        inside = family(watcher)
        chosen = {"program": child.pid, "watcher": watcher, "first": min(inside)[0]}[victim]
        os.kill(chosen, signal.SIGKILL)
        gone = everyone if victim == "program" else {one for one in everyone if one in inside}
        wait_for(lambda: not any(alive(*one) for one in gone))
        child.kill()
        child.wait()
    wait_for(lambda: not any(alive(*one) for one in everyone))
    assert mounts() == mounted


def test_sandboxes_are_not_each_others() -> None:
    """As root, each has a user id of its own."""
    boxes = [EmbeddedSandbox() for _ in range(2)]
    try:
        for box in boxes:
            box.start()
        users = []
        for box in boxes:
            assert box.pid is not None
            users.append(os.stat(f"/proc/{min(family(box.pid))[0]}").st_uid)
        assert 0 not in users or os.geteuid() != 0
        status = [Path(f"/proc/{box.pid}/status").read_text() for box in boxes]
        uids = [line.split()[1] for text in status for line in text.splitlines() if "Uid:" in line]
        assert "0" not in uids
        assert len(set(uids)) == (2 if os.geteuid() == 0 else 1)
    finally:
        for box in boxes:
            box.close()


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
    ],
)
def test_a_refusal_names_the_setting(tmp_path: Path, setting: str, value: str, says: str) -> None:
    file = tmp_path / "sys" / setting
    file.parent.mkdir(parents=True)
    file.write_text(value + "\n")
    text = diagnose.explain("new user namespace", errno.EPERM, tmp_path)
    assert says in text
    assert "new user namespace" in text
    assert "allow_unsandboxed=True" in text
    file.write_text({"0": "1", "1": "0"}[value])
    assert says not in diagnose.explain("new user namespace", errno.EPERM, tmp_path)


def test_a_refusal_names_an_outer_container(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nSeccomp:\t2\n")
    assert "seccomp=unconfined" in diagnose.explain("unshare", errno.EPERM, tmp_path)
    assert "systempaths" in diagnose.explain("mount of proc on proc", errno.EPERM, tmp_path)
    assert "raise" in diagnose.explain("unshare", errno.ENOSPC, tmp_path)


REFUSED = """
import ctypes
from leafe_gym.errors import SandboxUnavailable
from leafe_gym.sandbox.base import make_sandbox
from leafe_gym.sandbox.embedded.inside import seccomp
from leafe_gym.sandbox.embedded.inside.syscalls import prctl
prctl(38, 1)
seccomp.install()
try:
    make_sandbox()
except SandboxUnavailable as error:
    print(error)
print(make_sandbox(allow_unsandboxed=True).kind)
"""


def test_a_host_that_refuses_for_real() -> None:
    """Under a system-call filter like a container's, nothing runs unless allowed."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True
    )
    said, kind = done.stdout.splitlines()
    assert "seccomp=unconfined" in said
    assert "Operation not permitted" in said
    assert kind == "unsandboxed"


def test_refused_means_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "unavailable_reason", lambda: "this host refuses it: do this")
    with pytest.raises(SandboxUnavailable, match="do this"):
        base.make_sandbox("embedded")
    assert isinstance(base.make_sandbox("embedded", allow_unsandboxed=True), UnsandboxedSandbox)


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "5.4.0-1-generic")
    assert "5.14" in diagnose.unsupported()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" in diagnose.unsupported()
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert "Darwin" in diagnose.unsupported()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_jumps_of_the_filter_stay_inside(machine: str) -> None:
    code = seccomp.program(machine)
    steps = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    for number, (kind, yes, no, _) in enumerate(steps):
        if kind & 7 == 5:
            assert number + 1 + max(yes, no) < len(steps)
    assert steps[-1][0] == 6


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 8,
        struct.pack("!II", 3, 0) + b"{} ",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 9, 0) + b"not JSON!",
        struct.pack("!II", 100, 0) + b"short",
        struct.pack("!II", 4000, 0) + b"[" * 4000,
    ],
)
def test_nonsense_on_the_wire_is_broken(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(sent)
    theirs.close()
    channel = Channel(ours)
    if sent.endswith(b"{} "):
        assert channel.receive(1.0) == ({}, b"")
    with pytest.raises(ChannelBroken):
        channel.receive(1.0)
    channel.close()
