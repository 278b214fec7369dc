"""Keeps a verification job away from the user's files, windows and terminal.

A job runs in a process of its own. There it gets a scratch working folder in which the entries of
the user's folder can be read, temporary files go into the scratch folder, windows and sound have
dummy drivers, and output is discarded. Python code that opens a file for writing outside of the
scratch folder writes to a copy inside it; other changes to files outside are refused with a
`PermissionError`. Videos are not recorded.

Not covered: files written by C libraries or by subprocesses at absolute paths, in subfolders of the
working folder, or larger than 1 MiB (links to the user's own); and servers.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym

SCRATCH = "LEAFE_VERIFICATION_SCRATCH"
"""Environment variable that tells processes started by a job to isolate themselves, too."""

_HEADLESS = {
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "MPLBACKEND": "Agg",
    "QT_QPA_PLATFORM": "offscreen",
    "PYGLET_HEADLESS": "true",
}
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_MOST_LINKS = 2000
_MOST_COPIES = 200
_SMALL = 2**20
_FREE = ("/dev/", "/proc/")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown"), (0,)),
    **dict.fromkeys(("os.mkdir", "os.utime", "os.setxattr"), (0,)),
    "os.rename": (0, 1),
    "os.link": (1,),
    "os.symlink": (1,),
}
"""Audit event -> positions of the paths that it changes."""

_UNLIMITED_FPS = 10**6


def isolate(environ: Mapping[str, str], cwd: str, scratch: Path) -> None:
    """Isolate this process; cannot be undone.

    Args:
        environ: the user's environment variables.
        cwd: the user's working folder.
        scratch: an empty folder.
    """
    scratch = scratch.resolve()
    os.environ.clear()
    os.environ.update(environ)
    for name in _DISPLAYS:
        os.environ.pop(name, None)
    os.environ.update(_HEADLESS)
    for name in ("TMPDIR", "TMP", "TEMP"):
        os.environ[name] = str(scratch)
    os.environ[SCRATCH] = str(scratch)
    tempfile.tempdir = str(scratch)
    work = scratch / "work"
    work.mkdir(exist_ok=True)
    _link_entries(Path(cwd), work)
    os.chdir(work)
    protect(scratch)


def protect(scratch: Path) -> None:
    """Redirect or refuse changes to files outside of `scratch`; record no videos."""
    sys.dont_write_bytecode = True
    overlay = _Overlay(scratch)
    opened = io.open

    def redirected_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return opened(overlay.path(file, mode), mode, *args, **kwargs)

    made = os.mkdir

    def redirected_mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        made(overlay.folder(path), *args, **kwargs)

    builtins.open = io.open = redirected_open
    os.mkdir = redirected_mkdir
    _redirect_calls(overlay)
    sys.addaudithook(_refusing(overlay))
    _disable_videos()


def _redirect_calls(overlay: _Overlay) -> None:
    """Have calls of `os` open, look at and remove the copies."""
    opened, looked, removed = os.open, os.stat, os.remove

    def redirected_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        mode = "r" if not flags & _WRITES else "w" if flags & os.O_TRUNC else "a"
        return opened(path if kwargs else overlay.path(path, mode), flags, *args, **kwargs)

    def redirected_stat(path: Any, **kwargs: Any) -> os.stat_result:
        if kwargs.get("dir_fd") is not None:
            return looked(path, **kwargs)
        return looked(overlay.path(path, "r"), **kwargs)

    def redirected_remove(path: Any, **kwargs: Any) -> None:
        removed(path if kwargs else overlay.made(path), **kwargs)

    os.open = redirected_open
    os.stat = redirected_stat
    os.remove = os.unlink = redirected_remove


def limit_drawing(env: gym.Env[Any, Any]) -> None:
    """Have an environment with a window draw without waiting between frames."""
    metadata = env.unwrapped.metadata
    if env.render_mode == "human" and "render_fps" in metadata:
        metadata["render_fps"] = _UNLIMITED_FPS


def _link_entries(folder: Path, work: Path) -> None:
    """Make relative paths to the user's files readable from `work`.

    Small files are copied, since C libraries and subprocesses write through a link.
    """
    copies = 0
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_MOST_LINKS), entries, strict=False)]
    except OSError:
        return
    for name in names:
        source = folder / name
        with suppress(OSError):
            if copies < _MOST_COPIES and source.is_file() and source.stat().st_size < _SMALL:
                shutil.copy2(source, work / name)
                copies += 1
                continue
        (work / name).unlink(missing_ok=True)
        (work / name).symlink_to(source)


class _Overlay:
    """Where files outside of the scratch folder are written to instead."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = f"{scratch}{os.sep}"
        self._copies = scratch / "copies"

    def outside(self, path: Any) -> str:
        """The real path if it lies outside of the scratch folder, else ""."""
        if isinstance(path, int):
            return ""
        try:
            name = os.path.realpath(os.fsdecode(path))
        except (TypeError, ValueError):
            return ""
        return "" if name.startswith((self._scratch, *_FREE)) else name

    def path(self, file: Any, mode: str) -> Any:
        """The path to open in place of `file`."""
        name = self.outside(file)
        if not name:
            return file
        copy = self._copies / name.lstrip(os.sep)
        if copy.exists():
            return copy
        if not isinstance(mode, str) or not set(mode) & set("wax+"):
            return file
        copy.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isfile(name) and "w" not in mode:
            shutil.copyfile(name, copy)
        return copy

    def made(self, path: Any) -> Any:
        """The copy in place of a file that exists as a copy only; else `path`."""
        name = self.outside(path)
        return path if not name or os.path.lexists(name) else self._copies / name.lstrip(os.sep)

    def folder(self, path: Any) -> Any:
        """The folder to make in place of `path`."""
        name = self.outside(path)
        if not name or os.path.exists(name):
            return path  # an existing folder raises FileExistsError, as it should
        copy = self._copies / name.lstrip(os.sep)
        copy.parent.mkdir(parents=True, exist_ok=True)
        return copy


def _refusing(overlay: _Overlay) -> Callable[[str, tuple[Any, ...]], None]:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            changed = (path,) if isinstance(flags, int) and flags & _WRITES else ()
        elif event in _CHANGES:
            changed = tuple(args[number] for number in _CHANGES[event])
        else:
            return
        for path in changed:
            name = overlay.outside(path)
            if name and not (event == "os.mkdir" and os.path.exists(name)):
                raise PermissionError(f"a verification job must not change {name}")

    return hook


def _disable_videos() -> None:
    recorder = gym.wrappers.RecordVideo
    original = recorder.__init__

    def init(self: Any, env: Any, video_folder: str, *args: Any, **kwargs: Any) -> None:
        original(self, env, video_folder, *args, **kwargs)
        self.episode_trigger, self.step_trigger = _never, None

    recorder.__init__ = init  # type: ignore[method-assign]


def _never(_: int) -> bool:
    return False
