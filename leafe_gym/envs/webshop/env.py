"""The Gymnasium environment `leafe/WebShop-v0`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from leafe_gym.arguments import true_or_false
from leafe_gym.envs.data_files import data_argument
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.envs.webshop.goals import ShoppingGoal
from leafe_gym.envs.webshop.pages import (
    BUY,
    NEXT,
    BrowserSession,
    click,
    labels,
    score_line,
    searched,
    show,
)
from leafe_gym.envs.webshop.products import Product
from leafe_gym.envs.webshop.reward import matching_options
from leafe_gym.envs.webshop.shop import check_packages, open_shop
from leafe_gym.envs.webshop.tasks import list_tasks
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

_ACTION = re.compile(r"\s*(search|click)\[(.*)\]\s*", re.IGNORECASE | re.DOTALL)
# Not after "Actions:": a small model continues its label "Action:" with what stands there.
_COMMAND_FORMS = (
    "Where a page has a search bar, search[...] looks for the words in the brackets; click[...] "
    "takes one of the texts that the page shows in brackets. Choose the options that are asked for "
    "before you click the button that buys, which ends the episode."
)
_IMPOSSIBLE = "Nothing happened: this cannot be done on this page."


class WebShopState(NamedTuple):
    """The state of an episode except `np_random`; valid in any process with the same data.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        session: see `pages.BrowserSession`.
    """

    steps: int
    over: bool
    session: BrowserSession


class WebShopEnv(TextEnv):
    """Buy the product that an instruction describes (Yao et al. 2022, arXiv 2207.01206).

    The purchase ends the episode with a reward from 0 to 1, see `reward.Score`; `score` is that
    reward and `won` means 1. An impossible action does not change the page, as in WebShop's text
    environment; only `feedback` reports it. After a purchase with a reward below 1, `feedback` is
    the score, the only information that WebShop gives.

    `admissible_commands` has every click and, on the page with the search bar, a search for the
    words of the instruction, although other searches are possible.

    Args:
        data: folder with WebShop's official files, or its file of products; a relative path is also
            looked up in `LEAFE_DATA`. None: the built-in catalogue of 400 products.
        goal: index of the only goal to play; None: chosen by the seed.
        split: only goals of "train", "val" or "test"; None for all.
        goals: "human" instructions, or "synthetic" ones.
        show_attributes: show a page of attributes, as WebShop's flag of that name.
        tagger: finds the nouns of product names, which decide the type factor of the reward. None:
            a heuristic without a model. The name of an installed spaCy pipeline gives WebShop's
            own rewards; WebShop uses `en_core_web_lg`.
        max_steps: see `TextEnv`; 15 is the limit of ReAct (Yao et al. 2023) and later agents.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if a package of the extra is not installed.
        UsageError: if an argument or a file cannot be used.
    """

    metadata: dict[str, Any] = {**TextEnv.metadata, "prompts": "shop"}  # noqa: RUF012

    one_of = ("goal",)

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        goal: int | None = None,
        split: str | None = None,
        goals: str = "human",
        show_attributes: bool = False,
        tagger: str | None = None,
        max_steps: int | None = 15,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        check_packages()
        self.shop = open_shop(data_argument(data), goals, tagger)
        self._numbers = self.shop.split(split)
        if goal is not None:
            self.shop.goal(goal)
            if goal not in self._numbers:
                raise UsageError(f"goal={goal} is not in split {split!r}; drop one of them")
        self._goal = goal
        self._show_attributes = true_or_false("show_attributes", show_attributes)
        self._session: BrowserSession | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The goals of a split; see `leafe_gym.envs.webshop.tasks`."""
        return list_tasks(split, kwargs)

    @property
    def session(self) -> BrowserSession:
        """The browser session.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._session)

    def walkthrough(self) -> list[str]:
        """Actions that win from the start of the episode by buying the goal's own product.

        Raises:
            ResetNeeded: before the first reset.
            UsageError: if that product is not found by its name or its reward is below 1.
        """
        at = BrowserSession(self.session.goal)
        goal = self.shop.goal(at.goal)
        product = self.shop.product(goal.product)
        way = [f"search[{product.name.lower()}]"]
        at = searched(self.shop, at, product.name)
        for label in [product.asin.lower(), *_wanted(product, goal), BUY.lower()]:
            while (to := self._click(at, label)) is None:
                to = self._click(at, NEXT.lower())
                if to is None or to.number > len(at.hits) + 1:  # pages go on beyond the last hit
                    raise UsageError(
                        f"goal {at.goal}: its product {product.asin} is not found by its name, or "
                        f"has no option {label!r}; use another goal"
                    )
                way.append(f"click[{NEXT.lower()}]")
                at = to
            way.append(f"click[{label}]")
            at = to
        if at.reward != 1.0:
            raise UsageError(
                f"goal {at.goal} is not won by its own product {product.asin}: "
                f"{score_line(at.reward)}; use another goal"
            )
        return way

    def actions(self) -> list[str]:
        """See `TextEnv.actions`."""
        if self.session.page == "search":
            return [f"search[{self.shop.goal(self.session.goal).instruction.lower()}]"]
        found = labels(self.shop, self.session, self._show_attributes)
        return [f"click[{label}]" for label in found]

    def get_state(self) -> WebShopState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        return WebShopState(self._steps, self._over, self.session)

    def set_state(self, state: WebShopState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        self._steps, self._over = state.steps, state.over
        self._shown = self._go(state.session)

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        drawn = self._numbers[int(self.np_random.integers(len(self._numbers)))]
        at = BrowserSession(drawn if self._goal is None else self._goal)
        instruction = self.shop.goal(at.goal).instruction
        return Opening(self._go(at), f"{instruction}\n{_COMMAND_FORMS}")

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        to = self._after(action)
        if to is None:
            return StepOutcome(self._shown, feedback=_IMPOSSIBLE)
        page = self._go(to)
        done = to.page == "done"
        won = to.reward == 1.0
        feedback = score_line(to.reward) if done and not won else ""
        return StepOutcome(page, to.reward, done, won=won, score=to.reward, feedback=feedback)

    def _after(self, action: str) -> BrowserSession | None:
        """The session after an action; None if it is impossible."""
        match = _ACTION.fullmatch(action)
        if match is None:
            return None
        kind, words = match[1].lower(), " ".join(match[2].split())
        at = self.session
        if kind == "click":
            return self._click(at, words.lower())
        return searched(self.shop, at, words) if words and at.page == "search" else None

    def _click(self, at: BrowserSession, label: str) -> BrowserSession | None:
        return click(self.shop, at, label, self._show_attributes)

    def _go(self, session: BrowserSession) -> str:
        """Set the session; returns the text of its page."""
        self._session = session
        return show(self.shop, session, self._show_attributes)


def _wanted(product: Product, goal: ShoppingGoal) -> Iterator[str]:
    """Labels to click for the wanted values: the value itself, or the first similar one."""
    known = [label for _, group in product.options for label in group]
    for value in goal.options:
        if value in known:
            yield " ".join(value.split())
        else:
            yield from [label for label in known if matching_options([value], [label])][:1]
