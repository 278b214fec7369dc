"""A smaller model, trained anew, learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leafe_gym.errors import ConfigMismatch
from leafe_gym.tiny.make_base import CURVE, build
from leafe_gym.tiny.policy import SHIPPED
from leafe_gym.tiny.pretrain import Recipe


def test_smaller_model_learns_and_is_kept(tmp_path: Path) -> None:
    recipe = Recipe(levels=150, steps=150, acting=64, advised=32, reflecting=4, width=32, layers=2)
    build(recipe, tmp_path / "base")
    curve = json.loads((tmp_path / "base" / CURVE).read_text())["curve"]
    first, last = curve[0], curve[-1]
    assert last["experience"] < 0.75 * first["experience"]
    assert last["reflection"] < 0.8 * first["reflection"]
    assert last["act"] < 0.95 * first["act"]
    written = (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns
    build(recipe, tmp_path / "base")
    assert (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ConfigMismatch, match="another recipe"):
        build(Recipe(steps=151), tmp_path / "base")


def test_shipped_model_is_small_and_has_its_curve() -> None:
    folder = SHIPPED / "blind"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    curve = json.loads((folder / CURVE).read_text())["curve"]
    assert np.mean([point["reflection"] for point in curve[-3:]]) < 0.5
