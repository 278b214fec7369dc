"""Which answers of a model may reach a scorer that evaluates them as Python.

Nine data sets of reasoning-gym pass the answer to `eval` or to SymPy's `parse_expr`, which uses
`eval`. Here an answer is parsed first, and only forms that neither call nor look up anything, and
whose value stays small, are handed on.
"""

from __future__ import annotations

import ast
import math

LONGEST = 20_000
"""Longest answer that is scored, in characters."""

_FUNCTIONS = frozenset(
    "exp log ln sqrt sin cos tan sec csc cot asin acos atan sinh cosh".split()  # noqa: SIM905
)
_EXPRESSIONS = frozenset(
    (
        "countdown",
        "intermediate_integration",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
    )
)
"""Data sets whose scorers call `parse_expr`."""

_VALUES = frozenset(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"))
"""Data sets whose scorers call `eval` for a list, and expect it to fail for other texts."""

_LARGEST_EXPONENT, _LARGEST_SIZE = 40, 1000


def may_be_scored(dataset: str, answer: str) -> bool:
    """Whether an answer can be handed to the scorer of a data set.

    Args:
        dataset: reasoning-gym's name.
        answer: of the model.
    """
    if len(answer) > LONGEST:
        return False
    if dataset not in _EXPRESSIONS and dataset not in _VALUES:
        return True
    try:
        tree = ast.parse(answer.strip(), mode="eval").body
        if dataset in _VALUES:
            return _is_value(tree)
        return answer.isascii() and _size(tree) <= _LARGEST_SIZE
    except (SyntaxError, ValueError):
        # `eval` refuses it, too; `parse_expr` rewrites some of it into Python.
        return dataset in _VALUES
    except (RecursionError, MemoryError):
        return False


def _is_value(node: ast.expr) -> bool:
    """Whether it is a name, a constant, or a list or tuple of these."""
    if isinstance(node, ast.List | ast.Tuple):
        return all(map(_is_value, node.elts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant | ast.Name)


def _size(node: ast.expr) -> float:
    """A bound of the digits and the degree of an arithmetic expression.

    Raises:
        ValueError: if it is something else.
    """
    if (number := _number(node)) is not None:
        return 1 + math.log2(number + 1) / 4
    if isinstance(node, ast.Name) and (len(node.id) == 1 or node.id in ("pi", "theta")):
        return 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _size(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        return _size(node.left) + _size(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _size(node.left) * _exponent(node.right)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _FUNCTIONS
        and len(node.args) == 1
        and not node.keywords
    ):
        return 1 + _size(node.args[0])
    raise ValueError("not an arithmetic expression")


def _exponent(node: ast.expr) -> float:
    """The size of a small number as an exponent, or of a fraction of two.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _exponent(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return max(_exponent(node.left), _exponent(node.right))
    number = _number(node)
    if number is None or not number <= _LARGEST_EXPONENT:
        raise ValueError("not a small number")
    return max(1.0, number)


def _number(node: ast.expr) -> float | None:
    """The value of a constant that is a real number, which is never negative; else None."""
    value = node.value if isinstance(node, ast.Constant) else None
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return value if real else None  # type: ignore[return-value]
