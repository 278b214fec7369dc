"""Pages and clicks, as pure functions of a shop and a session.

Pages have the format of ReAct's rendering of WebShop (Yao et al. 2023): labels in brackets can be
clicked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from leafe_gym.envs.webshop.products import Product
from leafe_gym.envs.webshop.reward import score
from leafe_gym.envs.webshop.shop import Shop

WINDOW = 10
"""Products on a page of results."""

BACK, PREV, NEXT, BUY = "Back to Search", "< Prev", "Next >", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")


class BrowserSession(NamedTuple):
    """The state of a browser session.

    Attributes:
        goal: index of the goal.
        page: "search", "results", "item", one of `SUB_PAGES`, or "done".
        query: the search query; "" before a search.
        hits: indices of the products found.
        number: page of the results, from 1.
        product: index of the open product; -1 for none.
        options: (name, value) of the clicked options, one per name.
        reward: of the purchase, in [0, 1].
    """

    goal: int
    page: str = "search"
    query: str = ""
    hits: tuple[int, ...] = ()
    number: int = 1
    product: int = -1
    options: tuple[tuple[str, str], ...] = ()
    reward: float = 0.0


def searched(shop: Shop, at: BrowserSession, words: str) -> BrowserSession:
    """The results for `words`."""
    return BrowserSession(at.goal, "results", words, shop.search(words.lower()))


def click(
    shop: Shop, at: BrowserSession, label: str, show_attributes: bool
) -> BrowserSession | None:
    """The session after a click on `label` (lower case); None if there is no such label."""
    to = _clicks(shop, at, show_attributes).get(label)
    if to is None or to.page != "done":
        return to
    goal, product = shop.goal(at.goal), shop.product(at.product)
    chosen = [value for _, value in at.options]
    worth = score(product, chosen, goal, shop.product(goal.product), shop.tagger)
    return to._replace(reward=worth.reward)


def labels(shop: Shop, at: BrowserSession, show_attributes: bool) -> list[str]:
    """Labels that can be clicked, in lower case."""
    return list(_clicks(shop, at, show_attributes))


def show(shop: Shop, at: BrowserSession, show_attributes: bool) -> str:
    """A page as text."""
    if at.page == "search":
        return f"WebShop\nInstruction: {shop.goal(at.goal).instruction}\n[Search]"
    if at.page == "done":
        return f"Thank you for shopping with us!\n{score_line(at.reward)}"
    if at.page == "results":
        lines = _results(shop, at)
    elif at.page == "item":
        lines = _item(shop.product(at.product), at, show_attributes)
    else:
        lines = iter([f"[{BACK}]", f"[{PREV}]", *_sub_page(shop.product(at.product), at.page)])
    return "\n".join(lines)


def score_line(reward: float) -> str:
    """The score line of the last page."""
    return f"Your score (min 0.0, max 1.0): {reward:.4g}"


def _clicks(shop: Shop, at: BrowserSession, show_attributes: bool) -> dict[str, BrowserSession]:
    """Label -> the session after a click, without the reward of a purchase.

    Of two options with one label the later one counts, and a button takes precedence, as in
    WebShop.
    """
    if at.page == "results":
        return _from_results(shop, at)
    if at.page in ("search", "done"):
        return {}
    home = {BACK.lower(): BrowserSession(at.goal)}
    if at.page != "item":
        return {**home, PREV.lower(): at._replace(page="item")}
    options = {
        _line(value): at._replace(options=_chosen(at.options, name, value))
        for name, values in shop.product(at.product).options
        for value in values
    }
    back = at._replace(page="results", product=-1, options=())
    pages = {page.lower(): at._replace(page=page) for page in _sub_pages(show_attributes)}
    buttons = {**home, PREV.lower(): back, **pages, BUY.lower(): at._replace(page="done")}
    return {**buttons, **options, **buttons}


def _from_results(shop: Shop, at: BrowserSession) -> dict[str, BrowserSession]:
    found = {BACK.lower(): BrowserSession(at.goal)}
    if at.number > 1:
        found[PREV.lower()] = at._replace(number=at.number - 1)
    found[NEXT.lower()] = at._replace(number=at.number + 1)  # on the last page, too
    for number in _window(at):
        asin = shop.product(number).asin.lower()
        found.setdefault(asin, at._replace(page="item", product=number))
    return found


def _chosen(
    options: tuple[tuple[str, str], ...], name: str, value: str
) -> tuple[tuple[str, str], ...]:
    return (*(one for one in options if one[0] != name), (name, value))


def _sub_pages(show_attributes: bool) -> tuple[str, ...]:
    return SUB_PAGES if show_attributes else SUB_PAGES[:-1]


def _window(at: BrowserSession) -> tuple[int, ...]:
    return at.hits[(at.number - 1) * WINDOW : at.number * WINDOW]


def _results(shop: Shop, at: BrowserSession) -> Iterator[str]:
    yield f"[{BACK}]"
    yield f"Page {at.number} (Total results: {len(at.hits)})"
    if at.number > 1:
        yield f"[{PREV}]"
    yield f"[{NEXT}]"
    for number in _window(at):
        product = shop.product(number)
        yield from (f"[{product.asin}]", _line(product.name), product.price_tag)


def _item(product: Product, at: BrowserSession, show_attributes: bool) -> Iterator[str]:
    yield from (f"You have clicked {_line(value)}." for _, value in at.options)
    yield from (f"[{BACK}]", f"[{PREV}]")
    for name, values in product.options:
        yield f"{name}: {' '.join(f'[{_line(value)}]' for value in values)}"
    yield from (
        _line(product.name),
        f"Price: {product.price_tag}",
        f"Rating: {product.rating}",
        *(f"[{page}]" for page in _sub_pages(show_attributes)),
        f"[{BUY}]",
    )


def _sub_page(product: Product, page: str) -> list[str]:
    if page == "Description":
        return [product.description.strip() or "No Description"]
    if page == "Features":
        return [_line(bullet) for bullet in product.bullets] or ["No Features"]
    if page == "Attributes":
        kinds = (product.category, product.query, product.product_category)
        return [*product.attributes, *kinds]
    return [f'"{one.title}" {one.score}\n{one.body}'.strip() for one in product.reviews]


def _line(text: str) -> str:
    return " ".join(text.split())
