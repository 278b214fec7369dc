"""The program's side of processes that run environments: starting, asking, ending them."""

from __future__ import annotations

import builtins
import hashlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.errors import BackendError, EnvironmentFailure, LeafeError, SnapshotUnsupported
from leafe_gym.wrappers.backends.fork_wire import (
    ConnectionClosed,
    Unreadable,
    receive,
    send,
    send_socket,
)

_ROOT = str(Path(__file__).resolve().parents[3])
_START = (
    "import sys, importlib; sys.path.append(sys.argv.pop(1)); "
    "importlib.import_module(sys.argv.pop(1)).main(sys.argv[1:])"
)
ONE_THREAD = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON")
} | {"VECLIB_MAXIMUM_THREADS": "1"}
"""Environment variables that keep numerical libraries from starting threads."""


@dataclass(frozen=True, slots=True)
class ForkTimeouts:
    """Seconds to wait before a process counts as lost, and the memory it may use.

    Attributes:
        start: for the interpreter and the environment's construction.
        call: for one reset, step or other call.
        fork: for one more process.
        memory: most bytes of address space of each process; an environment that grows beyond it
            raises a `MemoryError`. None for no limit.
    """

    start: float = 120.0
    call: float = 300.0
    fork: float = 60.0
    memory: int | None = None


class ForkedProcess:
    """A connection to one process.

    Attributes:
        pid: its process id.
        lost: the process no longer answers.
    """

    def __init__(self, host: ForkServer, sock: socket.socket, pid: int) -> None:
        self.pid = pid
        self.lost = False
        self._host = host
        self._sock = sock
        self._lock = threading.RLock()
        self._guard = _guard()
        host.enter(id(self))
        self._end: weakref.finalize[Any, Any] = weakref.finalize(
            self, _end_worker, host, sock, id(self), os.getpid()
        )
        self._end.atexit = False

    def ask(self, name: str, *args: Any) -> Any:
        """One call in the other process and its value.

        Raises:
            ForkedUse: in a fork of the process that made the connection.
            BackendError: if the process ended or did not answer in time; other errors are the
                environment's own, raised there.
        """
        return self._ask(name, args, self._host.timeouts.call)

    def fork(self, *, check: bool) -> ForkedProcess:
        """One more process in the same state, which goes on waiting for its own calls.

        Args:
            check: first search for resources that a fork does not copy.

        Raises:
            SnapshotUnsupported: if there is something of that kind; says what.
            BackendError: if the process ended or cannot fork.
        """
        return ForkedProcess(self._host, *self.branch(check=check))

    def branch(self, *, check: bool) -> tuple[socket.socket, int]:
        """The result of `fork` before it has an owner: a connection and a process id."""
        self._guard.check()
        seconds = self._host.timeouts.fork
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                self._usable()
                with self._watching("fork", seconds):
                    send(self._sock, ("fork", check), seconds)
                    send_socket(self._sock, theirs)
            with self._watching("fork", seconds):
                kind, value = receive(ours, seconds)
        except BaseException:
            ours.close()
            raise
        if kind == "value":
            return ours, value
        ours.close()
        if kind == "refused":
            raise SnapshotUnsupported(
                f"the environment cannot be forked: {value}; use backend='replay'"
            )
        raise BackendError(f"the environment's process could not fork: {value}; release snapshots")

    def again(self) -> ForkedProcess:
        """Another process with the environment as constructed, never reset."""
        host = self._host
        if not host.ended:
            try:
                return host.start()
            except BackendError:
                if not host.ended:
                    raise
        return host.successor().start()

    def close(self) -> None:
        """End the process; safe to call twice."""
        self.lost = True
        self._end()

    def _ask(self, name: str, args: tuple[Any, ...], seconds: float) -> Any:
        self._guard.check()
        with self._lock:
            self._usable()
            with self._watching(name, seconds):
                send(self._sock, (name, *args), seconds)
                try:
                    reply = receive(self._sock, seconds)
                except Unreadable as error:
                    reply = ("unreadable here", str(error))
        if reply[0] == "value":
            return reply[1]
        if reply[0] == "raised":
            raise _as_error(*reply[1:])
        if reply[0] == "unreadable":
            raise BackendError(
                f"the environment's process cannot read what was passed to {name} ({reply[1]}): "
                "define its class in a module that both can import"
            )
        raise BackendError(
            f"the answer to {name} cannot be sent between processes ({reply[1]}); use another "
            "backend, or keep such objects out of observations and infos"
        )

    def _usable(self) -> None:
        if self.lost:
            raise BackendError(
                "the process that ran the environment is gone: call reset(), or restore a snapshot"
            )

    def _watching(self, name: str, seconds: float) -> _Watching:
        return _Watching(self, name, seconds)


