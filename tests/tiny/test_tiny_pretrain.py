"""A smaller model, pretrained anew, learns each part of the corpus on levels it has not seen."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from leafe_gym.errors import ConfigMismatch
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.tiny.corpus import IGNORE, Corpus
from leafe_gym.tiny.demonstrator import WEAKNESSES, demonstrator
from leafe_gym.tiny.make_base import CURVE, build
from leafe_gym.tiny.policy import SHIPPED, TinyPolicy
from leafe_gym.tiny.pretrain import Recipe, acting_loss, make_levels, reflection_loss
from leafe_gym.tiny.words import END, SMALL, vocabulary

RECIPE = Recipe(levels=150, steps=150, acting=64, advised=32, reflecting=4, width=32, layers=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(RECIPE, tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def policy(folder: Path) -> TinyPolicy:
    return TinyPolicy.load(folder)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    graph = make_levels("val", range(40))
    weak = demonstrator(graph, WEAKNESSES["blind"])
    return Corpus(graph, weak, SMALL, np.random.default_rng(0))


def test_it_acts_better_than_uniformly(policy: TinyPolicy, corpus: Corpus) -> None:
    with torch.inference_mode():
        loss = float(acting_loss(policy.network, corpus.acting(500)))
    assert loss < math.log(4), "a uniform choice of the four actions"


def test_it_follows_an_experience_and_only_where_there_is_one(
    policy: TinyPolicy, corpus: Corpus
) -> None:
    batch = corpus.advised(500, 1)
    here = batch.chances.max(axis=1) > 0.9  # the experience is for this step
    advised = batch.chances.argmax(axis=1)
    without = np.concatenate([batch.ids[:, :1], batch.ids[:, 7:]], axis=1)
    rows = np.arange(500)
    assert policy.chances(batch.ids)[rows, advised][here].mean() > 0.5
    assert policy.chances(without)[rows, advised][here].mean() < 0.5


def test_it_reflects_in_the_grammar_and_judges_actions_better_than_a_coin(
    policy: TinyPolicy, corpus: Corpus
) -> None:
    batch = corpus.reflecting(40)
    with torch.inference_mode():
        _, verdict = reflection_loss(policy.network, batch)
        said = policy.network(torch.from_numpy(batch.ids)).logits.argmax(dim=-1).numpy()
    assert float(verdict) < math.log(2), "a coin"
    words = vocabulary()
    fixed = np.isin(batch.labels, [words["not"], words["but"], words[END]])
    assert fixed.sum() == 3 * 40
    assert (said[fixed] == batch.labels[fixed]).mean() > 0.9
    assert (batch.labels != IGNORE).sum() == 10 * 40


def test_a_base_is_kept_and_not_mixed_with_another_recipe(folder: Path) -> None:
    weights = folder / "model.safetensors"
    written = weights.stat().st_mtime_ns
    build(RECIPE, folder)
    assert weights.stat().st_mtime_ns == written
    with pytest.raises(ConfigMismatch, match="another recipe"):
        build(Recipe(steps=151), folder)


@pytest.mark.parametrize("kind", ["blind", "multiturn"])
def test_shipped_models_are_small_and_have_their_recipe(kind: str) -> None:
    folder = SHIPPED / kind
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    told = json.loads((folder / CURVE).read_text())
    recipe = Recipe.of(told["recipe"])
    assert recipe == Recipe(memory=kind == "multiturn")
    assert told["curve"][-1]["step"] == recipe.steps
    assert build(recipe, folder) == folder, "the same recipe here finds it complete"


def test_the_shipped_model_has_the_weakness_that_its_card_names() -> None:
    levels = LevelSet.of("val", 200)
    success = levels.chain(TinyPolicy.load(SHIPPED / "blind").network).success()
    assert success.mean() == pytest.approx(0.22, abs=0.005)
    assert (1 - (1 - success) ** 128).mean() == pytest.approx(0.43, abs=0.005)
