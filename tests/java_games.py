"""Java for the tests that need it: where CI=true its absence fails them, elsewhere they skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from leafe_gym.envs.java.runtime import JavaLibrary
from leafe_gym.envs.scienceworld.jvm import LIBRARY
from leafe_gym.errors import UsageError


def need_java(library: JavaLibrary = LIBRARY) -> None:
    """Skip or fail where a game in Java cannot be played."""
    try:
        library.check()
    except UsageError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def quick_java() -> Iterator[None]:
    """Java compiles less: it starts sooner, and no test plays long enough to miss it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield
