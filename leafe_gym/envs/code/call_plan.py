"""Splitting a test into what the untrusted side computes and what the trusted side decides.

`assert f([1, 2], 3) == 5` becomes the call `f([1, 2], 3)`, evaluated where the solution runs, and
`assert __answer__(0) == 5`, decided where it does not. A test whose calls depend on names of its
own (loops, variables, helper functions) is run with a stub instead; see `harness.judge`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_SCOPES = (
    ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Tests ready to be run.

    Attributes:
        tests: ("static" or "dynamic", source) each.
        calls: sources of the calls that the static tests need, in order.
        owner: for each of `calls`, the number of its test.
        imports: import statements of the static tests, which their calls may count on.
    """

    tests: tuple[tuple[str, str], ...] = ()
    calls: tuple[str, ...] = ()
    owner: tuple[int, ...] = ()
    imports: str = ""


@dataclass(slots=True)
class _Calls(ast.NodeTransformer):
    """Replaces the outermost calls of the function by answers."""

    entry: str
    first: int
    found: list[str] = field(default_factory=list)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not (isinstance(node.func, ast.Name) and node.func.id == self.entry):
            return self.generic_visit(node)
        number = self.first + len(self.found)
        self.found.append(ast.unparse(node))
        answer = ast.Call(ast.Name("__answer__", ast.Load()), [ast.Constant(number)], [])
        return ast.copy_location(answer, node)


def plan_calls(tests: Iterable[str], entry: str) -> CallPlan:
    """How to run `tests` of the function called `entry`.

    Raises:
        SyntaxError: if one of them is not Python.
    """
    kinds: list[tuple[str, str]] = []
    calls: list[str] = []
    owner: list[int] = []
    imports: list[str] = []
    for number, text in enumerate(tests):
        tree = ast.parse(text)
        if not _is_static(tree, entry):
            kinds.append(("dynamic", text))
            continue
        imports += [ast.unparse(one) for one in tree.body if not isinstance(one, ast.Assert)]
        split = _Calls(entry, len(calls))
        kinds.append(("static", ast.unparse(ast.fix_missing_locations(split.visit(tree)))))
        calls += split.found
        owner += [number] * len(split.found)
    return CallPlan(tuple(kinds), tuple(calls), tuple(owner), "\n".join(imports))


def find_entry_point(tests: Sequence[str], code: str) -> str:
    """The function under test: of the reference's own functions the one that the tests call.

    Raises:
        ValueError: if there is none.
    """
    own = {one.name for one in ast.parse(code).body if isinstance(one, ast.FunctionDef)}
    for text in tests:
        for node in ast.walk(ast.parse(text)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in own:  # type: ignore[attr-defined]
                return str(node.func.id)  # type: ignore[attr-defined]
    raise ValueError("the tests call none of the functions that the reference solution defines")


def _is_static(tree: ast.Module, entry: str) -> bool:
    """Whether every mention of the function is a call that stands by itself."""
    if not all(isinstance(one, ast.Assert | ast.Import | ast.ImportFrom) for one in tree.body):
        return False
    inside = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, _SCOPES)
        for node in ast.walk(scope)
    }
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(id(node.func))
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr):
            return False
        named = isinstance(node, ast.Name) and node.id == entry
        if named and (id(node) in inside or id(node) not in called):
            return False
    return True
