"""Instructions as goals: price caps, order and splits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from leafe_gym.envs.webshop.products import Product
from leafe_gym.errors import BadRecord
from leafe_gym.seeds import derive_seed
from leafe_gym.types import Json

KINDS = ("human", "synthetic")
"""Instructions that people wrote, or those made from a template and each choice of options."""

NO_CAP = 1_000_000.0
_CAPS = [10.0 * number for number in range(1, 100)]
_SHUFFLED_WITH = 233
_TEST, _VAL = 500, 1500
"""Of the shuffled official goals: below the first test, below the second val, the rest train."""


class ShoppingGoal(NamedTuple):
    """What is to be bought.

    Attributes:
        product: number of a product that fits.
        instruction: what the agent reads.
        attributes: phrases that have to hold of what is bought; at least one.
        options: values that have to be chosen.
        price_upper: most that it may cost, in dollars; `NO_CAP` where no price is named.
    """

    product: int
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    price_upper: float

    @classmethod
    def from_json(cls, told: list[Any]) -> ShoppingGoal:
        """The goal that was stored as a JSON list."""
        made = cls(*told)
        return made._replace(attributes=tuple(made.attributes), options=tuple(made.options))


def human_goals(number: int, product: Product, told: Json, where: str) -> Iterator[ShoppingGoal]:
    """Goals of one product from its entry in `items_human_ins.json`.

    Instructions without attributes are left out, as in WebShop.

    Args:
        number: of the product.
        product: that they were written for.
        told: a list of instructions.
        where: file and product, for errors.

    Raises:
        BadRecord: if one cannot be read.
    """
    try:
        for turn, one in enumerate(told):
            attributes = tuple(map(str, one["instruction_attributes"]))
            options = one["instruction_options"] or ()
            values = options.values() if isinstance(options, Mapping) else options
            if attributes:
                cap, said = _cap(product, turn)
                text = one["instruction"].strip(".") + said
                yield ShoppingGoal(number, text, attributes, tuple(map(str, values)), cap)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRecord(
            f"{where}: not a list of instructions with 'instruction', 'instruction_attributes' and "
            f"'instruction_options' ({type(error).__name__}: {error}); mend it or remove it"
        ) from error


def synthetic_goals(
    number: int, product: Product, told: Json, where: str
) -> Iterator[ShoppingGoal]:
    """Goals of one product from its entry in `items_ins_v2.json`: one for each choice of options.

    Raises:
        BadRecord: if the entry cannot be read.
    """
    text = told.get("instruction") if isinstance(told, Mapping) else None
    if text is None:
        return
    attributes = told.get("instruction_attributes")
    if not attributes or not isinstance(attributes, list):
        raise BadRecord(f"{where}: an instruction without 'instruction_attributes'; remove it")
    cap, said = _cap(product, 0)
    groups = sorted(product.options)
    for values in itertools.product(*(group[1] for group in groups)):
        chosen = [f"{name}: {value}" for (name, _), value in zip(groups, values, strict=True)]
        wanted = f" with {', and '.join(chosen)}" if chosen else ""
        yield ShoppingGoal(
            number, f"{text}{wanted}{said}", tuple(map(str, attributes)), values, cap
        )


def shuffled(count: int) -> npt.NDArray[np.int64]:
    """The order of the goals: that of `random.seed(233); random.shuffle(goals)` in WebShop."""
    order = list(range(count))
    random.Random(_SHUFFLED_WITH).shuffle(order)
    return np.array(order, dtype=np.int64)


def official_split(count: int, split: str) -> range:
    """WebShop's own split of `count` shuffled goals: 500 test, 1000 val, the rest train."""
    return {
        "test": range(min(_TEST, count)),
        "val": range(_TEST, min(_VAL, count)),
        "train": range(_VAL, count),
    }[split]


def splits_officially(count: int) -> bool:
    """Whether there are enough goals for WebShop's own split to leave some to train."""
    return count > _VAL


def _cap(product: Product, turn: int) -> tuple[float, str]:
    """A price cap above the product's price, and how the instruction names it.

    WebShop draws two of the next four tens of dollars and takes the larger, with the global
    generator as it happens to be; here the asin decides.
    """
    above = [cap for cap in _CAPS if cap > product.price][:4]
    if len(above) < 2:
        return NO_CAP, ""
    luck = random.Random(derive_seed("webshop cap", product.asin, turn))
    cap = max(luck.sample(above, 2))
    return cap, f", and price lower than {cap:.2f} dollars"
