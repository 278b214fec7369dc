"""The action in a reply of the form `Action: ...`, or one that is nothing but a command.

What is unambiguous is accepted, however it is decorated; a reply that names several actions, or
only talks about them, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from leafe_gym.errors import BadReply
from leafe_gym.prompts.spelling import WRAPPED, Commands, alone_inside, plain
from leafe_gym.types import Start, Step

MAX_ACTION = 2000
"""Longest action, in characters."""
SHOWN_COMMANDS = 30
"""Most admissible commands that a prompt lists; see `choose_commands`."""
_MOST_LABELS = 100
"""Most lines with a label in a reply that names an action."""

_LABEL = re.compile(
    r"(?:[\s#>-]|[*_`]++\s)*+(?:\d+[.)]\s*)?(?P<opened>[*_`]*+)(?:(?:next|final|my)\s+)?"
    r"action(?:\s*#?\d+)?(?P<closed>[\s*_`]*)[:\uff1a](?P<rest>.*)",
    re.IGNORECASE,
)
_QUOTED_LABEL = re.compile(
    r"[\"'\u201c](action\s*[:\uff1a])\s*[\"'\u201d](?=[^\"'\u201c\u201d]*$)", re.IGNORECASE
)
"""A label in quotes of its own, as a request may write it."""
_MIDDLE = re.compile(r"\baction[*_`]*+[:\uff1a]", re.IGNORECASE)
"""A label behind other words; believed with an admissible command only."""
_BEFORE_MIDDLE = re.compile(
    r"(?:^|(?<!e\.g)(?<!example)[^\w\s]|(?<![\w-])(?:my|next|final|best|so|now|therefore|thus|hence))"
    r"[\s*_`\"'(\[]*$",
    re.IGNORECASE,
)
"""What may stand before it: the end of a sentence or clause, or a word that chooses."""
_OTHER_LABEL = re.compile(
    r"[\s#>*_`-]*+(?:(?:my|the)\s+)?(?:(?:next|final|best)\s+)*"
    r"(?:(?:action|move|command)\s+is|move|command|answer)[\s*_`]*[:\uff1a](.*)",
    re.IGNORECASE,
)
"""Another label, at the start of the last line."""
_FENCE = re.compile(r"(`{3,}|~{3,})\s*\w*")
_ELEMENT = re.compile(r"<action>([^<>]*+)</action>", re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]*+\}\s*\Z")
_PLACEHOLDER = re.compile(
    r"[<\[{](the |your )?(next )?(action|command)( here)?[>\]}]|"
    r"(the |your )(next )?(action|command)( here)?|[.\u2026]{2,}|\u2026",
    re.IGNORECASE,
)


def read_action(text: str, admissible: Sequence[str] = ()) -> str:
    """The one action that `text` names.

    Looked for are, in this order, up to the first that is there:

    * lines with the label `Action:` (also in bold, in any case, in quotes or brackets, with a
      number before the colon, with the command on the next line or with prose after it);
    * elements `<action>`, or a text under "action" of the one JSON object that ends the reply;
    * the label behind other words, with an admissible command and none mentioned after it;
    * a last line, or only line, that is an admissible command, or one behind `Command:`, `Move:` or
      `Answer:`.

    A command that differs from an admissible one in case, spaces, quotes, brackets or a final mark
    only is given as the environment spells it; a final full stop is removed wherever no admissible
    command ends with one. See `Commands.behind_label` for remarks and lists behind a label.

    Args:
        text: the reply without thinking and end-of-turn marks.
        admissible: commands that the environment lists for the state.

    Raises:
        BadReply: if it names none or several, or one that is empty or too long.
    """
    commands = Commands(admissible)
    lines = _lines(text)
    found = _labelled(lines, commands)
    if not found:
        found = (
            _structured(text, commands) or _within(lines, commands) or _last_line(lines, commands)
        )
    if not found:
        raise BadReply("it names no action in a line that starts with 'Action:'")
    found = [one for one in found if one in commands or not _is_placeholder(one)]
    if not found:
        raise BadReply("its action is empty")
    if len(set(map(plain, found))) > 1:
        raise BadReply("it names several actions")
    action = found[-1]
    if len(action) > MAX_ACTION:
        raise BadReply(f"its action has {len(action)} characters; at most {MAX_ACTION}")
    return action


def admissible_commands(start: Start, steps: Sequence[Step]) -> tuple[str, ...]:
    """The commands that the environment listed for the state after `steps`; () if it does not."""
    seen = [step.info for step in steps if step.action is not None]
    listed = (seen[-1] if seen else start.info).get("admissible_commands")
    return tuple(map(str, listed)) if isinstance(listed, list | tuple) else ()


def choose_commands(admissible: Sequence[str], limit: int = SHOWN_COMMANDS) -> tuple[str, ...]:
    """The admissible commands that a prompt lists, at most `limit`, in the environment's order.

    Of more than `limit`, the commands are taken in turn from each first word ("go", "take", ...),
    so that every kind of command is shown.

    Example:
        >>> choose_commands(["go a", "go b", "go c", "look"], limit=2)
        ('go a', 'look')
    """
    unique = list(dict.fromkeys(admissible))
    seen: dict[str, int] = {}
    turns: list[tuple[int, int]] = []
    for place, command in enumerate(unique):
        verb = command.partition(" ")[0]
        turns.append((seen.get(verb, 0), place))
        seen[verb] = seen.get(verb, 0) + 1
    return tuple(unique[place] for place in sorted(place for _, place in sorted(turns)[:limit]))


def labelled_actions(text: str) -> list[str]:
    """What stands behind each label `Action:` at the start of a line."""
    return _labelled(_lines(text), Commands(()))


def _lines(text: str) -> list[str]:
    """The lines that are neither empty nor fence marks, without quotes around all of them."""
    lines = (line.strip() for line in _unquoted(text.strip()).splitlines())
    lines = (line for line in lines if line and not _FENCE.fullmatch(line))
    return [
        found[1] + line[found.end() :] if (found := _QUOTED_LABEL.match(line)) else line
        for line in lines
    ]


def _unquoted(text: str) -> str:
    """What quotes or brackets are around, if they are one pair and a line of it has a label."""
    inner = alone_inside(text, WRAPPED)
    return inner if any(_LABEL.fullmatch(line.strip()) for line in inner.splitlines()) else text


def _labelled(lines: Sequence[str], commands: Commands) -> list[str]:
    """The actions behind labels at the start of lines; quoted ones if the last line is one.

    Commands in the lines right after one are further actions.
    """
    labels = [_LABEL.fullmatch(line) for line in lines]
    if not any(labels) and lines and _unquoted(lines[-1]) != lines[-1]:
        lines = [_unquoted(line) for line in lines]
        labels = [_LABEL.fullmatch(line) for line in lines]
    if len(lines) - labels.count(None) > _MOST_LABELS:
        raise BadReply("it names several actions")
    found: list[str] = []
    for at, label in enumerate(labels):
        if label is None:
            continue
        after = at + 1
        rest = _behind(label)
        if not rest.strip("*_` "):
            rest = "" if after == len(lines) or labels[after] else lines[after]
            after += 1
        elif again := _LABEL.fullmatch(rest):  # the label is repeated
            rest = _behind(again)
        found.append(commands.behind_label(rest))
        while after < len(lines) and not labels[after] and commands.is_command(lines[after]):
            found.append(commands.behind_label(lines[after]))
            after += 1
    return found


def _behind(label: re.Match[str]) -> str:
    """What stands behind a label, without the end of the emphasis that the label opens."""
    mark, rest = label["opened"][::-1], label["rest"].strip()
    if not mark or mark in label["closed"]:
        return rest
    if rest.startswith(mark) or rest.endswith(mark):
        bare = rest.removeprefix(mark)
        return (rest.removesuffix(mark) if bare == rest else bare).strip()
    return re.sub(rf"(?<=\S){re.escape(mark)}(?!\w)", "", rest, count=1)


def _within(lines: Sequence[str], commands: Commands) -> list[str]:
    """The admissible command behind the only label in the middle of a line.

    What follows that line must mention no command.
    """
    parts = _MIDDLE.split("\n".join(lines))
    if len(parts) != 2 or not _BEFORE_MIDDLE.search(parts[0][-40:]):
        return []
    line, _, after = parts[1].partition("\n")
    action = next(filter(commands.__contains__, _spellings(line, commands)), None)
    return [] if action is None or commands.mentioned(after) else [action]


def _last_line(lines: Sequence[str], commands: Commands) -> list[str]:
    """The admissible commands among lines without a label, if the last line is one."""
    last = lines[-1] if lines else ""
    if other := _OTHER_LABEL.fullmatch(last):
        return list(filter(commands.__contains__, _spellings(other[1], commands)))[:1]
    if commands.spell(last) not in commands:
        return []
    return [action for line in lines if (action := commands.spell(line)) in commands]


def _spellings(text: str, commands: Commands) -> tuple[str, str]:
    """A text behind a label in a line, with and without the marks that the line closes there."""
    return commands.spell(text), commands.spell(text.strip(" *_`)]"))


def _structured(text: str, commands: Commands) -> list[str]:
    """The actions in elements `<action>`, or under "action" of the only JSON object."""
    found = [" ".join(one.split()) for one in _ELEMENT.findall(text)]
    if not found:
        body = "\n".join(line for line in text.splitlines() if not _FENCE.fullmatch(line.strip()))
        last = _OBJECT.search(body) if body.count("{") == 1 else None
        named = _named_actions(body) or (_named_actions(last[0]) if last else [])
        found = [" ".join(one.split()) for one in named]
    return [commands.spell(action) for action in found]


def _named_actions(text: str) -> list[str]:
    """The texts under "action", in any case, of a JSON object; [] for another text."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return []
    if not (isinstance(pairs, list) and all(isinstance(one, tuple) for one in pairs)):
        return []
    return [one for name, one in pairs if name.lower() == "action" and isinstance(one, str)]


def _is_placeholder(action: str) -> bool:
    """Whether an action is nothing, or what the form of a prompt has in its place."""
    bare = plain(action).strip("\"'\u201c\u201d")
    return not bare or any(map(_PLACEHOLDER.fullmatch, (bare, bare.removesuffix("."))))
