"""The prompt set `shop`: the conversation of `react` on pages of a web shop.

An action is `search[words]` or `click[label]`. What stands behind the label `Action:` comes first;
else the one such form in a reply is the action, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from leafe_gym.errors import BadReply
from leafe_gym.prompts import parse
from leafe_gym.prompts.actions import MAX_ACTION, labelled_actions, read_action
from leafe_gym.prompts.react import ReactPrompts
from leafe_gym.prompts.spelling import without_quotes
from leafe_gym.types import Completion

SYSTEM = """You buy a product in a web shop, one action at a time. There are two kinds of action:
search[...] with words to search for, and click[...] with the label of a link, option or button.
Reply with one short sentence that says what to do next and why, then with one line such as:
Action: search[blue cotton shirt]"""

_FORM = re.compile(r"\b(search|click)\s*\[([^\[\]\n]*)\]", re.IGNORECASE)
_LOOSE = re.compile(
    r"(search|click)\s*(?:\(([^()\n]+)\)|\"([^\"\n]+)\"|for\s+([^,.;:!?\[\]()\n]+)|([^,.;:!?()\n]+))",
    re.IGNORECASE,
)
"""The same without its brackets; believed behind a label only."""
_NO_WORDS = re.compile(r"\b(?:then|because|search|click)\b", re.IGNORECASE)


class ShopPrompts(ReactPrompts):
    """Chats about a web shop; see the module."""

    name = "shop"
    templates: ClassVar[Mapping[str, str]] = {**ReactPrompts.templates, "system": SYSTEM}

    def parse_action(self, completion: Completion, admissible: Sequence[str] = ()) -> str:
        """See `PromptSet.parse_action`; the one `search[...]` or `click[...]`.

        In this order: a form or a button behind the label `Action:`, a form below it, `search(...)`
        or `click ...` behind it, a form elsewhere. The label of a button stands for a click on it.
        """
        text = parse.answer_text(completion)
        buttons = {one[6:-1].casefold(): one for one in admissible if one.startswith("click[")}
        labelled = labelled_actions(text)
        found = _forms("\n".join(labelled) if labelled else text)
        if not (found and labelled):
            found += _without_form(text, labelled, buttons, optional=bool(found))
        if len({one.casefold() for one in found}) > 1:
            raise BadReply("it names several actions")
        if len(found[-1]) > MAX_ACTION:
            raise BadReply(f"its action has {len(found[-1])} characters; at most {MAX_ACTION}")
        return found[-1]


def _without_form(
    text: str, labelled: Sequence[str], buttons: Mapping[str, str], optional: bool
) -> list[str]:
    """The action of a reply without its form behind a label, or without a label.

    Raises:
        BadReply: if there is none and it is not `optional`.
    """
    try:
        action = read_action(text, [one[6:-1] for one in buttons.values()])
    except BadReply:
        if optional:
            return []
        raise
    if action.casefold() in buttons:
        return [buttons[action.casefold()]]
    if optional:
        return []
    if _FORM.fullmatch(action):
        raise BadReply("its action is empty")
    below = text[text.rfind(labelled[-1]) :] if labelled else ""
    return _forms(below) or _loose(action, buttons) or _forms(text) or [action]


def _loose(action: str, buttons: Mapping[str, str]) -> list[str]:
    """An action of `search` with words in parentheses, quotes or behind "for", or on a button."""
    found = _LOOSE.fullmatch(action.strip())
    if found is None:
        return []
    verb, *labels = found.groups()
    *sure, bare = (label or "" for label in labels)
    label = without_quotes(next(filter(None, (*sure, bare))).strip())
    if verb.lower() == "click":
        return [buttons[label.casefold()]] if label.casefold() in buttons else []
    return [f"search[{label}]"] if any(sure) and not _NO_WORDS.search(label) else []


def _forms(text: str) -> list[str]:
    """The actions that a text has in their form, without those of the instruction."""
    found = [(verb.lower(), without_quotes(label.strip())) for verb, label in _FORM.findall(text)]
    return [f"{verb}[{label}]" for verb, label in found if label.strip(".\u2026 ")]
