"""Java for the tests that need it: where CI=true its absence fails them, elsewhere they skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from leafe_gym.envs.scienceworld.java_runtime import check_requirements
from leafe_gym.errors import UsageError


def need_java() -> None:
    """Skip or fail where ScienceWorld cannot be played."""
    try:
        check_requirements()
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
