"""Code fences in replies; `leafe_gym.prompts.programs` chooses among them."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

_OPENING = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#./-]*+)([^\n`]*+)")
_LATE_OPENING = re.compile(r".*[^`~](`{3,}+|~{3,}+)[ \t]*+((?i:python|py)(?:[\w.]*\w)?)([ \t]*+)")
"""An opening behind text, such as "1. ```python"; without a tag it could as well be a closing."""
_PYTHON = re.compile(r"(?:language-)?i?python[\d.]*(?:[_-]code)?|py[\d.]*|tool_code|[\w+#./-]+\.py")
_CODE = re.compile(r"\s*(?:(?:import|from|def|class|async def)\s|print\(|@\w)")
"""How code on the line of the opening mark begins; what else stands there is a title."""
_SESSION = re.compile(r"(?:>>>|\.\.\.)(?: |$)(.*)", re.DOTALL)
"""A line that was typed into an interactive session; the others of a session are its output."""
_QUOTES = ('"""', "'''")
_MOST_MARKS = 8
"""Most closing marks that are tried for a fence, and most fences for which several are."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A code fence.

    Attributes:
        language: its tag in lower case; "" for none.
        content: the lines between the marks, without common indentation.
        closed: whether it has a closing mark.
    """

    language: str
    content: str
    closed: bool = True


def fences(text: str) -> list[Fence]:
    r"""Every code fence of a text, in order; the last one may be unclosed.

    An opening mark right after another one replaces it.

    Example:
        >>> fences("So:\n```Python\nprint(1)\n```\n")
        [Fence(language='python', content='print(1)\n', closed=True)]
    """
    lines = text.replace("\r\n", "\n").splitlines(keepends=True)
    found: list[Fence] = []
    at = 0
    while at < len(lines):
        line = lines[at].rstrip()
        opening = _OPENING.fullmatch(line) or _LATE_OPENING.fullmatch(line)
        at += 1
        while opening and at < len(lines) and (again := _OPENING.fullmatch(lines[at].rstrip())):
            if not _tag(again) or not again[1].startswith(opening[1]):
                break
            opening, at = again, at + 1
        if opening:
            marks = _MOST_MARKS if len(found) < _MOST_MARKS else 1
            language = opening[2].lower()
            begin = at
            fence, at = _fence(lines, at, opening[1], language, marks)
            if is_python(language) and _CODE.match(opening[3]):
                body = _without_mark(lines[begin:at], opening[1])
                fence = _with_first_line(fence, opening[3].strip(), body)
            found.append(fence)
    return found


def _fence(
    lines: Sequence[str], start: int, mark: str, language: str, marks: int
) -> tuple[Fence, int]:
    """The fence whose content begins at a line, and the line after it.

    A mark within a text of several lines, such as a docstring, does not close a fence of Python if
    one of the next `marks` makes the code parse.
    """
    python = is_python(language)
    ends: list[int] = []
    for at in range(start, len(lines)):
        if not _closes(lines[at], mark):
            continue
        ends.append(at)
        content = _content(lines[start:at], python)
        within = python and any(content.count(one) % 2 for one in _QUOTES)
        if not within and (len(ends) == 1 or parsed(content) is not None):
            return Fence(language, content), at + 1
        if len(ends) >= marks:
            break
    if ends:
        return Fence(language, _content(lines[start : ends[0]], python)), ends[0] + 1
    content = _content(lines[start:], python)
    bare = content.rstrip().removesuffix(mark)  # a closing mark behind the last line of code
    ended = bare != content.rstrip()
    return Fence(language, bare + "\n" if ended else content, closed=ended), len(lines)


def _closes(line: str, mark: str) -> bool:
    """Whether a line is the closing mark of a fence that was opened with `mark`."""
    found = _OPENING.fullmatch(line.rstrip())
    return bool(found and not _tag(found) and found[1].startswith(mark))


def _without_mark(lines: Sequence[str], mark: str) -> str:
    """The text of a fence's lines without the closing mark, which may stand behind its code."""
    if lines and _closes(lines[-1], mark):
        return "".join(lines[:-1])
    return "".join(lines).rstrip().removesuffix(mark)


def _with_first_line(fence: Fence, first: str, body: str) -> Fence:
    """A fence with the code that stands on the line of its mark, if it is code and no title."""
    whole = f"{first}\n{body}"
    if _compiles(whole) and (_compiles(first) or not _compiles(fence.content)):
        return replace(fence, content=whole)
    return fence


def is_python(language: str) -> bool:
    """Whether the tag of a fence, in lower case, stands for Python."""
    return bool(_PYTHON.fullmatch(language))


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a text; None if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in a model's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _compiles(text: str) -> bool:
    tree = parsed(text)
    try:
        return tree is not None and bool(compile(tree, "reply", "exec"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _tag(mark: re.Match[str]) -> str:
    """The tag behind a mark; "" for none, or for a mark of punctuation."""
    return mark[2] if re.search(r"\w", mark[2]) else ""


def _content(lines: Sequence[str], python: bool) -> str:
    """The text of lines; of an interactive session with Python what was typed."""
    text = textwrap.dedent("".join(lines))
    if not (python and text.startswith(">>> ")):
        return text
    typed = map(_SESSION.fullmatch, text.splitlines(keepends=True))
    return "".join(line[1] or "\n" for line in typed if line)
