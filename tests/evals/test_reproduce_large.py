"""The run for a GPU, as small as it can be, on the CPU: larger rooms, two boxes, fresh levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import leafe_gym as lg
from leafe_gym.errors import UsageError
from leafe_gym.evals.reproduce.levels import LevelSet, load
from leafe_gym.evals.reproduce.protocol import LARGE
from leafe_gym.evals.reproduce.reproduce import reproduce
from leafe_gym.tiny.pretrain import graphs, make_levels, make_model
from leafe_gym.tiny.words import SMALL, World, vocabulary

LITTLE = replace(
    LARGE,
    stage1_levels=4, stage1_interactions=60,
    train_levels=5, train_interactions=240, test_levels=4, steps=4,
    batch=16, grpo_seeds=1, device="cpu",
    recipe=replace(
        LARGE.recipe, levels=30, fresh=130, steps=250, acting=16, advised=8, reflecting=16,
        width=32, layers=2, lr=6e-3,
        world=World(room=4, boxes=2, walls=(0, 2), solution=(2, 4), steps=10),
    ),
)  # fmt: skip
"""Trained just long enough to reflect in the right form."""


def test_words_of_larger_rooms() -> None:
    large = LARGE.recipe.world
    small, words = vocabulary(), large.words
    assert all(
        words[word] == number for word, number in small.items() if set(word) - set("#-.$*@+")
    )
    assert {"$.-$.", "*@*--", "#####"} <= set(words)
    assert not {"$$$--", "@---@", "----"} & set(words)
    assert World.read(None) == SMALL
    assert 4e6 < sum(p.numel() for p in make_model(LARGE.recipe).parameters()) < 7e6


def test_fresh_levels_are_others_of_the_same_kind() -> None:
    recipe = replace(LITTLE.recipe, levels=4)
    supply = graphs(recipe)
    first, second = (list(graph.boards) for graph in (next(supply), next(supply)))
    supply.close()  # type: ignore[attr-defined]
    seeds = range(recipe.first_level + recipe.levels, recipe.first_level + 2 * recipe.levels)
    assert second == list(make_levels("train", seeds, recipe.world).boards)
    assert len({*first, *second}) > len(first)
    assert {board.count("$") + board.count("*") for board in first} == {2}


def test_the_whole_run_on_a_cpu(tmp_path: Path, counts: Callable[[int, int], int]) -> None:
    if not counts(0, 1):
        pytest.skip("--full-counts runs it")
    result = reproduce(tmp_path, scale=LITTLE)
    assert set(result["elsewhere"]) == {"more walls", "longer solutions", "one box fewer"}
    levels = LevelSet.of("test", 4, LITTLE.recipe.world)
    assert {board.count("$") + board.count("*") for board in levels.graph.boards} == {2}
    figures = json.loads((tmp_path / "blind-0" / "figures.json").read_text())
    for name in ("base", "reh"):
        network = load(
            tmp_path / "blind-0" / ("base" if name == "base" else f"models/{name}/model")
        )
        exact = levels.chain(network).success()
        assert figures["trained"]["success"][name] == pytest.approx(exact.tolist(), abs=1e-6)
        won = (
            levels.chain(network)
            .sample(np.repeat(levels.graph.starts, 500), np.random.default_rng(0))
            .won
        )
        error = np.sqrt(np.maximum((exact * (1 - exact)).sum(), 1e-3) / 500) / 4
        assert abs(won.mean() - exact.mean()) < 4 * error
        assert result["passk"][name]["1"]["mean"] == pytest.approx(exact.mean(), abs=1e-6)


def test_a_large_model_plays_larger_rooms(tmp_path: Path) -> None:
    from leafe_gym.tiny.make_base import build
    from leafe_gym.tiny.policy import TinyPolicy

    recipe = replace(LITTLE.recipe, world=LARGE.recipe.world, levels=2, fresh=None, steps=1)
    policy = TinyPolicy.load(build(recipe, tmp_path / "base"))
    assert policy.world == recipe.world
    tasks = LevelSet.of("val", 2, recipe.world).tasks
    found = lg.evaluate(policy, tasks, samples=2, config=lg.EvalConfig(max_tokens=4))
    assert found.samples.tolist() == [2, 2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a GPU"):
        reproduce(tmp_path, scale=LARGE)
