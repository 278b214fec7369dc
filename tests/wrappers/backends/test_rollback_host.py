"""The other process's side, run in a thread here: what it answers and what it finds in the way."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import fork_envs as forks
import pytest
import toy_envs as toys
from toy_envs import make, register

from leafe_gym.errors import BackendError
from leafe_gym.wrappers.backends import fork_host, fork_inspect, fork_wire
from leafe_gym.wrappers.backends.fork import ForkBackend
from leafe_gym.wrappers.backends.fork_wire import (
    ConnectionClosed,
    receive,
    receive_socket,
    send,
    send_socket,
)
from leafe_gym.wrappers.rollback.episode_log import EpisodeLog, EpisodeView

Ask = Callable[..., Any]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Calls a server that runs in a thread and ends there instead of ending everything."""
    monkeypatch.setattr(fork_host.EnvServer, "leave", lambda self: None)
    path = list(sys.path)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: fork_host.EnvServer(theirs, None).serve())
    thread.start()

    def call(*message: Any) -> Any:
        send(ours, message, 5.0)
        return receive(ours, 5.0)

    call.sock = ours  # type: ignore[attr-defined]
    yield call
    with suppress(ConnectionClosed):
        send(ours, ("exit",))
    thread.join(5.0)
    ours.close()
    theirs.close()
    sys.path[:] = path


def recipe(cls: Any) -> bytes:
    env_id = register(cls)
    return bytes(cloudpickle.dumps((lambda: make(cls), [b"broken", cloudpickle.dumps(env_id)])))


def test_all_calls(ask: Ask) -> None:
    kind, face = ask("build", sys.path, recipe(forks.Sick), True)
    assert (kind, face["chain"][-1]) == ("value", "fork_envs.Sick")
    _, (start, _) = ask("reset", 3, None)
    _, (text, *_) = ask("step", "add")
    assert text != start
    assert ask("replay", EpisodeView(EpisodeLog(3, None, start, {}), 0)) == ("value", (0, None))
    assert ask("replay", EpisodeView(EpisodeLog(3, None, "elsewhere", {}), 0))[1][1][1] is None
    assert ask("look", "goal") == ("value", (False, 40))
    assert ask("look", "text") == ("value", (True, None))
    assert ask("call", "text", (), {}) == ("value", start)
    before = ask("generator")
    assert ask("reseed", 5) == ("value", None)
    assert ask("generator") != before
    kind, name, message, blob, trace = ask("step", "raise")
    assert (kind, name) == ("raised", "LookupError")
    assert "no such door" in message
    assert blob
    assert "Traceback" in trace
    assert ask("step", "odd")[3] == b""
    assert ask("step", "handle")[0] == "unsendable"
    assert ask("nonsense")[:2] == ("raised", "KeyError")


def test_a_process_with_threads_does_not_fork(ask: Ask) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            send(ask.sock, ("fork", True))  # type: ignore[attr-defined]
            send_socket(ask.sock, theirs)  # type: ignore[attr-defined]
        kind, why = receive(ours, 5.0)
    assert kind == "refused"
    assert "thread" in why


def test_what_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fork_inspect.open_files()
    (tmp_path / "read").write_text("abc")
    assert fork_inspect._files(own) == ""
    with (tmp_path / "written").open("w"):
        assert f"the file {tmp_path}/written for writing" in fork_inspect._files(own)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert "a socket" in fork_inspect._files(own)
    ends = os.pipe()
    assert "a pipe" in fork_inspect._files(own)
    for end in ends:
        os.close(end)
    watch = os.pidfd_open(os.getpid())
    assert "a kernel object" in fork_inspect._files(own)
    os.close(watch)
    with subprocess.Popen(["sleep", "9"]) as child:
        known = set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
        assert fork_inspect._children(known) == ""
        # The kernel names a program a moment after its start has been reported.
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.001)
        assert "sleep" in fork_inspect._children(known - {child.pid})
        child.kill()
    with (tmp_path / "read").open("rb") as file:
        assert fork_inspect.regular_files(own) == [file.fileno()]
        shared = os.dup(file.fileno())
        fork_inspect.separate_files([shared])
        assert os.read(shared, 2) == b"ab"
        assert os.read(file.fileno(), 1) == b"a"
        os.close(shared)


def test_a_quiet_process_is_not_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_inspect, "_threads", lambda: "")
    monkeypatch.setattr(fork_inspect, "_children", lambda own: "")
    monkeypatch.setattr(fork_inspect, "_shared_memory", lambda: "")
    assert fork_inspect.trouble(fork_inspect.open_files(), ()) is None


def test_messages() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, lambda: 7)
        assert receive(theirs, 1.0)() == 7
        watched = ended()
        assert not fork_wire.wait_readable(theirs, watched)
        os.close(watched)
        with pytest.raises(TimeoutError):
            receive(theirs, 0.01)
        ours.sendall(b"\xff" * 8)
        with pytest.raises(BackendError, match="announced a message"):
            receive(theirs)
        ours.sendall(b"x")
        with pytest.raises(ConnectionClosed):
            receive_socket(theirs)
        ours.close()
        with pytest.raises(ConnectionClosed, match="end of stream"):
            receive(theirs)
        with pytest.raises(ConnectionClosed):
            send(theirs, 1)
        with pytest.raises(ConnectionClosed):
            send_socket(theirs, theirs)


def ended() -> int:
    """A descriptor of a process that has ended."""
    with subprocess.Popen(["true"]) as child:
        return os.pidfd_open(child.pid)


def test_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(toys.Native)
    assert ForkBackend().refusal(env) is None
    monkeypatch.setattr(sys, "platform", "plan9")
    assert "Linux only" in str(ForkBackend().refusal(env))


def test_nothing_is_written_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    out = io.TextIOWrapper(io.BufferedWriter(written))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console
    out.write("once")
    assert written.getvalue() == b""
    fork_host._flush()
    assert written.getvalue() == b"once"
