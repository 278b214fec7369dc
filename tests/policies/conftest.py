"""A real inference server with the small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served_models import serving_model

from leafe_gym.tiny.policy import SHIPPED
from leafe_gym.tiny.servable import save_servable


@pytest.fixture(scope="session")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as servers load it."""
    return save_servable(SHIPPED / "blind", tmp_path_factory.mktemp("servable"))


@pytest.fixture(scope="session")
def server(servable: Path) -> Iterator[str]:
    """Base URL of `transformers serve` with the small model, a process of its own."""
    with serving_model(servable) as (url, _):
        yield url
