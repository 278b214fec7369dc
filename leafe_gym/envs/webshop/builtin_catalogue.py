"""A shop of our own: 400 products and a goal for each, the same everywhere, in WebShop's forms.

Of each of twenty wares there are twenty products by as many makers. They share traits, options
and price ranges, so that the wrong one is often worth something; bought with its options, the
goal's own product is worth 1.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from leafe_gym.envs.webshop.catalogue_words import BRANDS, OPTIONS, WARES, ProductKind
from leafe_gym.envs.webshop.products import BETWEEN
from leafe_gym.envs.webshop.shop_builder import Streams
from leafe_gym.types import Json

_SILENT = 0.5
_WORDS = ("Just right.", "Does what it says.", "Not what I hoped for.", "Would buy it again.")


def streams() -> Streams:
    """The catalogue as the four official files would tell it."""
    told = {str(record["asin"]): record for record in _records()}
    return Streams(
        [(f"product {number}", record) for number, record in enumerate(_records(), 1)],
        [("", (asin, {"attributes": record["traits"]})) for asin, record in told.items()],
        [("", (asin, [record["goal"]])) for asin, record in told.items()],
        [("", record["review"]) for record in told.values() if record["review"]],
    )


@cache
def _records() -> tuple[dict[str, Json], ...]:
    """Every product, in an order that does not tell its ware."""
    made = [one for number, ware in enumerate(WARES) for one in _shelf(number, ware)]
    random.Random("order of the shop").shuffle(made)
    return tuple(made)


def _shelf(number: int, ware: ProductKind) -> Iterator[dict[str, Json]]:
    for place, brand in enumerate(BRANDS):
        luck = random.Random(f"{ware.noun}, {brand}")
        asin = f"B{number:02d}{place:02d}{luck.randrange(10**5):05d}"
        traits = luck.sample(ware.traits, luck.randint(3, 4))
        use = luck.choice(ware.uses)
        options = {name: _some(luck, OPTIONS[name]) for name in ware.groups}
        yield {
            "asin": asin,
            "name": f"{brand} {ware.noun} for {use.title()}, {luck.choice(traits).title()}",
            "category": ware.category,
            "query": f"{ware.noun.lower()} for {use}",
            "product_category": ware.path.replace(">", BETWEEN),
            "full_description": f"{brand} makes this {ware.noun.lower()} with {use} in mind.",
            "small_description": [f"{trait.capitalize()}." for trait in traits],
            "pricing": _pricing(luck, ware),
            "customization_options": {
                name: [{"value": value} for value in values] for name, values in options.items()
            },
            "traits": traits,
            "goal": _goal(luck, ware, use, traits, options),
            "review": _review(luck, asin),
        }


def _some(luck: random.Random, values: list[str]) -> list[str]:
    """Half of the values or more, in their order."""
    chosen = luck.sample(range(len(values)), luck.randint((len(values) + 1) // 2, len(values)))
    return [values[number] for number in sorted(chosen)]


def _pricing(luck: random.Random, ware: ProductKind) -> str:
    """One price, or in one case of five two."""
    low = luck.randint(*ware.prices) - 0.01
    high = low + luck.randint(3, 12)
    return f"${low:.2f}${high:.2f}" if luck.random() < 0.2 else f"${low:.2f}"


def _goal(
    luck: random.Random,
    ware: ProductKind,
    use: str,
    traits: list[str],
    options: dict[str, list[str]],
) -> dict[str, Json]:
    wanted = luck.sample(traits, 2)
    chosen = {name: luck.choice(values) for name, values in options.items()}
    said = ", and ".join(f"{name}: {value}" for name, value in chosen.items())
    begins = luck.choice(("i need", "i am looking for", "find me", "i would like to buy"))
    text = f"{begins} a {ware.noun.lower()} for {use} that is {wanted[0]} and {wanted[1]}"
    return {
        "instruction": f"{text}, with {said}",
        "instruction_attributes": wanted,
        "instruction_options": chosen,
    }


def _review(luck: random.Random, asin: str) -> Json:
    if luck.random() < _SILENT:
        return None
    stars = luck.randint(2, 5)
    words = luck.choice(_WORDS)
    review = {"title": words, "score": f"{stars}.0", "review": f"{words} {stars} of 5."}
    return {"asin": asin, "average_rating": float(stars), "reviews": [review]}
