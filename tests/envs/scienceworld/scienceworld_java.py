"""Java for the tests that need it: where CI=true its absence fails them, elsewhere they skip."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from leafe_gym.envs.scienceworld.library import need
from leafe_gym.errors import UsageError


def need_java() -> None:
    """Skip or fail where ScienceWorld cannot be played."""
    try:
        need()
    except UsageError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    assert find_spec("scienceworld") is not None
