"""A part of a run is killed at a random moment; the finished run equals the undisturbed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
from soak import PARTS, Soak

pytest.importorskip("ray", reason="Ray is not installed: pip install 'leafe-gym[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.mark.timeout(7200)
def test_any_part_may_die_at_any_moment(tmp_path: Path, counts: Callable[[int, int], int]) -> None:
    """Each part alone: test_workers.py, test_ray_workers.py and test_kill.py, in every run."""
    if not counts(0, 1):
        pytest.skip("--full-counts runs it")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        cluster.add_node(num_cpus=2)
        soak = Soak(tmp_path, cluster, seed=0)
        soak.run(200)
    finally:
        cluster.shutdown()
        gym.registry.pop("toys/Counter-v0", None)
    assert set(soak.killed) == set(PARTS), "each part was killed"
