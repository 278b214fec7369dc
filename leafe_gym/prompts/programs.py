"""The Python program in a reply: which fence holds it, and what belongs to it."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator, Sequence

from leafe_gym.errors import BadReply
from leafe_gym.prompts.fences import Fence, fences, is_python, parsed

_PLACEHOLDER = re.compile(
    r"<[^<>\n]*code[^<>\n]*>|\.\.\.|\[?your (?:complete )?code(?: here)?\]?", re.I
)
_TAGS = (("[PYTHON]\n", "[/PYTHON]"), ("[CODE]\n", "[/CODE]"), ("[BEGIN]\n", "[DONE]"))
"""Marks around code, as some models for code write it."""
_ONE_LINE = re.compile(r"(`{1,3})(?:python|py)?[ \t]*+(?=[^ \t])([^`\n]+)\1")
_BUILTINS = frozenset(dir(builtins))
_READS = ("input(", "stdin", "open(0)")


def find_code(text: str) -> str:
    """The code of a reply that was not cut.

    A reply that is a program counts as a whole. Of several fences the last one counts that defines
    a function or class (not a test) or reads standard input; else the last that runs a statement or
    call; else the last that is tagged as Python. Imports, functions and classes that it needs from
    fences of Python before it are put in front of it. Untagged fences count only if they parse and
    do more than state a value, so that sample output is never taken; fences of other languages
    never count. An unclosed fence must parse.

    Raises:
        BadReply: if there is none, or it is empty or a placeholder.
    """
    whole = _without_tags(text)
    if is_program(whole):
        return whole.strip("\n")
    found = _all_fences(text)
    ranked = [(rank, at) for at, one in enumerate(found) if (rank := _rank(one))]
    if ranked:
        return _with_needed(found, max(ranked)[1])
    if marked := next(filter(is_program, _marked(text)), ""):
        return marked.strip("\n")
    if not found:
        raise BadReply("it holds no code fence")
    empty = all(not one.content.strip() for one in found)
    raise BadReply("its code is empty" if empty else "no fence of it holds Python code")


def is_program(text: str) -> bool:
    """Whether `text` is Python that does more than state a value, and begins with no fence."""
    tree = parsed(text) if not text.lstrip().startswith(("~~~", "```")) else None
    return tree is not None and any(map(_acts, tree.body))


def _all_fences(text: str) -> list[Fence]:
    """The fences of a text, and in place of a fence of Markdown those in it."""
    found: list[Fence] = []
    for one in fences(text):
        found += fences(one.content) if one.language in ("markdown", "md") else [one]
    return found


def _without_tags(text: str) -> str:
    """A text without marks in brackets around all of it, or a tag that lost its fence."""
    bare = text.strip()
    for opening, closing in _TAGS:
        if bare.startswith(opening) and bare.endswith(closing) and bare.count(closing) == 1:
            return bare[len(opening) : -len(closing)]
    first, _, rest = bare.partition("\n")
    return rest if is_python(first.strip().lower()) else text


def _marked(text: str) -> Iterator[str]:
    """What is marked as code in another way than by a fence."""
    for opening, closing in _TAGS:
        start = text.rfind(opening) + len(opening)
        if start >= len(opening) and (end := text.find(closing, start)) >= 0:
            yield text[start:end]
    if one := _ONE_LINE.fullmatch(text.strip()):
        yield one[2]
    before, mark, after = text.partition("\n```\n")
    if mark and "```" not in before + after:  # the opening mark was forgotten
        yield before


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
    """The code of a fence, behind the imports and definitions of earlier ones that it needs."""
    code = found[chosen].content.strip("\n")
    for one in reversed(found[:chosen]):
        if is_python(one.language) and _needed(code):
            code = _completed(code, list(_definitions(one.content)))
    return code


def _completed(code: str, definitions: Sequence[tuple[str, set[str]]]) -> str:
    """Code behind those definitions, in their order, whose names it or one of them needs."""
    taken: set[int] = set()
    while True:
        whole = "\n\n\n".join((*(definitions[at][0] for at in sorted(taken)), code))
        needed = _needed(whole)
        more = {at for at, (_, names) in enumerate(definitions) if names & needed} - taken
        if not more:
            return whole
        taken |= more


def _definitions(code: str) -> Iterator[tuple[str, set[str]]]:
    """The import statements, functions and classes of a module, each with the names it binds."""
    tree = parsed(code)
    lines = code.splitlines()
    for statement in tree.body if tree else ():
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names = {(one.asname or one.name).partition(".")[0] for one in statement.names}
            first = statement.lineno
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = {statement.name}
            first = min((statement.lineno, *(one.lineno for one in statement.decorator_list)))
        else:
            continue
        yield "\n".join(lines[first - 1 : statement.end_lineno]), names


def _needed(code: str) -> set[str]:
    """The global names that code reads without binding them; empty for no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = symtable.symtable(code, "reply", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    bound = {
        one.get_name() for one in module.get_symbols() if one.is_assigned() or one.is_imported()
    }
    read: set[str] = set()
    tables = [module]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        read |= {
            one.get_name()
            for one in table.get_symbols()
            if one.is_referenced() and (one.is_global() or table is module)
        }
    return read - bound - _BUILTINS


def _defines(statement: ast.stmt) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, kinds) and not statement.name.lower().startswith("test")


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement does something: `[1, 2]`, `yes`, `Answer: 42` and `pass` do not."""
    idle = (ast.AnnAssign, ast.Pass, ast.Break, ast.Continue, ast.Return)
    if isinstance(statement, idle):
        return False
    if not isinstance(statement, ast.Expr):
        return True
    calls = (ast.Call, ast.Await, ast.NamedExpr)
    return any(isinstance(node, calls) for node in ast.walk(statement))
