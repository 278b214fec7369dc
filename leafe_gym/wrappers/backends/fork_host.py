"""The process that runs an environment for a program and forks itself on request.

Started as a fresh interpreter, so it holds what the environment needs and nothing of the program
that asked: no threads, no model. The first process, the keeper, builds the environment once and
never steps it; every other one is a fork that serves one connection, as a player or as a snapshot
that waits to be forked again. All of them end with their connection, with the program, or with
the keeper, which ends their whole process group.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym

from leafe_gym.errors import RestoreMismatch
from leafe_gym.types import Info
from leafe_gym.wrappers.backends.fork_inspect import (
    open_files,
    regular_files,
    separate_files,
    trouble,
)
from leafe_gym.wrappers.backends.fork_wire import (
    ConnectionClosed,
    Unreadable,
    receive,
    receive_socket,
    send,
    wait_readable,
)
from leafe_gym.wrappers.backends.isolation import SCRATCH, protect
from leafe_gym.wrappers.backends.recipe import build, load_recipe, without_rollback
from leafe_gym.wrappers.backends.replay import ReplayBackend
from leafe_gym.wrappers.rollback.episode_log import EpisodeView
from leafe_gym.wrappers.rollback.random_state import (
    found_global_use,
    load_globals,
    own_process,
    save_globals,
    seed_globals,
)
from leafe_gym.wrappers.rollback.wrapper_state import describe_chain, reseed

AnyEnv = gym.Env[Any, Any]
_LIBC = ctypes.CDLL(None)
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER: the first process of a container may reap no children
_CLOSE_SECONDS = 3


class EnvServer:
    """One process: an environment and the connection it is played through."""

    def __init__(self, sock: socket.socket, watched: int | None) -> None:
        self.sock = sock
        self.watched = watched
        self.keeper = True
        self.adopts = False
        self.env: AnyEnv | None = None
        self.forked: set[int] = set()
        self.own_files = open_files()
        self.regular_files: list[int] = []
        own_process()
        self._calls: dict[str, Callable[..., Any]] = {
            "build": self.build,
            "replay": self.replay,
            "reset": self.reset,
            "step": self.step,
            "reseed": self.reseed,
            "generator": self.generator,
            "look": self.look,
            "call": self.call,
        }

    def serve(self) -> None:
        """Answer until the connection, the program or the keeper is gone; never returns."""
        while True:
            try:
                if not wait_readable(self.sock, self.watched):
                    break
                name, *args = receive(self.sock)
                if name == "exit":
                    break
                if name == "fork":
                    self.fork(*args)
                else:
                    self.answer(name, args)
            except ConnectionClosed:
                break
            except Unreadable as error:
                send(self.sock, ("unreadable", str(error)))
        self.leave()

    def answer(self, name: str, args: list[Any]) -> None:
        """Do one call and send its value or its error."""
        try:
            reply: tuple[Any, ...] = ("value", self._calls[name](*args))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            reply = _as_reply(error)
        try:
            send(self.sock, reply)
        except ConnectionClosed:
            raise
        except Exception as error:  # noqa: BLE001 - outcomes hold anything
            send(self.sock, ("unsendable", f"{type(error).__name__}: {error}"))

    def fork(self, check: bool) -> None:
        """Fork; the child serves the connection that follows the request."""
        passed = receive_socket(self.sock)
        self.reap()
        if check and not self.adopts:
            known = {*self.own_files, passed.fileno()}
            if why := trouble(known, self.forked):
                with passed, suppress(ConnectionClosed):
                    send(passed, ("refused", why))
                return
            self.regular_files = regular_files(known)
        _flush()
        states = save_globals()
        try:
            child = os.fork()
        except OSError as error:
            with passed, suppress(ConnectionClosed):
                send(passed, ("failed", f"no further process could be started: {error}"))
            return
        if child:
            self.forked.add(child)
            self.adopts = self.keeper
            passed.close()
            return
        # Python reseeds `random` in every fork: load the state from before it.
        load_globals(states)
        self.forked.clear()
        self.keeper = self.adopts = False
        self.own_files.discard(self.sock.fileno())
        self.sock.close()
        self.sock = passed
        self.own_files.add(passed.fileno())
        separate_files(self.regular_files)
        send(self.sock, ("value", os.getpid()))

    def reap(self, *_: Any) -> None:
        """Reap forks that ended; other children belong to the environment.

        Except in the keeper once it has forked: it steps nothing, and forks of forks whose
        parents have ended become its own.
        """
        if self.adopts:
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            return
        for child in list(self.forked):
            with suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG)[0] == 0:
                    continue
            self.forked.discard(child)

    def leave(self) -> None:
        """End this process; the keeper takes all others with it."""
        _flush()
        if self.keeper:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_CLOSE_SECONDS)
            if self.env is not None:
                with suppress(BaseException):
                    self.env.close()  # only here: forks share what a close would remove
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    # What can be asked

    def build(
        self, path: list[str], recipe: bytes, global_rng: bool, memory: int | None = None
    ) -> dict[str, Any]:
        """Make the environment, in at most `memory` bytes; returns its description."""
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        sys.path[:] = path
        if SCRATCH in os.environ:
            protect(Path(os.environ[SCRATCH]))
        env = without_rollback(build(load_recipe(recipe)))
        if global_rng:
            found_global_use(env)
        self.env = env
        gc.collect()
        gc.freeze()  # what is frozen is not touched by collections, so forks go on sharing it
        return {"chain": describe_chain(env)}

    def replay(self, view: EpisodeView) -> tuple[int, tuple[str, int | None] | None]:
        """Reach the end of `view` by a replay, compared.

        Returns:
            steps done, and the message and step of the first difference.
        """
        backend = ReplayBackend()
        try:
            backend.load(self._env, view)
        except RestoreMismatch as error:
            return backend.replayed, (str(error), error.step)
        return backend.replayed, None

    def reset(self, seed: int, options: dict[str, Any] | None) -> tuple[Any, Info]:
        """`env.reset`."""
        seed_globals(self._env, seed)
        return self._env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Info]:
        """`env.step`."""
        return self._env.step(action)

    def reseed(self, entropy: int) -> None:
        """Continue with other random numbers."""
        reseed(self._env, entropy)

    def generator(self) -> Any:
        """State of the bare environment's generator."""
        generator = self._env.unwrapped._np_random
        return None if generator is None else generator.bit_generator.state

    def look(self, name: str) -> tuple[bool, Any]:
        """(whether the attribute is callable, its value if it is not)."""
        value = self._env.get_wrapper_attr(name)
        return (True, None) if callable(value) else (False, value)

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the environment."""
        return self._env.get_wrapper_attr(name)(*args, **kwargs)

    @property
    def _env(self) -> AnyEnv:
        assert self.env is not None
        return self.env


def _as_reply(error: BaseException) -> tuple[Any, ...]:
    text = "".join(traceback.format_exception(error))
    try:
        blob = pickle.dumps(error)
        pickle.loads(blob)
    except Exception:  # noqa: BLE001 - errors hold anything
        blob = b""
    return "raised", type(error).__name__, str(error), blob, text


def _flush() -> None:
    """Flush buffered output, which every fork would otherwise write again."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _LIBC.fflush(None)


def main(argv: list[str]) -> None:
    """Serve the connection on descriptor `argv[0]` for the program with process id `argv[1]`."""
    program = int(argv[1])
    watched = None
    with suppress(OSError, AttributeError):
        watched = os.pidfd_open(program)
    if os.getppid() != program:
        os._exit(0)  # it ended while we were starting
    _LIBC.prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    server = EnvServer(socket.socket(fileno=int(argv[0])), watched)
    signal.signal(signal.SIGCHLD, server.reap)
    signal.siginterrupt(signal.SIGCHLD, False)
    server.serve()
