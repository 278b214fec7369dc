"""The action in a reply of the form `Action: ...`, or one that is nothing but a command.

What is unambiguous is accepted, however it is decorated; a reply that names several actions, or
only talks about them, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from leafe_gym.errors import BadReply
from leafe_gym.types import Start, Step

MAX_ACTION = 2000
"""Longest action, in characters."""
SHOWN_COMMANDS = 30
"""Most admissible commands that a prompt lists; see `choose_commands`."""

_LABEL = re.compile(
    r"(?:[\s#>-]|[*_`]++\s)*+(?:\d+[.)]\s*)?(?P<opened>[*_`]*+)(?:(?:next|final|my)\s+)?"
    r"action(?:\s*#?\d+)?(?P<closed>[\s*_`]*)[:\uff1a](?P<rest>.*)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(`{3,}|~{3,})\s*\w*")
_ELEMENT = re.compile(r"<action>([^<>]*+)</action>", re.IGNORECASE)
_MARKUP = ("```", "``", "`", "**", "*")
"""Markdown around a command, longer marks first."""
_WRAPPED = (
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb")),
    *(("<", ">"), ("[", "]"), ("(", ")"), ("{", "}"), ("__", "__"), ("_", "_")),
)
"""What may stand around an admissible command."""
_ENDS = ".!,;"
"""What may stand behind one."""
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
_PLACEHOLDER = re.compile(
    r"[<\[{](the |your )?(next )?(action|command)[>\]}]|the (next )?(action|command)|"
    r"[.\u2026]{2,}|\u2026",
    re.IGNORECASE,
)


def read_action(text: str, admissible: Sequence[str] = ()) -> str:
    """The one action that `text` names.

    Accepted are, in this order: the lines with the label `Action:` if all name the same action
    (also in bold, in any case, in quotes or brackets, with a number before the colon, with the
    command on the next line or with prose after it); a reply in which one line is the label in the
    middle of a sentence, followed by an admissible command; a reply whose only line, or whose last
    line after prose, is an admissible command; the element `<action>`; a reply that is one JSON
    object with a text under "action". A command that differs from an admissible one in case,
    spaces, quotes, brackets or a final mark only is given as the environment spells it; a final
    full stop is removed wherever no admissible command ends with one.

    Args:
        text: the reply without thinking and end-of-turn marks.
        admissible: commands that the environment lists for the state.

    Raises:
        BadReply: if it names none or several, or one that is empty or too long.
    """
    known = {_plain(command): command for command in reversed(admissible)}
    lines = _lines(text)
    found = _labelled(lines, known)
    if not found:
        found = _within(lines, known) or _bare(lines, known) or _structured(text, known)
    if not found:
        raise BadReply("it names no action in a line that starts with 'Action:'")
    different = {_plain(action) for action in found}
    if len(different) > 1:
        raise BadReply("it names several actions")
    action = found[-1]
    if not action or (_PLACEHOLDER.fullmatch(action) and _plain(action) not in known):
        raise BadReply("its action is empty")
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
    return _labelled(_lines(text), {})


def _lines(text: str) -> list[str]:
    """The lines that are neither empty nor fence marks, without quotes around all of them."""
    lines = (line.strip() for line in _unquoted(text.strip()).splitlines())
    return [line for line in lines if line and not _FENCE.fullmatch(line)]


def _unquoted(text: str) -> str:
    """What quotes or brackets are around, if they are one pair and a line of it has a label."""
    for opening, closing in _WRAPPED:
        inner = _inside(text.removesuffix("."), opening, closing)
        alone = inner and opening not in inner and closing not in inner
        if alone and any(_LABEL.fullmatch(line.strip()) for line in inner.splitlines()):
            return inner
    return text


def _labelled(lines: Sequence[str], known: dict[str, str]) -> list[str]:
    """The actions behind labels at the start of lines; else behind those of quoted lines."""
    if not any(map(_LABEL.fullmatch, lines)):
        lines = [_unquoted(line) for line in lines]
    found: list[str] = []
    for at, line in enumerate(lines):
        label = _LABEL.fullmatch(line)
        if label is None:
            continue
        rest = _behind(label)
        if not rest.strip("*_` "):
            after = lines[at + 1] if at + 1 < len(lines) else ""
            rest = "" if _LABEL.fullmatch(after) else after
        elif again := _LABEL.fullmatch(rest):  # the label is repeated
            rest = _behind(again)
        found.append(_spelled(rest, known))
    return found


def _behind(label: re.Match[str]) -> str:
    """What stands behind a label, without the end of the emphasis that the label opens."""
    mark, rest = label["opened"], label["rest"].strip()
    if not mark or mark in label["closed"]:
        return rest
    shut = rest.removeprefix(mark)
    return (rest.removesuffix(mark) if shut == rest else shut).strip()


def _within(lines: Sequence[str], known: dict[str, str]) -> list[str]:
    """The admissible command behind the only label in the middle of a line."""
    parts = re.split(r"\baction[:\uff1a]", "\n".join(lines), flags=re.IGNORECASE)
    if len(parts) != 2:
        return []
    action = _spelled(parts[1].partition("\n")[0].strip(), known)
    return [action] if _plain(action) in known else []


def _bare(lines: Sequence[str], known: dict[str, str]) -> list[str]:
    """The admissible commands among lines without a label, if the last line is one."""
    commands = [action for line in lines if _plain(action := _spelled(line, known)) in known]
    last = bool(lines) and _plain(_spelled(lines[-1], known)) in known
    return commands if last else []


def _structured(text: str, known: dict[str, str]) -> list[str]:
    """The actions in elements `<action>`, or under "action" of the one JSON object."""
    found = [" ".join(one.split()) for one in _ELEMENT.findall(text)]
    if not found:
        body = "\n".join(line for line in text.splitlines() if not _FENCE.fullmatch(line.strip()))
        try:
            named = json.loads(body)
        except (ValueError, RecursionError):
            return []
        action = named.get("action") if isinstance(named, dict) else None
        found = [" ".join(action.split())] if isinstance(action, str) else []
    return [_spelled(action, known) for action in found]


def _spelled(text: str, known: dict[str, str]) -> str:
    """`text` without Markdown, as the environment spells it if it is admissible."""
    text = _without_markup(text.strip())
    for one in (text, *_unwrapped(text)) if known else ():
        if (plain := _plain(one)) in known:
            return known[plain]
    if known and not any(command.endswith(".") for command in known):
        text = text.removesuffix(".").strip() or text  # the world's commands are no sentences
    return text


def _without_markup(text: str) -> str:
    """A text without the Markdown that is around all of it, a full stop behind that included."""
    for _ in range(len(_MARKUP)):
        for mark in _MARKUP:
            if (inner := _inside(text.removesuffix("."), mark, mark)) and mark not in inner:
                text = inner
                break
        else:
            return text
    return text


def _inside(text: str, opening: str, closing: str) -> str:
    """What stands between two marks; "" where they are not around all of the text."""
    around = text.startswith(opening) and text.endswith(closing)
    return text[len(opening) : -len(closing)].strip() if around else ""


def _unwrapped(text: str) -> Iterator[str]:
    """A text without its final marks, and without what is around it, from outside to inside."""
    for _ in range(4):
        text = _without_markup(text.rstrip(_ENDS).strip())
        yield text
        for opening, closing in _WRAPPED:
            if inner := _inside(text, opening, closing):
                text = _without_markup(inner)
                yield text
                break
        else:
            return


def _plain(text: str) -> str:
    return " ".join(text.translate(_INVISIBLE).casefold().split())
