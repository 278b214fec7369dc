"""WebShop's reward against hand-worked cases; the arithmetic stands beside each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("bm25s", reason="pip install 'leafe-gym[webshop]'")

from leafe_gym.envs.webshop.goals import NO_CAP, ShoppingGoal, synthetic_goals
from leafe_gym.envs.webshop.products import Product
from leafe_gym.envs.webshop.reward import (
    alike,
    matching_options,
    score,
    text_match,
    type_factor,
)
from leafe_gym.envs.webshop.word_lists import nouns, plain_color

ASKED = Product(
    asin="B000000001",
    name="Alder Rain Jacket Travel Hood",  # five nouns
    category="fashion",
    query="rain jackets",
    product_category="Clothing \u203a Outerwear \u203a Jackets",
    description="Keeps you dry.",
    bullets=("Taped seams.", "Two pockets."),
    price=45.0,
    price_tag="$45.0",
    options=(("color", ("navy", "black")), ("size", ("medium", "large"))),
    attributes=("machine wash", "taped seams"),
    rating="N.A.",
    reviews=(),
)
GOAL = ShoppingGoal(0, "i need a jacket", ("machine wash", "taped seams"), ("navy", "medium"), 50.0)
BOTH = ("navy", "medium")

OTHER = {"name": "Alder Kettle", "query": "kettles", "product_category": "Home \u203a Kitchen"}
"""One of the five nouns: 1/5 = 0.2, which is not above 0.2."""


@pytest.mark.parametrize(
    ("bought", "chosen", "expected"),
    [
        # What was asked for: 2 attributes, 2 options, 1 for the price, of 2 + 2 + 1.
        ({}, BOTH, 1 * (2 + 2 + 1) / 5),
        ({}, ("medium", "navy"), 1 * (2 + 2 + 1) / 5),
        # Options.
        ({}, (), 1 * (2 + 0 + 1) / 5),
        ({}, ("navy",), 1 * (2 + 1 + 1) / 5),
        ({}, ("black", "large"), 1 * (2 + 0 + 1) / 5),
        ({}, ("Navy", "MEDIUM"), 1 * (2 + 2 + 1) / 5),
        ({}, ("midnight navy", "medium"), 1 * (2 + 1 + 1) / 5),  # is called midnight
        ({}, ("navy heather print", "medium"), 1 * (2 + 1 + 1) / 5),  # is called heather
        ({}, (*BOTH, "machine wash"), 1 * (2 + 2 + 1) / 5),  # one too many is no more
        # The price.
        ({"price": 50.0}, BOTH, 1 * (2 + 2 + 1) / 5),
        ({"price": 50.01}, BOTH, 1 * (2 + 2 + 0) / 5),
        ({"price": 50.01}, (), 1 * (2 + 0 + 0) / 5),
        # Attributes: in the list, in one of the texts, or nowhere.
        ({"attributes": ("machine washable",)}, BOTH, 1 * (1 + 1 + 2 + 1) / 5),  # 86 alike; bullet
        ({"attributes": ()}, BOTH, 1 * (1 + 2 + 1) / 5),  # "Taped seams." is a bullet
        ({"attributes": (), "bullets": ()}, BOTH, 1 * (0 + 2 + 1) / 5),
        (
            {"attributes": (), "bullets": (), "name": "Alder Rain Jacket, Machine Wash"},
            BOTH,
            1 * (1 + 2 + 1) / 5,
        ),
        (
            {"attributes": (), "bullets": (), "description": "TAPED SEAMS, machine wash"},
            BOTH,
            1 * (2 + 2 + 1) / 5,
        ),
        # The type: 1, 0.5, 0.1 and 0.
        (OTHER, BOTH, 0.5 * (2 + 2 + 1) / 5),
        ({**OTHER, "price": 60.0}, ("navy",), 0.5 * (2 + 1 + 0) / 5),
        ({**OTHER, "query": "rain jackets"}, BOTH, 1 * (2 + 2 + 1) / 5),
        ({**OTHER, "product_category": "Jackets \u203a Clothing"}, BOTH, 1 * (2 + 2 + 1) / 5),
        ({**OTHER, "product_category": "Clothing \u203a Clothing"}, BOTH, 0.5 * (2 + 2 + 1) / 5),
        ({**OTHER, "name": "Alder Rain Kettle"}, BOTH, 1 * (2 + 2 + 1) / 5),  # 2/5 is above 0.2
        ({"name": "Birch Kettle"}, BOTH, 0 * (2 + 2 + 1) / 5),
    ],
)
def test_hand_worked(bought: dict[str, Any], chosen: tuple[str, ...], expected: float) -> None:
    worth = score(ASKED._replace(**bought), chosen, GOAL, ASKED)
    assert worth.reward == pytest.approx(expected, abs=1e-12)
    assert (worth.reward == 1.0) == (expected == 1.0)


def test_goals_with_less() -> None:
    no_options = GOAL._replace(options=())
    assert score(ASKED, (), no_options, ASKED).reward == 1 * (2 + 0 + 1) / 3
    assert score(ASKED._replace(price=60.0), BOTH, no_options, ASKED).reward == 1 * (2 + 0) / 3
    no_cap = GOAL._replace(price_upper=NO_CAP)
    assert score(ASKED._replace(price=9e5), BOTH, no_cap, ASKED).reward == 1 * (2 + 2 + 1) / 5


def test_the_type_below_a_tenth() -> None:
    """One noun of eleven: 1/11 = 0.09, and neither query nor category helps."""
    asked = ASKED._replace(name="alder rain jacket travel hood zip cuff hem cord patch loop")
    bought = ASKED._replace(name="Alder Kettle")
    assert text_match(bought.name, asked.name) == 1 / 11
    assert score(bought, BOTH, GOAL, asked).reward == pytest.approx(0.1 * (2 + 2 + 1) / 5)
    assert score(bought, (), GOAL, asked).reward == pytest.approx(0.1 * (2 + 0 + 1) / 5)
    # One of ten is no longer below a tenth.
    assert type_factor(bought, asked._replace(name=asked.name.removesuffix(" loop"))) == 1.0


def test_names_without_nouns_count_a_fifth() -> None:
    asked = ASKED._replace(name="12, for the 3")
    assert text_match("anything", asked.name) == 0.2
    assert type_factor(ASKED, asked) == 1.0  # the same query
    assert type_factor(ASKED._replace(**OTHER), asked) == 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("The 2-Pack Men's Jacket by Alder & Co", "pack men jacket alder co"),
        ("Jasmine Tea, 12oz (Pack of 3)", "jasmine tea oz pack"),
        ("Lamp 5 W, 12 inch", "lamp inch"),
        ("USB-C cable XL 2.5GB", "usb cable xl gb"),
    ],
)
def test_nouns_of_the_heuristic(name: str, expected: str) -> None:
    """Units count: spaCy tags them as nouns, too."""
    assert nouns(name) == expected.split()


def test_words() -> None:
    # A repeated noun counts once above and twice below.
    assert text_match("tea", "Tea and Tea") == 1 / 2
    assert plain_color("midnight black") == "black"
    assert plain_color("tangerine") == "tan"  # as in WebShop
    assert plain_color("checkered") == "red"
    assert plain_color("plaid") == "plaid"


def test_likeness_is_rounded_and_reads_words_in_any_order() -> None:
    assert alike("x-large", "large")  # all words of one are in the other
    assert alike("cool powder snow", "snow, POWDER")
    assert alike("caf\u00e9 noir", "caf noir")  # letters of Latin-1 are dropped
    assert not alike("", "")
    assert not alike("navy", "black")
    # Letters that agree, of all: 34/40 = 85.0; 58/68 = 85.3, rounded 85; 118/138 = 85.5.
    for same, other, expected in ((17, 3, False), (29, 5, False), (59, 10, True)):
        assert alike("a" * same + "b" * other, "a" * same + "c" * other) == expected


texts = st.text(alphabet="abcde -", max_size=12)


@given(
    name=texts,
    chosen=st.lists(texts, max_size=4),
    wanted=st.lists(texts, max_size=4),
    attributes=st.lists(texts, min_size=1, max_size=3),
    price=st.floats(0, 100),
    query=st.sampled_from(["rain jackets", "kettles"]),
)
def test_rewards_are_shares(
    name: str,
    chosen: list[str],
    wanted: list[str],
    attributes: list[str],
    price: float,
    query: str,
) -> None:
    goal = ShoppingGoal(0, "", tuple(attributes), tuple(wanted), 50.0)
    bought = ASKED._replace(name=name, price=price, query=query)
    worth = score(bought, chosen, goal, ASKED)
    assert 0.0 <= worth.reward <= 1.0
    assert worth.r_type in (0.0, 0.1, 0.5, 1.0)
    # Choosing one option more never costs anything; a lower price neither.
    assert score(bought, [*chosen, "navy"], goal, ASKED).reward >= worth.reward
    assert score(bought._replace(price=0.0), chosen, goal, ASKED).reward >= worth.reward


@pytest.mark.parametrize(
    ("wanted", "chosen", "count"),
    [
        (("acid wash",), ("acid wash",), 0),  # "ash" is a colour, and no word of "color acid wash"
        (("dark indigo",), ("light indigo",), 1),
        (("red",), ("blue",), 0),
        (("red", "xl"), ("red", "xl"), 2),
    ],
)
def test_named_options_are_compared_as_pairs(
    wanted: tuple[str, ...], chosen: tuple[str, ...], count: int
) -> None:
    assert matching_options(wanted, chosen, ("color", "size")[: len(wanted)]) == count


def test_a_value_that_stands_twice_makes_two_goals() -> None:
    product = ASKED._replace(options=(("color", ("red", "blue", "red")),))
    entry = {"instruction": "buy it", "instruction_attributes": ["soft"]}
    goals = list(synthetic_goals(0, product, entry, "here"))
    assert [goal.options for goal in goals] == [("red",), ("blue",), ("red",)]
    assert {goal.option_names for goal in goals} == {("color",)}
