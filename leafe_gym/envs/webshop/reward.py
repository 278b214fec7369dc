"""The reward of a purchase: Yao et al. 2022, section 3 and appendix A, as in WebShop's code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from leafe_gym._optional import require
from leafe_gym.envs.webshop.goals import ShoppingGoal
from leafe_gym.envs.webshop.products import BETWEEN, Product
from leafe_gym.envs.webshop.taggers import Tagger
from leafe_gym.envs.webshop.word_lists import EXTRA, nouns, plain_color, plain_pair

_ALIKE = 85
_LATIN_1 = dict.fromkeys(range(128, 256))


class Score(NamedTuple):
    """A reward and its parts.

    Attributes:
        r_type: type factor: 0, 0.1, 0.5 or 1.
        attributes: number of the goal's attributes that match.
        options: number of the goal's options that were chosen.
        cheap: whether the price is within the limit.
        wanted: number of attributes and options of the goal, plus 1 for the price.
    """

    r_type: float
    attributes: int
    options: int
    cheap: bool
    wanted: int

    @property
    def reward(self) -> float:
        """r_type x (attributes + options + price) / wanted, in [0, 1]."""
        return self.r_type * ((self.attributes + self.options + self.cheap) / self.wanted)


def score(
    bought: Product,
    chosen: Sequence[str],
    goal: ShoppingGoal,
    asked: Product,
    tagger: Tagger = nouns,
) -> Score:
    """The score of a purchase.

    Args:
        bought: the product bought.
        chosen: option values that were clicked.
        goal: the goal.
        asked: the goal's own product.
        tagger: finds the nouns of a name.
    """
    return Score(
        r_type=type_factor(bought, asked, tagger),
        attributes=sum(_holds(wanted, bought) for wanted in goal.attributes),
        options=matching_options(goal.options, chosen, goal.option_names),
        cheap=bought.price <= goal.price_upper,
        wanted=len(goal.attributes) + len(goal.options) + 1,
    )


def type_factor(bought: Product, asked: Product, tagger: Tagger = nouns) -> float:
    """r_type, from the words shared by both names, the query and the category."""
    shared = text_match(bought.name, asked.name, tagger)
    if shared == 0:
        return 0.0
    if shared < 0.1:
        return 0.1
    same_query = bought.query == asked.query
    levels = len(_levels(bought) & _levels(asked))
    return 1.0 if same_query or levels >= 2 or shared > 0.2 else 0.5


def text_match(bought: str, asked: str, tagger: Tagger = nouns) -> float:
    """Share of the nouns of the name `asked` that also occur in the name `bought`.

    0.2 if `asked` has none. A noun that `asked` repeats counts once in the numerator and each time
    in the denominator, as in WebShop.
    """
    wanted = tagger(asked)
    if not wanted:
        return 0.2
    return len(set(wanted) & set(tagger(bought))) / len(wanted)


def matching_options(
    wanted: Sequence[str], chosen: Iterable[str], names: Sequence[str] = ()
) -> int:
    """Number of wanted values similar to a chosen one; colours are compared by plain name.

    With names, WebShop compares pairs of name and value: a pair has a plain colour only if its name
    or value is one, and is a text such as "color dark indigo" otherwise.

    Args:
        wanted: values that must be chosen.
        chosen: values that were clicked.
        names: of the options of `wanted`, or none.
    """
    plain = [plain_color(value) for value in chosen]
    pairs = list(zip(names, wanted, strict=True)) if names else []
    texts = [plain_pair(*pair) for pair in pairs] if pairs else [plain_color(w) for w in wanted]
    return sum(any(alike(value, text) for value in plain) for text in texts)


def alike(one: str, other: str) -> bool:
    """Whether the token set ratio, rounded as in thefuzz, is above 85."""
    fuzz, clean = (
        require("rapidfuzz.fuzz", *EXTRA),
        require("rapidfuzz.utils", *EXTRA).default_process,
    )
    texts = (clean(text.translate(_LATIN_1)) for text in (one, other))
    return bool(round(fuzz.token_set_ratio(*texts)) > _ALIKE)


def _holds(attribute: str, product: Product) -> bool:
    """Whether an attribute is similar to one of the product's or occurs in its texts."""
    if any(alike(known, attribute) for known in product.attributes):
        return True
    texts = (product.name, " ".join(product.bullets), product.description)
    return any(attribute in text.lower() for text in texts)


def _levels(product: Product) -> set[str]:
    return {level.strip() for level in product.product_category.split(BETWEEN)}
