"""A fallible customer of WebShop: for the tests and the examples.

It reads what any chat model would read: the task in the first turn, the page in the last, a tip if
there is one, its own purchase and the score when it looks back. It searches for the words of the
task, takes what shares most words with it within the price, clicks the options that it names and
buys. Now and then it searches carelessly, takes another product or buys before it has chosen all
options; and it never opens a product's description, so it cannot know what the score tells it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from leafe_gym.errors import PolicyError
from leafe_gym.types import Completion, Message, Sampling

_TIP = re.compile(r"\bnot click\[([^\]]*)\]")
_OFFER = re.compile(r"^\[(\w+)\]\n(.+)\n\$([\d.]+)", re.MULTILINE)
_OPTIONS = re.compile(r"^([^\[\n]+): (\[.+\])$", re.MULTILINE)
_CLICKED = re.compile(r"^You have clicked (.+)\.$", re.MULTILINE)
_CAP = re.compile(r",? and price lower than ([\d.]+) dollars")
_SCORE = re.compile(r"Your score \(min 0\.0, max 1\.0\): ([\d.]+)")
_BUY, _NEXT, _PREV, _BACK = "buy now", "next >", "< prev", "back to search"
_FAILED = "The attempt failed."


class _Offer(NamedTuple):
    """A product on a page of results; `price` is the lower one where there are two."""

    asin: str
    name: str
    price: float


class Shopper:
    """See the module.

    Args:
        noise: chance of each careless act at temperature 1, 0 to 1; it scales with the temperature.
    """

    def __init__(self, noise: float = 0.3) -> None:
        self.noise = noise
        self.name = f"scripted-shopper(noise={noise})"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A reply in the form the prompt set `chat` asks for.

        Raises:
            PolicyError: if there is no page of WebShop in the chat.
        """
        task = messages[1]["content"].partition("\n")[0].lower()
        turn = messages[-1]["content"]
        if "JSON object" in turn:
            return Completion(text=_look_back(task, messages))
        rng = np.random.default_rng(sampling.seed)
        careless = rng.random() < self.noise * sampling.temperature
        return Completion(text=f"Action: {_act(task, turn, rng, careless)}")


def _act(task: str, turn: str, rng: np.random.Generator, careless: bool) -> str:
    avoid = set(_TIP.findall(turn))
    if "[Search]" in turn:
        words = _CAP.sub("", task).split()
        some = sorted(rng.choice(len(words), size=(len(words) + 1) // 2, replace=False))
        return f"search[{' '.join(words[at] for at in some) if careless else ' '.join(words)}]"
    if "(Total results: " in turn:
        return f"click[{_choose(task, turn, avoid, rng, careless)}]"
    if "[Buy Now]" in turn:
        missing = list(_missing(task, turn))
        hasty = careless and _BUY not in avoid
        return f"click[{_BUY if hasty or not missing else missing[0]}]"
    if "[< Prev]" in turn:
        return f"click[{_PREV}]"
    raise PolicyError("the scripted shopper found no page of WebShop in the last turn")


def _choose(task: str, turn: str, avoid: set[str], rng: np.random.Generator, careless: bool) -> str:
    """The offer to look at, or the button to press where none is left."""
    cap = _CAP.search(task)
    most = float(cap[1]) if cap else float("inf")
    offers = [one for one in _offers(turn) if one.asin not in avoid and one.price <= most]
    if not offers:
        return _NEXT if "[Next >]" in turn else _BACK
    words = set(re.findall(r"\w+", task))
    offers.sort(key=lambda one: -len(words & set(re.findall(r"\w+", one.name.lower()))))
    return offers[int(rng.integers(min(3, len(offers))))].asin if careless else offers[0].asin


def _offers(turn: str) -> Iterator[_Offer]:
    for asin, name, price in _OFFER.findall(turn):
        yield _Offer(asin.lower(), name, float(price))


def _missing(task: str, turn: str) -> Iterator[str]:
    """One value that the task names of each option of which no such value was clicked yet."""
    clicked = set(_CLICKED.findall(turn))
    for name, listed in _OPTIONS.findall(turn):
        values = re.findall(r"\[([^\]]+)\]", listed)
        named = f"{name}: " if f"{name}: " in task else ""
        wanted = [value for value in values if re.search(rf"\b{re.escape(named + value)}\b", task)]
        if wanted and not clicked & set(wanted):
            yield max(wanted, key=len)


def _look_back(task: str, messages: Sequence[Message]) -> str:
    turn = messages[-1]["content"]
    if _FAILED not in turn:
        return _answer(None, "", turn)
    done = [
        (page["content"], reply["content"].removeprefix("Action: click[").removesuffix("]"))
        for page, reply in zip(messages[1::2], messages[2::2], strict=False)
    ]
    page, last = done[-1]
    if last == _BUY and (left_out := list(_missing(task, page))):
        tip = f"That was bought too early: not click[{_BUY}] yet, first click[{left_out[0]}]."
        return _answer(len(done) - 1, tip, turn)
    looked_at = [
        number
        for number, (shown, label) in enumerate(done)
        if label in {one.asin for one in _offers(shown)}
    ]
    if not looked_at:
        return _answer(0, "This search led to nothing: search for all that is asked for.", turn)
    step = looked_at[-1]
    tried = dict.fromkeys([*_TIP.findall(done[step][0]), done[step][1]])
    score = _SCORE.search(turn)
    worth = f"is worth {score[1]}" if score else "took too long"
    tip = f"That product {worth}. Take another: {', '.join(f'not click[{one}]' for one in tried)}."
    return _answer(step, tip, turn)


def _answer(step: int | None, tip: str, turn: str) -> str:
    if '"step"' not in turn:
        return json.dumps({"experience": tip or "Go on as before."})
    return json.dumps({"step": step, "experience": tip})


def shopper(noise: float = 0.3) -> Shopper:
    """What `lg.policy("scripted-shopper")` gives."""
    return Shopper(noise)
