"""The first start of an unknown story, in a process of its own.

Jericho's interpreter runs inside the process that uses it. A story with a right checksum but broken
code can loop without end, crash the interpreter or make it exit; all three would take the process
with them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from hashlib import blake2b, md5
from pathlib import Path

from leafe_gym._optional import require
from leafe_gym.errors import UsageError

CPU_SECONDS = 5.0
"""Most CPU time for load, reset and one command; stories take milliseconds."""
_DEADLINE = 120.0
"""The same in wall time in seconds, for a story that sleeps; long, because machines are loaded."""
_STARTED, _HALTED = 42, 43
"""Exit codes that neither Python nor the interpreter uses."""
_CHILD = f"""
import os, signal, sys, warnings
import jericho
warnings.simplefilter("ignore")
signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))
game = jericho.FrotzEnv(sys.argv[1], 1)
game.reset()
halted = game._emulator_halted()
game.step("look")
os._exit({_HALTED} if halted else {_STARTED})
"""

_started: set[bytes] = set()
"""Digests of the stories that have started once."""


def try_story(path: str) -> None:
    """Start a story in a process of its own, unless Jericho knows it or it has started before.

    Raises:
        MissingExtra: if Jericho is not installed.
        UsageError: if the story does not start.
    """
    content = Path(path).read_bytes()
    known = require("jericho.defines", "jericho", "Jericho").BINDINGS_DICT
    if md5(content, usedforsecurity=False).hexdigest() in known:
        return
    digest = blake2b(content, digest_size=16).digest()
    if digest in _started:
        return
    if said := _failure(os.path.abspath(path)):
        raise UsageError(
            f"{path}: cannot be played, {said}; its code is damaged, or needs another interpreter "
            "than Jericho's: get the file again, or use another story"
        )
    _started.add(digest)


def _failure(path: str) -> str:
    """Why a story does not start; "" if it does."""
    modules = os.pathsep.join(one for one in sys.path if one)
    # A broken story may write files and endless output.
    with tempfile.TemporaryDirectory(prefix="leafe-story-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _CHILD, path, str(CPU_SECONDS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": modules},
                timeout=_DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it does not ask for a command within {_DEADLINE:.0f} s"
    code = done.returncode
    if code == _STARTED:
        return ""
    if code == -signal.SIGPROF:
        return f"it does not ask for a command within {CPU_SECONDS:g} s of CPU time"
    if code < 0:
        return f"it crashes the interpreter ({signal.Signals(-code).name})"
    if code == _HALTED:
        return "it stops before it asks for a command"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"the interpreter ends ({lines[-1].strip()[:200] if lines else f'exit code {code}'})"
