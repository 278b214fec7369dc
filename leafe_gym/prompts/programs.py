"""The Python program in a reply: which fence holds it, and what belongs to it."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

from leafe_gym.errors import BadReply
from leafe_gym.prompts.fences import Fence, fences, is_python, parsed

_PLACEHOLDER = re.compile(
    r"<[^<>\n]*code[^<>\n]*>|\.\.\.|\[?your (?:complete )?code(?: here)?\]?", re.I
)
_TAGGED = re.compile(
    r"\[(BEGIN|PYTHON|CODE)\]\n((?:(?!\[(?:BEGIN|PYTHON|CODE)\]).)*?)\n\s*\[(?:DONE|/\1)\]",
    re.DOTALL,
)
"""Code between marks in brackets, as some models for code write it."""
_ONE_LINE = re.compile(r"(`{1,3})(?:python|py)?[ \t]*([^`\n]+)\1")
_BUILTINS = frozenset(dir(builtins))
_READS = ("input(", "stdin", "open(0)")


def find_code(text: str) -> str:
    """The code of a reply that was not cut.

    A reply that is a program counts as a whole. Of several fences the last one counts that defines
    a function or class (not a test) or reads standard input; else the last that runs a statement or
    call; else the last that is tagged as Python. Fences before it whose names it needs are put in
    front of it. Untagged fences count only if they parse and do more than state a value, so that
    sample output is never taken; fences of other languages never count. An unclosed fence must
    parse.

    Raises:
        BadReply: if there is none, or it is empty or a placeholder.
    """
    if whole := next(filter(is_program, (*_marked(text), text)), ""):
        return whole.strip("\n")
    found = _all_fences(text)
    ranked = [(rank, at) for at, one in enumerate(found) if (rank := _rank(one))]
    if ranked:
        return _with_needed(found, max(ranked)[1])
    before = text.partition("```")[0]
    if is_program(before):  # the opening mark was forgotten
        return before.strip("\n")
    if not found:
        raise BadReply("it holds no code fence")
    empty = all(not one.content.strip() for one in found)
    raise BadReply("its code is empty" if empty else "no fence of it holds Python code")


def is_program(text: str) -> bool:
    """Whether `text` is Python that does more than state a value."""
    tree = parsed(text)
    return tree is not None and any(map(_acts, tree.body))


def _all_fences(text: str) -> list[Fence]:
    """The fences of a text, and in place of a fence of Markdown those in it."""
    found: list[Fence] = []
    for one in fences(text):
        found += fences(one.content) if one.language in ("markdown", "md") else [one]
    return found


def _marked(text: str) -> Iterator[str]:
    """What other marks than fences say to be a program."""
    yield from (match[2] for match in _TAGGED.finditer(text))
    first, _, rest = text.lstrip().partition("\n")
    if is_python(first.strip().lower()):
        yield rest
    if one := _ONE_LINE.fullmatch(text.strip()):
        yield one[2]


def _rank(fence: Fence) -> int:
    """How surely a fence holds the code that was asked for; 0 for not at all."""
    text = fence.content
    if fence.language and not is_python(fence.language):
        return 0
    if not text.strip() or _PLACEHOLDER.fullmatch(text.strip()):
        return 0
    tree = parsed(text)
    if tree is None:
        return 1 if fence.language and fence.closed else 0
    if any(map(_defines, tree.body)) or any(one in text for one in _READS):
        return 4
    if any(map(_acts, tree.body)):
        return 3
    return 2 if fence.language and tree.body else 0


def _with_needed(found: Sequence[Fence], chosen: int) -> str:
    """The code of a fence, behind that of earlier ones whose names it uses and does not bind."""
    parts = [found[chosen].content.strip("\n")]
    tree = parsed(found[chosen].content)
    needed = _used(tree) if tree else set()
    for one in reversed(found[:chosen]):
        earlier = parsed(one.content) if _rank(one) > 1 else None
        if earlier and (bound := set(_bound(earlier)) & needed):
            parts.insert(0, one.content.strip("\n"))
            needed = (needed - bound) | _used(earlier)
    return "\n\n\n".join(parts)


def _used(tree: ast.Module) -> set[str]:
    """The names that code reads and neither binds nor finds among the built-in ones."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {node.id for node in names} - bound - set(_bound(tree)) - _BUILTINS


def _bound(tree: ast.Module) -> Iterator[str]:
    """The names that code binds as a module."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.alias):
                yield (node.asname or node.name).partition(".")[0]


def _defines(statement: ast.stmt) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, kinds) and not statement.name.lower().startswith("test")


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement does something: `[1, 2]`, `yes`, `Answer: 42` and `pass` do not."""
    idle = (ast.AnnAssign, ast.Pass, ast.Break, ast.Continue, ast.Return)
    if not isinstance(statement, ast.Expr):
        return not isinstance(statement, idle)
    calls = (ast.Call, ast.Await, ast.NamedExpr)
    return any(isinstance(node, calls) for node in ast.walk(statement))
