"""`leafe doctor` where a container engine answers."""

from __future__ import annotations

import pytest

from leafe_gym.cli.doctor import examine


@pytest.mark.engine
def test_sandboxes_in_containers_are_tried(engine: str) -> None:
    found = {(one.part, one.name): one for one in examine()}
    assert engine in found["engine", "docker"].detail
    for kind, memory in (("docker", "saved"), ("docker-commit", "replayed")):
        one = found["sandbox", kind]
        assert one.state == "ok", one.detail
        assert one.detail.startswith(f"isolation: container; memory: {memory}")
