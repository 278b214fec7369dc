"""Prompt sets as another package would define them; imported by name."""

from __future__ import annotations

from leafe_gym.prompts.chat import ChatPrompts


class Pirate(ChatPrompts):
    """Other words, same form."""

    name = "pirate"
    templates = {"system": "Ye act. End with: Action: <the action>"}  # noqa: RUF012


class Formal(ChatPrompts):
    """Needs an argument, so only an instance can be found again."""

    name = "formal"

    def __init__(self, title: str) -> None:
        self.templates = {"system": f"{title}, end with: Action: <the action>"}  # type: ignore[misc]
        super().__init__()


FORMAL = Formal("Madam")