class _Watching:
    """Turns a lost or late process into a BackendError; an incomplete exchange ends the process."""

    def __init__(self, worker: ForkedProcess, name: str, seconds: float) -> None:
        self._worker = worker
        self._name = name
        self._seconds = seconds

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, LeafeError):
            return
        worker, what = self._worker, f"process {self._worker.pid}, which ran the environment,"
        worker._host.kill(worker.pid)
        worker.close()
        if isinstance(error, ConnectionClosed):
            raise BackendError(
                f"{what} ended during {self._name}; it may have crashed or run out of memory. "
                "Call reset(), or restore a snapshot"
            ) from error
        if isinstance(error, TimeoutError):
            raise BackendError(
                f"{what} did not finish {self._name} within {self._seconds:g} s and was ended. "
                "Call reset(), restore a snapshot, or allow more time: ForkBackend(timeouts=...)"
            ) from error


class ForkServer:
    """One keeper process and all forks of it; ends when none of them is in use.

    Args:
        recipe: a pickled spec or function.
        global_rng: whether the environment was seen to draw from the global generators.
        timeouts: how long to wait for its processes.
        hash_seed: for the order of sets of text; None for the program's own setting.

    Attributes:
        timeouts: how long to wait for its processes.
        chain: class names of the environment it built, outermost first.
        keeper: the connection to the first process.

    Raises:
        SnapshotUnsupported: if the environment cannot be built there.
        BackendError: if the process does not start.
    """

    def __init__(
        self, recipe: bytes, global_rng: bool, timeouts: ForkTimeouts, hash_seed: str | None = None
    ) -> None:
        self.timeouts = timeouts
        self._made_of = (recipe, global_rng, timeouts)
        self._lock = threading.RLock()  # a collection may end a worker while this thread holds it
        self._users: set[int] = set()
        self._guard = _guard()
        self._closing = False
        module = "leafe_gym.wrappers.backends.fork_host"
        self._process, ours = start_interpreter(module, hash_seed)
        self._stop = weakref.finalize(self, stop_interpreter, self._process, ours, os.getpid())
        self.keeper = _Keeper(self, ours, self._process.pid)
        try:
            face = self.keeper.build(recipe, global_rng, timeouts)
        except BackendError:
            self._stop()
            raise
        except Exception as error:
            self._stop()
            raise SnapshotUnsupported(
                "the environment could not be built in a process of its own "
                f"({type(error).__name__}: {error}); use backend='replay'"
            ) from error
        self.chain: list[str] = face["chain"]

    @property
    def ended(self) -> bool:
        """Whether it can start no further process, or belongs to another program."""
        return self._guard.foreign or self._closing or not self._stop.alive or self.keeper.lost

    def start(self) -> ForkedProcess:
        """A process with the environment as constructed, never reset."""
        return ForkedProcess(self, *self.keeper.branch(check=True))

    def successor(self) -> ForkServer:
        """A running host for the same environment."""
        host = host_for(*self._made_of, id(self))
        weakref.finalize(self, host.exit, id(self)).atexit = False
        return host

    def enter(self, user: int) -> bool:
        """Register a user, by `id`; False if this server is about to end."""
        with self._lock:
            self._users.add(user)
            return not self._closing

    def exit(self, user: int) -> None:
        """Remove a user, by `id`; without users all processes end."""
        with self._lock:
            self._users.discard(user)
            self._closing = idle = not self._users
        if idle:
            self.stop()

    def stop(self) -> None:
        """End all its processes; safe to call twice."""
        self._stop()

    def kill(self, pid: int) -> None:
        """End one of its processes at once, whatever it is doing."""
        with suppress(OSError):
            # Only while it is one of ours: process ids are reused.
            if os.getpgid(pid) == self._process.pid:
                os.kill(pid, signal.SIGKILL)


