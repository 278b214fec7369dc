"""The prompt set `react`: text worlds, with a thought before every command.

The last turn ends with the admissible commands, where the environment lists them, at most
`SHOWN_COMMANDS` (see `choose_commands`), and with the form of the reply. Earlier turns do not
repeat them, so a prompt continues the one before it up to the end of the last observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from leafe_gym.prompts.chat import ChatPrompts

SYSTEM = """You act in a text world, one command at a time, to do what the task asks.
Reply with one short sentence that says what to do next and why, then with one line of this form:
Action: the command"""

NOW = """

$commands
Reply with one short sentence and then with one line: "Action: " and $command."""


class ReactPrompts(ChatPrompts):
    """Chats about text worlds; see the module."""

    name = "react"
    templates: ClassVar[Mapping[str, str]] = {"system": SYSTEM, "now": NOW}
