"""The prompt set `shop`: the conversation of `react` on pages of a web shop.

An action is `search[words]` or `click[label]`. One such form in a reply is the action, wherever it
stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.actions import MAX_ACTION, labelled_actions, read_action
from leafe_gym.prompts.react import ReactPrompts
from leafe_gym.types import Completion

SYSTEM = """You buy a product in a web shop, one action at a time. There are two kinds of action:
search[...] with words to search for, and click[...] with the label of a link, option or button.
Reply with one short sentence that says what to do next and why, then with one line such as:
Action: search[blue cotton shirt]"""

_FORM = re.compile(r"\b(search|click)\s*\[([^\[\]\n]*)\]", re.IGNORECASE)


class ShopPrompts(ReactPrompts):
    """Chats about a web shop; see the module."""

    name = "shop"
    templates: ClassVar[Mapping[str, str]] = {**ReactPrompts.templates, "system": SYSTEM}

    def parse_action(self, completion: Completion, admissible: Sequence[str] = ()) -> str:
        """See `PromptSet.parse_action`; the one `search[...]` or `click[...]`."""
        text = parse.answer_text(completion)
        found = _forms("\n".join(labelled_actions(text))) or _forms(text)
        if not found:
            action = read_action(text, admissible)
            clicks = {one.casefold(): one for one in admissible}
            return clicks.get(f"click[{action}]".casefold(), action)
        if len({one.casefold() for one in found}) > 1:
            raise BadReply("it names several actions")
        if len(found[-1]) > MAX_ACTION:
            raise BadReply(f"its action has {len(found[-1])} characters; at most {MAX_ACTION}")
        return found[-1]


def _forms(text: str) -> list[str]:
    return [f"{verb.lower()}[{label.strip()}]" for verb, label in _FORM.findall(text)]
