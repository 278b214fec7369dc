"""Splits a test into calls for the untrusted process and assertions for the trusted one.

`assert f([1, 2], 3) == 5` becomes the call `f([1, 2], 3)`, evaluated in the solution's process, and
`assert __answer__(0) == 5`, evaluated in another process. A test whose calls depend on local names
(loops, variables, helper functions) is run with a stub instead; see `harness.judge`.
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
    """Tests prepared for execution.

    Attributes:
        tests: ("static" or "dynamic", source) of each test.
        calls: sources of the calls in the static tests, in order.
        owner: index of the test that each of `calls` belongs to.
        imports: import statements of the static tests, which their calls may use.
    """

    tests: tuple[tuple[str, str], ...] = ()
    calls: tuple[str, ...] = ()
    owner: tuple[int, ...] = ()
    imports: str = ""


@dataclass(slots=True)
class _Calls(ast.NodeTransformer):
    """Replaces the outermost calls of the function with `__answer__(n)`."""

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
    """Prepare the tests of a function.

    Args:
        tests: Python sources.
        entry: name of the function.

    Raises:
        SyntaxError: if a test is not valid Python.
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
    """Name of the function under test: the reference's function that the tests call.

    Args:
        tests: Python sources.
        code: the reference solution.

    Raises:
        ValueError: if the tests call none of the reference's functions.
    """
    own = {one.name for one in ast.parse(code).body if isinstance(one, ast.FunctionDef)}
    for text in tests:
        for node in ast.walk(ast.parse(text)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in own:  # type: ignore[attr-defined]
                return str(node.func.id)  # type: ignore[attr-defined]
    raise ValueError("the tests call none of the functions that the reference solution defines")


def _is_static(tree: ast.Module, entry: str) -> bool:
    """Whether every use of the function is a call outside nested scopes."""
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
