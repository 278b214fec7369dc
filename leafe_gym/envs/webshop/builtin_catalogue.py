"""A generated catalogue: 400 products with one goal each, in WebShop's format; deterministic.

Each of twenty kinds has twenty products of different brands. Products of a kind share traits,
options and price ranges, so a wrong product often has a partial reward; the goal's own product with
its options has reward 1.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from leafe_gym.envs.webshop.catalogue_words import BRANDS, OPTIONS, WARES, ProductKind
from leafe_gym.envs.webshop.products import BETWEEN
from leafe_gym.envs.webshop.shop_builder import Streams
from leafe_gym.types import Json

_WITHOUT_REVIEW = 0.5
_WORDS = ("Just right.", "Does what it says.", "Not what I hoped for.", "Would buy it again.")


def streams() -> Streams:
    """The catalogue as the records of the four official files."""
    records = {str(record["asin"]): record for record in _records()}
    return Streams(
        [(f"product {number}", record) for number, record in enumerate(_records(), 1)],
        [("", (asin, {"attributes": record["traits"]})) for asin, record in records.items()],
        [("", (asin, [record["goal"]])) for asin, record in records.items()],
        [("", record["review"]) for record in records.values() if record["review"]],
    )


@cache
def _records() -> tuple[dict[str, Json], ...]:
    """All products, in an order that is independent of their kind."""
    made = [one for number, kind in enumerate(WARES) for one in _products_of(number, kind)]
    random.Random("order of the shop").shuffle(made)
    return tuple(made)


def _products_of(number: int, kind: ProductKind) -> Iterator[dict[str, Json]]:
    for place, brand in enumerate(BRANDS):
        rng = random.Random(f"{kind.noun}, {brand}")
        asin = f"B{number:02d}{place:02d}{rng.randrange(10**5):05d}"
        traits = rng.sample(kind.traits, rng.randint(3, 4))
        use = rng.choice(kind.uses)
        options = {name: _some(rng, OPTIONS[name]) for name in kind.groups}
        yield {
            "asin": asin,
            "name": f"{brand} {kind.noun} for {use.title()}, {rng.choice(traits).title()}",
            "category": kind.category,
            "query": f"{kind.noun.lower()} for {use}",
            "product_category": kind.path.replace(">", BETWEEN),
            "full_description": f"{brand} makes this {kind.noun.lower()} with {use} in mind.",
            "small_description": [f"{trait.capitalize()}." for trait in traits],
            "pricing": _pricing(rng, kind),
            "customization_options": {
                name: [{"value": value} for value in values] for name, values in options.items()
            },
            "traits": traits,
            "goal": _goal(rng, kind, use, traits, options),
            "review": _review(rng, asin),
        }


def _some(rng: random.Random, values: list[str]) -> list[str]:
    """At least half of the values, in order."""
    chosen = rng.sample(range(len(values)), rng.randint((len(values) + 1) // 2, len(values)))
    return [values[number] for number in sorted(chosen)]


def _pricing(rng: random.Random, kind: ProductKind) -> str:
    """One price, or with probability 0.2 two."""
    low = rng.randint(*kind.prices) - 0.01
    high = low + rng.randint(3, 12)
    return f"${low:.2f}${high:.2f}" if rng.random() < 0.2 else f"${low:.2f}"


def _goal(
    rng: random.Random,
    kind: ProductKind,
    use: str,
    traits: list[str],
    options: dict[str, list[str]],
) -> dict[str, Json]:
    wanted = rng.sample(traits, 2)
    chosen = {name: rng.choice(values) for name, values in options.items()}
    said = ", and ".join(f"{name}: {value}" for name, value in chosen.items())
    begins = rng.choice(("i need", "i am looking for", "find me", "i would like to buy"))
    text = f"{begins} a {kind.noun.lower()} for {use} that is {wanted[0]} and {wanted[1]}"
    return {
        "instruction": f"{text}, with {said}",
        "instruction_attributes": wanted,
        "instruction_options": chosen,
    }


def _review(rng: random.Random, asin: str) -> Json:
    if rng.random() < _WITHOUT_REVIEW:
        return None
    stars = rng.randint(2, 5)
    words = rng.choice(_WORDS)
    review = {"title": words, "score": f"{stars}.0", "review": f"{words} {stars} of 5."}
    return {"asin": asin, "average_rating": float(stars), "reviews": [review]}
