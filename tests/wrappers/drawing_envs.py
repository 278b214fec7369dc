"""Environments with a window, a fake one and one of pygame, and wrappers that write files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from toy_envs import Counter, Native

OPENED: list[str] = []
"""What the fake display of this process was asked to do."""


class Surface:
    """Cannot be pickled or copied, like pygame's."""

    def __init__(self) -> None:
        OPENED.append("opened")
        self.frames: list[int] = []

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("cannot pickle a surface")


class Drawn(Counter):
    """Draws like the environments of Gymnasium: in `step` with a window, else in `render`."""

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode
        self.surface: Surface | None = None

    def step(self, action: str) -> Any:
        outcome = super().step(action)
        if self.render_mode == "human":
            self.render()
        return outcome

    def render(self) -> Any:
        self.surface = self.surface or Surface()
        self.surface.frames.append(self.value)
        return (
            None if self.render_mode == "human" else np.full((2, 2, 3), self.value % 256, np.uint8)
        )


class DrawnNative(Drawn):
    """The same with native snapshots."""

    get_state = Native.get_state
    set_state = Native.set_state


class DrawnByWrapper(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A wrapper that holds a surface once something was drawn."""

    def __init__(self, env: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.surface: Surface | None = None

    def render(self) -> Any:
        self.surface = self.surface or Surface()
        return self.env.render()


class WritesLines(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Writes what it sees into a file; in a folder that it makes."""

    def __init__(self, env: Any, path: str, mode: str = "a") -> None:
        gym.utils.RecordConstructorArgs.__init__(self, path=path, mode=mode)
        gym.Wrapper.__init__(self, env)
        self.path, self.mode = path, mode
        Path(path).parent.mkdir(parents=True, exist_ok=True)

    def step(self, action: Any) -> Any:
        outcome = self.env.step(action)
        with open(self.path, self.mode) as file:
            file.write(f"{outcome[0]}\n")
        return outcome


class RemovesFile(Counter):
    """Removes a file at each reset."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def reset(self, **kwargs: Any) -> Any:
        if os.path.exists(self.path):
            os.remove(self.path)
        return super().reset(**kwargs)


class ReadsFile(Counter):
    """Needs a file that lies in the working folder."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add = int(Path(name).read_text())

    def chance(self) -> int:
        return self.add


class Aborts(Counter):
    """Ends its process in `reset`, but not in that of the tests."""

    def __init__(self, how: str, spared: int) -> None:
        super().__init__()
        self.how, self.spared = how, spared

    def reset(self, **kwargs: Any) -> Any:
        if os.getpid() != self.spared:
            if self.how == "abort":
                os.abort()
            if self.how == "exit":
                os._exit(3)
            while self.how == "hang":
                os.sched_yield()
        return super().reset(**kwargs)


class Prints(Native):
    """Prints, from Python and past it."""

    def step(self, action: str) -> Any:
        print("step", flush=True)  # noqa: T201
        os.write(2, b"step\n")
        return super().step(action)
