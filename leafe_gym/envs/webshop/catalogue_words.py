"""The words of the generated catalogue."""

from __future__ import annotations

from typing import Any, NamedTuple

from leafe_gym.envs.data_files import packaged_json


class ProductKind(NamedTuple):
    """A kind of product.

    Attributes:
        noun: its name.
        category: one of a few categories.
        path: levels of the category, separated by ">".
        prices: lowest and highest price in dollars.
        groups: names of its options, keys of `OPTIONS`.
        uses: possible uses.
        traits: attributes that some products have.
    """

    noun: str
    category: str
    path: str
    prices: tuple[int, int]
    groups: tuple[str, ...]
    uses: tuple[str, ...]
    traits: tuple[str, ...]


_WORDS = packaged_json("webshop", "catalogue_words.json")

BRANDS: list[str] = _WORDS["brands"]
OPTIONS: dict[str, list[str]] = _WORDS["options"]
"""Name of an option -> its values."""


def _kind(record: dict[str, Any]) -> ProductKind:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return ProductKind(**values)


WARES = tuple(map(_kind, _WORDS["wares"]))