class _Keeper(ForkedProcess):
    """The connection to the process that builds the environment."""

    def __init__(self, host: ForkServer, sock: socket.socket, pid: int) -> None:
        self.pid = pid
        self.lost = False
        self._host = weakref.proxy(host)
        self._sock = sock
        self._lock = threading.RLock()
        self._guard = _guard()
        self._end = host._stop

    def close(self) -> None:
        """Count it as lost; its forks run on as long as they are in use."""
        self.lost = True

    def build(self, recipe: bytes, global_rng: bool, timeouts: ForkTimeouts) -> dict[str, Any]:
        """Have the environment constructed."""
        asked = (list(sys.path), recipe, global_rng, timeouts.memory)
        face: dict[str, Any] = self._ask("build", asked, timeouts.start)
        return face


_HOSTS: weakref.WeakValueDictionary[bytes, ForkServer] = weakref.WeakValueDictionary()
_STARTING = threading.Lock()


def _after_fork() -> None:
    """Forget the servers and replace the locks of the parent process, in a child."""
    global _STARTING
    _STARTING = threading.Lock()
    _HOSTS.clear()


os.register_at_fork(after_in_child=_after_fork)


def _guard() -> ProcessGuard:
    return ProcessGuard(
        "an environment of backend 'fork'", "make the environment in the process that uses it"
    )


def host_for(recipe: bytes, global_rng: bool, timeouts: ForkTimeouts, user: int) -> ForkServer:
    """A host for one kind of environment, shared by all its users; `user` is registered with it.

    Raises:
        SnapshotUnsupported: if the environment cannot be built there.
        BackendError: if the process does not start.
    """
    source = repr((sys.path, os.getcwd(), global_rng, timeouts, os.getpid())).encode()
    key = hashlib.blake2b(source + recipe).digest()
    with _STARTING:
        host = _HOSTS.get(key)
        if host is None or host.ended or not host.enter(user):
            host = _HOSTS[key] = ForkServer(recipe, global_rng, timeouts)
            host.enter(user)
        return host


def start_interpreter(
    module: str, hash_seed: str | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A fresh interpreter in `main` of a module, and the connection to it.

    Args:
        module: its `main` gets the descriptor of the connection and this process's id.
        hash_seed: for the order of sets of text; None for the program's own setting.
    """
    added = {} if hash_seed is None else {"PYTHONHASHSEED": hash_seed}
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-c", _START, _ROOT, module),
                *(str(theirs.fileno()), str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **ONE_THREAD, **added},
            start_new_session=True,
        )
    return process, ours


def _end_worker(host: ForkServer, sock: socket.socket, user: int, owner: int) -> None:
    if os.getpid() == owner:
        # Said as well as closed: a copy of the connection may live on in a fork of the program.
        with suppress(Exception):
            send(sock, ("exit",), 1.0)
        host.exit(user)
    sock.close()


def stop_interpreter(process: subprocess.Popen[bytes], sock: socket.socket, owner: int) -> None:
    """End a process of `start_interpreter` and its group; in a fork of the program do nothing."""
    if os.getpid() != owner:
        sock.close()  # a fork of the program must not end it
        process.returncode = 0
        return
    with suppress(Exception):
        send(sock, ("exit",), 1.0)
    sock.close()
    deadline = time.monotonic() + 5.0
    with suppress(ChildProcessError):
        # Not reaped yet: the id of a zombie is not reused.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.001)
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _as_error(name: str, text: str, blob: bytes, trace: str) -> BaseException:
    """The error raised in the other process, of the same class where it can be loaded."""
    error: BaseException | None = None
    if blob:
        with suppress(Exception):
            error = pickle.loads(blob)
    if not isinstance(error, BaseException) or type(error).__name__ != name:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with suppress(Exception):
                error = kind(text)
    if not isinstance(error, BaseException) or type(error).__name__ != name:
        error = EnvironmentFailure(f"{name}: {text}")
    error.add_note(f"raised in the environment's own process:\n{trace}")
    return error
