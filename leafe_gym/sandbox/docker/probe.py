"""Whether an engine can do what a sandbox needs: tried once in a process, for real."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from leafe_gym.errors import SandboxError, SandboxUnavailable
from leafe_gym.sandbox.base import Limits
from leafe_gym.sandbox.docker.box import Box, Kind
from leafe_gym.sandbox.docker.engine import Engine
from leafe_gym.sandbox.docker.owner import Belongings

IMAGE = "leafe-python:latest"
ORDINARY, ROOT = 20001, 0
_INSTEAD = "or use sandbox='docker-commit'"
_SMALL = Limits(memory_mb=64, processes=16, disk_mb=4)


def need_image(engine: Engine, image: str) -> None:
    """See that there is an image.

    Raises:
        SandboxUnavailable: if there is none; says how to get one.
    """
    if not engine.has_image(image):
        raise SandboxUnavailable(
            f"the engine at {engine.host} has no image {image!r}: name one that it has and that "
            "has Python 3.11 or newer (sandbox_options={'image': 'python:3.12-slim'} after "
            f"'docker pull python:3.12-slim'), or give one that name: 'docker tag NAME {image}'"
        )


def checkpoint_user(engine: Engine, image: str) -> int:
    """As which user code can run so that checkpoints work: an ordinary one, if possible.

    CRIU asks the kernel for the limits of processes of other users, which takes CAP_SYS_RESOURCE.
    Where the engine lacks that, code is root in the container, without any capability.

    Raises:
        SandboxUnavailable: if checkpoints do not work; says what is missing.
    """
    return _checkpoint_user(engine.host, image)


@cache
def _checkpoint_user(host: str, image: str) -> int:
    engine = Engine(host)
    info = engine.info()
    if not info.get("ExperimentalBuild"):
        raise SandboxUnavailable(
            f'the engine at {host} has no checkpoints: start it with "experimental": true in '
            f"/etc/docker/daemon.json, and with CRIU 4.1 or newer on its PATH; {_INSTEAD}"
        )
    if os.geteuid() != 0 or not Path(str(info["DockerRootDir"]), "containers").is_dir():
        raise SandboxUnavailable(
            f"checkpoints have to be copied within {info['DockerRootDir']}, which takes root on "
            f"the engine's own host; {_INSTEAD}"
        )
    try:
        _try(engine, Kind(image, ORDINARY, _SMALL))
    except SandboxError as first:
        try:
            _try(engine, Kind(image, ROOT, _SMALL))
        except SandboxError as error:
            raise SandboxUnavailable(
                f"the engine at {host} cannot save and restore a container ({error}; as an "
                f"ordinary user: {first}): CRIU has to be 4.1 or newer and on the engine's PATH "
                f"('criu check' says what the kernel lacks); {_INSTEAD}"
            ) from error
        return ROOT
    return ORDINARY


def _try(engine: Engine, kind: Kind) -> None:
    """Save a container with a variable and a file, and have another one go on from there."""
    belongings = Belongings(engine)
    first, second = Box(kind, belongings), Box(kind, belongings)
    try:
        first.begin()
        code = b"n = 1; open('f', 'w').write('1')"
        first.line.ask("exec", code, limit=20.0, output_bytes=4096)
        name, word, _ = first.save()
        second.born_from(first.id, name, word)
        look = b"print(n, open('f').read())"
        _, (seen, _) = second.line.ask("exec", look, limit=20.0, output_bytes=4096)
        if seen != b"1 1\n":
            raise SandboxError(f"what was restored shows {seen!r}")
    finally:
        first.hang_up()
        second.hang_up()
        belongings.remove()
