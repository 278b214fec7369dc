"""Task folders of Harbor as an environment, in containers without network; written for Harbor 0.26.

    env = gym.make("leafe_gym.plugs.harbor:leafe/Harbor-v0", data="tasks/fix-the-build")
    tasks = lg.tasks("leafe_gym.plugs.harbor:leafe/Harbor-v0", data="tasks")

Harbor itself is not needed: a task folder is its instruction, the Dockerfile or image of its
environment, and its tests. What a folder asks for and this environment has not (a network, docker
compose, several steps, GPUs, a verifier in a container of its own) is refused by name.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any

import gymnasium as gym

from leafe_gym.envs.code.container_shell import MAX_OUTPUT, ContainerShellEnv, ShellTask
from leafe_gym.envs.tasks import TaskList, list_arguments, split_by_hash
from leafe_gym.errors import EnvironmentFailure, UsageError
from leafe_gym.sandbox.docker.command_container import (
    CommandContainer,
    ContainerSettings,
    build_image,
)
from leafe_gym.types import Json, Task

NAME = "leafe/Harbor-v0"
ENV_ID = f"leafe_gym.plugs.harbor:{NAME}"
_CANARY = re.compile(r"(?:^(?:<!--.*canary.*-->|#.*canary.*)\s*\n)*\s*\n*", re.I | re.M)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_KINDS: dict[str, dict[str, Any]] = {
    "environment": {"memory_mb": int, "cpus": int | float, "workdir": str, "env": dict}
    | {"build_timeout_sec": int | float, "docker_image": str},
    "verifier": {"timeout_sec": int | float, "env": dict, "user": str | int},
    "agent": {"user": str | int},
}
"""What is read from task.toml."""
_LOGS, _REWARD = "/logs/verifier", "/logs/verifier/reward"


@dataclass(frozen=True, slots=True)
class HarborTask:
    """One task folder.

    Attributes:
        folder: where it is.
        config: its task.toml.
        instruction: what is asked for.
        digest: hash of all its files, in hex.
    """

    folder: Path
    config: Mapping[str, Any]
    instruction: str
    digest: str

    def part(self, name: str) -> Mapping[str, Any]:
        """A section of task.toml; empty where it is left out."""
        return dict(self.config.get(name, {}))


def read_task(folder: str | Path) -> HarborTask:
    """Read and check a task folder.

    Raises:
        UsageError: if it is none, or needs something that is not offered here; names it.
    """
    path = Path(folder).resolve()
    try:
        config = tomllib.loads((path / "task.toml").read_text("utf-8"))
        script = path / "tests" / "test.sh"
        if reason := _refusal(path, config, script):
            raise UsageError(f"{path}: {reason}")
        text = (path / "instruction.md").read_text("utf-8")
        digest = blake2b(digest_size=8)
        for file in sorted(one for one in path.rglob("*") if one.is_file()):
            digest.update(f"{file.relative_to(path)}\0".encode() + file.read_bytes() + b"\0")
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: not a task folder of Harbor: {error}") from error
    return HarborTask(path, config, _CANARY.sub("", text, count=1), digest.hexdigest())


def _refusal(path: Path, config: Mapping[str, Any], script: Path) -> str:
    """Why a task cannot be played here; "" if it can."""
    for part, kinds in _KINDS.items():
        if not isinstance(section := config.get(part, {}), dict):
            return f"{part} in its task.toml is no table"
        for name in section.keys() & kinds.keys():
            if not isinstance(section[name], kinds[name]):
                return f"[{part}] {name} = {section[name]!r} in its task.toml cannot be read"
    env, verifier = config.get("environment", {}), config.get("verifier", {})
    compose = [one.name for one in (path / "environment").glob("docker-compose.y*ml")]
    separate = verifier.get("environment") or verifier.get("environment_mode") == "separate"
    hosts = [part.get("network_mode") == "allowlist" for part in (env, verifier)]
    links = [one for one in (path / "tests").rglob("*") if one.is_symlink()]
    reasons = {
        "it has several steps": config.get("steps"),
        "it needs Windows": str(env.get("os", "linux")).lower() != "linux",
        "it needs docker compose": compose,
        "it needs a GPU": env.get("gpus") or env.get("tpu"),
        "it needs MCP servers": env.get("mcp_servers"),
        "it needs a network with a list of hosts; containers here have none": any(hosts),
        "it needs a health check": env.get("healthcheck"),
        "its verifier needs a container of its own": separate,
        "it goes on from an earlier trajectory.json": (path / "trajectory.json").exists(),
        "it has no tests/test.sh": not script.is_file(),
        "its tests hold symbolic links": links,
        "it has neither environment/Dockerfile nor docker_image": not env.get("docker_image")
        and not (path / "environment" / "Dockerfile").is_file(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class HarborEnv(ContainerShellEnv):
    """A task folder of Harbor; its own tests give the reward. See `ContainerShellEnv`.

    The reward is what the tests write to `/logs/verifier/reward.json` (its key `reward`), else to
    `reward.txt`; `info["feedback"]` is then the end of their output.

    Args:
        data: a task folder, or a folder of task folders.
        name: which of them; default the one that the seed selects.
        max_steps: actions of an episode, >= 1.
        command_seconds: time limit of an action, > 0.

    Raises:
        UsageError: if an argument or a folder cannot be used.
    """

    def __init__(
        self, data: str, name: str = "", max_steps: int = 30, command_seconds: float = 60.0
    ) -> None:
        super().__init__(max_steps, command_seconds)
        folders = _folders(data)
        if name and name not in folders:
            raise UsageError(f"name={name!r}: there are {', '.join(folders)}")
        self._tasks = [read_task(one) for key, one in folders.items() if name in ("", key)]
        self._images: dict[str, str] = {}

    @classmethod
    def tasks(cls, split: str = "train", *, data: str, **kwargs: Json) -> Sequence[Task]:
        """The task folders of a split; a folder's content decides its split.

        Raises:
            UsageError: if the split, an argument or a folder cannot be used.
        """
        given, folders = list_arguments(split, kwargs), _folders(data)
        digests = {name: read_task(folder).digest for name, folder in folders.items()}
        names = [name for name in folders if split_by_hash(bytes.fromhex(digests[name])) == split]

        def build(number: int) -> Task:
            name = names[number]
            options = {**given, "data": str(data), "name": name}
            task_id = f"{NAME}:{name}:{digests[name]}"
            return Task(id=task_id, env_id=ENV_ID, kwargs=options, split=split)

        return TaskList(build, lambda: range(len(names)))

    def choose(self, seed: int) -> ShellTask:
        """See `ContainerShellEnv.choose`; builds the task's image unless it has one."""
        task = self._tasks[seed % len(self._tasks)]
        env = task.part("environment")
        image = str(env.get("docker_image") or self._images.get(task.digest) or "")
        if not image:
            seconds = float(env.get("build_timeout_sec", 600.0))
            image = f"leafe-harbor:{task.digest}"
            self._images[task.digest] = build_image(
                task.folder / "environment", image, seconds=seconds
            )
        settings = ContainerSettings(
            image=image,
            memory_mb=int(env.get("memory_mb") or 2048),
            cpus=float(env.get("cpus") or 1),
            workdir=str(env.get("workdir") or ""),
            environment=_variables(task, "environment"),
            folders=(_LOGS, "/logs/agent", "/logs/artifacts"),
        )
        user = str(task.part("agent").get("user") or "")
        return ShellTask(settings=settings, instruction=task.instruction, user=user, data=task)

    def judge(self, task: ShellTask, box: CommandContainer) -> tuple[float, str]:
        """See `ContainerShellEnv.judge`; runs the task's tests."""
        folder, verifier = task.data.folder, task.data.part("verifier")
        box.run(f"rm -rf /tests {_REWARD}.json {_REWARD}.txt; mkdir -p {_LOGS}", user="root")
        box.put(folder / "tests", "/tests")
        box.run("chmod +x /tests/test.sh", user="root")
        done = box.run(
            f"/tests/test.sh > {_LOGS}/test-stdout.txt 2>&1",
            seconds=float(verifier.get("timeout_sec") or 600.0),
            user=str(verifier.get("user") or ""),
            environment=_variables(task.data, "verifier"),
        )
        said = (box.read(f"{_LOGS}/test-stdout.txt") or b"").decode("utf-8", "replace")
        text = box.read(f"{_REWARD}.json") or box.read(f"{_REWARD}.txt") or b""
        try:
            value = json.loads(text)
            reward = float(value["reward"] if isinstance(value, dict) else value)
            if not isfinite(reward):
                raise ValueError(f"it is {reward}")
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            why = "the tests hit their time limit" if done.timed_out else repr(error)
            raise EnvironmentFailure(
                f"{folder}: the tests wrote no reward ({why}); their output ends: {said[-500:]!r}"
            ) from error
        return reward, said[-MAX_OUTPUT:]


def _folders(data: str) -> dict[str, Path]:
    """Name -> folder of the tasks in `data`, which may be one itself.

    Raises:
        UsageError: if there is none.
    """
    root = Path(data)
    if (root / "task.toml").is_file():
        return {root.resolve().name: root}
    found = {one.parent.name: one.parent for one in sorted(root.glob("*/task.toml"))}
    if not found:
        raise UsageError(f"data={data!r}: no task folder of Harbor (with a task.toml) is there")
    return found


def _variables(task: HarborTask, part: str) -> dict[str, str]:
    """The variables of a section, with `${NAME}` and `${NAME:-default}` filled in from here."""

    def fill(found: re.Match[str]) -> str:
        value = os.environ.get(found[1], found[2])
        if value is None:
            raise UsageError(f"{task.folder}: the environment variable {found[1]} is not set")
        return value

    given = task.part(part).get("env", {})
    return {name: _VARIABLE.sub(fill, str(value)) for name, value in given.items()}


if NAME not in gym.registry:
    gym.register(NAME, f"{__name__}:HarborEnv")
