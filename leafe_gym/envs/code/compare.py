"""Compares a program's output with the expected output, token by token.

Whitespace between tokens is ignored. Two tokens match if their text is equal, or if both are
decimal fractions (with a point or an exponent) that differ by at most 1e-6, absolutely or
relatively. Integers are compared as text: 1e6 does not match 1000001, and 3 does not match 3.0.
"""

from __future__ import annotations

import math
import re

TOLERANCE = 1e-6
_FRACTION = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d{1,3})?")


def outputs_match(expected: str, got: str) -> bool:
    r"""Whether the output `got` matches the output `expected`.

    Example:
        >>> outputs_match("1 2\n", "1  2  \n\n"), outputs_match("0.5\n", "0.50000001")
        (True, True)
        >>> outputs_match("3", "3.0"), outputs_match("Yes", "YES"), outputs_match("1", "1 1")
        (False, False, False)
    """
    left, right = expected.split(), got.split()
    return len(left) == len(right) and all(map(_same_token, left, right))


def _same_token(left: str, right: str) -> bool:
    if left == right:
        return True
    if _FRACTION.fullmatch(left) is None or _FRACTION.fullmatch(right) is None:
        return False
    return math.isclose(float(left), float(right), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
