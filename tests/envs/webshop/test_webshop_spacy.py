"""WebShop's reward with a spaCy pipeline in place of the heuristic for nouns."""

from __future__ import annotations

import pickle
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("bm25s", reason="pip install 'leafe-gym[webshop]'")
pytest.importorskip("spacy", reason="pip install 'leafe-gym[webshop-spacy]'")

import spacy

import leafe_gym as lg
from leafe_gym.envs.webshop.products import Product
from leafe_gym.envs.webshop.reward import score, text_match, type_factor
from leafe_gym.envs.webshop.shop import open_shop
from leafe_gym.envs.webshop.taggers import find_tagger
from leafe_gym.envs.webshop.word_lists import nouns
from leafe_gym.errors import MissingExtra, UsageError

ENV = "leafe/WebShop-v0"
NO_NOUNS = ["travel", "soft", "rain", "slim", "for", "with", "and", "a", "linen", "wool", "large"]
PROPER = ["alder", "birch"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small real pipeline: spaCy's English tokenizer and tags by rules."""
    made = spacy.blank("en")
    ruler: Any = made.add_pipe("attribute_ruler")
    ruler.add([[{"IS_ALPHA": True}]], {"POS": "NOUN"})
    ruler.add([[{"LOWER": {"IN": PROPER}}]], {"POS": "PROPN"})
    ruler.add([[{"LOWER": {"IN": NO_NOUNS}}]], {"POS": "ADJ"})
    folder = tmp_path_factory.mktemp("pipeline") / "rules"
    made.to_disk(folder)
    return str(folder)


def original_type_factor(nlp: Any, bought: Product, asked: Product) -> float:
    """`get_type_reward` of WebShop's `goal.py`, in other words."""
    tags = ("PNOUN", "NOUN", "PROPN")
    there, here = (
        [token.text.lower() for token in nlp(name) if token.pos_ in tags]
        for name in (bought.name, asked.name)
    )
    share = len(set(there) & set(here)) / len(here) if here else 0.2
    levels = (
        {level.strip() for level in one.product_category.split("\u203a")} for one in (bought, asked)
    )
    alike = bought.query == asked.query or len(set.intersection(*levels)) >= 2 or share > 0.2
    return 0.0 if share == 0 else 0.1 if share < 0.1 else 1.0 if alike else 0.5


def test_the_type_factor_is_the_originals(pipeline: str) -> None:
    nlp, tagger = spacy.load(pipeline), find_tagger(pipeline)
    shop = open_shop(None, "human")
    rng = random.Random(0)
    products = [shop.product(number) for number in range(400)]
    names = [one.name.split() for one in products]
    seen: Counter[float] = Counter()
    other = 0
    for _ in range(600):
        bought, asked = rng.sample(products, 2)
        if rng.random() < 0.5:  # a long name of several products
            words = [word for name in rng.sample(names, 4) for word in name]
            asked = asked._replace(name=" ".join(words), query="other", product_category="Other")
        factor = type_factor(bought, asked, tagger)
        assert factor == original_type_factor(nlp, bought, asked)
        seen[factor] += 1
        other += factor != type_factor(bought, asked)
    assert set(seen) == {0.0, 0.1, 0.5, 1.0}
    assert other > 0, "the heuristic counts words that the pipeline does not"


@pytest.mark.parametrize(
    ("bought", "asked", "expected"),
    [
        ("Alder Travel Kettle", "Birch Travel Lamp", 0.0),  # travel is no noun
        ("Alder Kettle", "Alder Lamp", 1 / 2),
        ("Jacket 12oz", "Tea, 12 oz", 1 / 2),
        ("Kettle", "soft and slim", 0.2),
        ("Tea", "TEA and tea", 1 / 2),
    ],
)
def test_hand_worked(pipeline: str, bought: str, asked: str, expected: float) -> None:
    assert text_match(bought, asked, find_tagger(pipeline)) == expected


def test_the_environment_uses_it_and_goes_to_other_processes(pipeline: str) -> None:
    env = gym.make(ENV, tagger=pipeline, goal=0).unwrapped
    plain = gym.make(ENV, goal=0).unwrapped
    shop = env.shop  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(shop)) is shop is not plain.shop  # type: ignore[attr-defined]
    tagger, goal = find_tagger(pipeline), shop.goal(0)
    for wanted in range(40, 60):
        bought = shop.product(wanted)
        rewards = []
        for one in (env, plain):
            one.reset(seed=0)
            one.step(f"search[{bought.name}]")
            one.step(f"click[{bought.asin.lower()}]")
            rewards.append(one.step("click[buy now]")[1])
        asked = shop.product(goal.product)
        assert rewards == [
            score(bought, (), goal, asked, tagger).reward,
            score(bought, (), goal, asked, nouns).reward,
        ]
    task = lg.tasks(ENV, "val", tagger=pipeline)[0]
    assert task.kwargs["tagger"] == pipeline
    assert task.id != lg.tasks(ENV, "val")[0].id, "another reward is another task"
    assert task.kwargs["goal"] == lg.tasks(ENV, "val")[0].kwargs["goal"]


@pytest.mark.parametrize(
    ("tagger", "said"),
    [
        ("no_such_pipeline", "python -m spacy download no_such_pipeline"),
        ("/nowhere/at/all", "cannot be loaded by spaCy"),
        ("", "name or path of a spaCy pipeline"),
        (5, "name or path of a spaCy pipeline"),
        (True, "name or path of a spaCy pipeline"),
    ],
)
def test_wrong_taggers(tagger: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gym.make(ENV, tagger=tagger)


def test_a_pipeline_without_tags_is_refused(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UsageError, match="tags no nouns; use another"):
        gym.make(ENV, tagger=str(tmp_path / "blank"))


def test_a_missing_spacy_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[webshop-spacy\]'"):
        gym.make(ENV, tagger=str(tmp_path))
    assert gym.make(ENV).reset(seed=0)[0]
