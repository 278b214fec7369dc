"""Code fences in replies, and the choice of the one that holds the code."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from leafe_gym.errors import BadReply

_OPENING = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([\w+#./-]*+)[^\n`]*+")
_LATE_OPENING = re.compile(r".*[^`~](`{3,}+|~{3,}+)[ \t]*+((?i:python|py)[\w.]*+)[ \t]*+")
"""An opening behind text, such as "1. ```python"; without a tag it could as well be a closing."""
_PYTHON = re.compile(r"i?python[\d.]*|py[\d.]*|[\w+#./-]+\.py")
_PLACEHOLDER = re.compile(r"<[^<>\n]*code[^<>\n]*>|\.\.\.")
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
            if not again[2] or not again[1].startswith(opening[1]):
                break
            opening, at = again, at + 1
        if opening:
            marks = _MOST_MARKS if len(found) < _MOST_MARKS else 1
            fence, at = _fence(lines, at, opening[1], opening[2].lower(), marks)
            found.append(fence)
    return found


def _fence(
    lines: Sequence[str], start: int, mark: str, language: str, marks: int
) -> tuple[Fence, int]:
    """The fence whose content begins at a line, and the line after it.

    A mark within a text of several lines, such as a docstring, does not close a fence of Python if
    one of the next `marks` makes the code parse.
    """
    ends: list[int] = []
    for at in range(start, len(lines)):
        line = _OPENING.fullmatch(lines[at].rstrip())
        if not line or line[2] or not line[1].startswith(mark):
            continue
        ends.append(at)
        content = _content(lines, start, at)
        python = bool(_PYTHON.fullmatch(language))
        within = python and any(content.count(one) % 2 for one in _QUOTES)
        if not within and (len(ends) == 1 or _parsed(content) is not None):
            return Fence(language, content), at + 1
        if len(ends) >= marks:
            break
    if ends:
        return Fence(language, _content(lines, start, ends[0])), ends[0] + 1
    content = _content(lines, start, len(lines))
    bare = content.rstrip().removesuffix(mark)  # a closing mark behind the last line of code
    ended = bare != content.rstrip()
    return Fence(language, bare + "\n" if ended else content, closed=ended), len(lines)


def _content(lines: Sequence[str], start: int, end: int) -> str:
    return textwrap.dedent("".join(lines[start:end]))


def find_code(text: str) -> str:
    """The code of a reply that was not cut.

    Of several fences the last one counts that defines a function or class (not a test) or reads
    standard input; else the last that runs a statement or call; else the last that is tagged as
    Python. Untagged fences count only if they parse and do more than state a value, so that sample
    output is never taken; fences of other languages never count. An unclosed fence must parse.
    Without any fence, the whole reply counts if it is a program.

    Raises:
        BadReply: if there is none, or it is empty or a placeholder.
    """
    found = fences(text)
    if not found:
        if not is_program(text):
            raise BadReply("it holds no code fence")
        return text.strip("\n")
    ranked = [(rank, at, one) for at, one in enumerate(found) if (rank := _rank(one))]
    if not ranked:
        empty = all(not one.content.strip() for one in found)
        raise BadReply("its code is empty" if empty else "no fence of it holds Python code")
    return max(ranked)[2].content.strip("\n")


def is_program(text: str) -> bool:
    """Whether `text` is Python that does more than state a value."""
    tree = _parsed(text)
    return tree is not None and any(map(_acts, tree.body))


def _rank(fence: Fence) -> int:
    """How surely a fence holds the code that was asked for; 0 for not at all."""
    text = fence.content
    if fence.language and not _PYTHON.fullmatch(fence.language):
        return 0
    if not text.strip() or _PLACEHOLDER.fullmatch(text.strip()):
        return 0
    tree = _parsed(text)
    if tree is None:
        return 1 if fence.language and fence.closed else 0
    if any(map(_defines, tree.body)) or "input(" in text or "stdin" in text:
        return 4
    if any(map(_acts, tree.body)):
        return 3
    return 2 if fence.language and tree.body else 0


def _defines(statement: ast.stmt) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, kinds) and not statement.name.lower().startswith("test")


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement is more than a value, as `[1, 2]`, `yes` or `1 + 1` are."""
    if not isinstance(statement, ast.Expr):
        return True
    calls = (ast.Call, ast.Await, ast.NamedExpr)
    return any(isinstance(node, calls) for node in ast.walk(statement))


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in a model's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
