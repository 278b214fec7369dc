"""A record of WebShop's `items_shuffle.json` as a product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from leafe_gym.errors import BadRecord
from leafe_gym.seeds import derive_seed

BETWEEN = "\u203a"
"""What stands between two levels of a product's category."""

_LONGEST_ASIN = 10
_DEFAULT_PRICE = 100.0
_NEEDED = ("name", "category", "query", "product_category")


class Review(NamedTuple):
    """What a customer wrote."""

    title: str
    score: str
    body: str


class Product(NamedTuple):
    """All that a shop knows of a product.

    Attributes:
        asin: its number at the shop, at most ten characters.
        name: its title.
        category: one of few.
        query: the search that it was found with, in lower case.
        product_category: levels with `BETWEEN` between them.
        description: "" if it has none.
        bullets: its features.
        price: in dollars, what is paid.
        price_tag: what is shown: one price, or two where it depends on options.
        options: (name, values) of each choice, in lower case.
        attributes: short phrases that hold of it; shown only where that is asked for.
        rating: average of the reviews, or "N.A.".
        reviews: of customers.
    """

    asin: str
    name: str
    category: str
    query: str
    product_category: str
    description: str
    bullets: tuple[str, ...]
    price: float
    price_tag: str
    options: tuple[tuple[str, tuple[str, ...]], ...]
    attributes: tuple[str, ...]
    rating: str
    reviews: tuple[Review, ...]

    @classmethod
    def from_json(cls, told: list[Any]) -> Product:
        """The product that was stored as a JSON list."""
        made = cls(*told)
        return made._replace(
            bullets=tuple(made.bullets),
            options=tuple((name, tuple(values)) for name, values in made.options),
            attributes=tuple(made.attributes),
            reviews=tuple(Review(*review) for review in made.reviews),
        )

    def searched_text(self) -> str:
        """What the ranking reads: title, description, first feature, options, as in WebShop."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options)
        return " ".join([self.name, self.description, *self.bullets[:1], options])


def asin_of(record: Any, where: str) -> str | None:
    """A record's asin; None for one that WebShop leaves out, too.

    Raises:
        BadRecord: if it has none.
    """
    if not isinstance(record, Mapping):
        raise BadRecord(f"{where}: a {type(record).__name__}, not an object")
    asin = record.get("asin")
    if not isinstance(asin, str) or not asin:
        raise BadRecord(f"{where}: no field 'asin'; add one or remove the record")
    return None if asin == "nan" or len(asin) > _LONGEST_ASIN else asin


def read_product(
    record: Mapping[str, Any],
    where: str,
    attributes: tuple[str, ...] = (),
    rating: str = "N.A.",
    reviews: tuple[Review, ...] = (),
) -> Product:
    """A product from a record of the official file and what the other files say of it.

    Args:
        record: as it stands in the file, with an asin.
        where: file and number of the record, for errors.
        attributes: from `items_ins_v2.json`.
        rating: from `reviews.json`.
        reviews: from `reviews.json`.

    Raises:
        BadRecord: if a needed field is missing or a value cannot be read.
    """
    asin = str(record["asin"])
    where = f"{where} ({asin})"
    texts = {name: record.get(name) for name in _NEEDED}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise BadRecord(f"{where}: no text in field {name!r}; add it or remove the record")
    price, tag = _price(record.get("pricing"), asin, where)
    return Product(
        asin=asin,
        name=str(texts["name"]),
        category=str(texts["category"]),
        query=str(texts["query"]).lower().strip(),
        product_category=str(texts["product_category"]),
        description=str(record.get("full_description") or ""),
        bullets=_bullets(record.get("small_description")),
        price=price,
        price_tag=tag,
        options=_options(record.get("customization_options"), where),
        attributes=attributes,
        rating=rating,
        reviews=reviews,
    )


def _bullets(told: Any) -> tuple[str, ...]:
    lines = told if isinstance(told, list) else [told]
    return tuple(str(line) for line in lines if line)


def _price(told: Any, asin: str, where: str) -> tuple[float, str]:
    """(price, tag): of two prices one in between, which the asin decides."""
    if not told:
        return _DEFAULT_PRICE, f"${_DEFAULT_PRICE}"
    try:
        prices = [float(re.sub(r"[^\d.]", "", part)) for part in str(told).split("$")[1:]]
        low, *others = prices
    except ValueError:
        raise BadRecord(
            f"{where}: field 'pricing' is {told!r}; use '$10.99', '$10.99$20' or ''"
        ) from None
    if not others:
        return low, f"${low}"
    share = derive_seed("webshop price", asin) / 2**63
    return low + share * (others[0] - low), f"${low} to ${others[0]}"


def _options(told: Any, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, tuple[str, ...]] = {}
    try:
        for name, choices in (told or {}).items():
            if choices is not None:
                values = [choice["value"].strip().replace("/", " | ").lower() for choice in choices]
                found[name.lower()] = tuple(dict.fromkeys(values))
    except (AttributeError, KeyError, TypeError):
        raise BadRecord(
            f"{where}: field 'customization_options' is not of the form "
            '{"color": [{"value": "red"}]}; mend it or make it null'
        ) from None
    return tuple(found.items())
