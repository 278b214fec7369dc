"""Reads EvalPlus's own files, HumanEval+ and MBPP+: inputs, and a reference that gives the outputs.

Fields: `task_id`, `prompt`, `entry_point`, `canonical_solution`, `base_input`, `plus_input` (lists
of argument lists), `atol`. The expected outputs are the reference's, which runs in the tests'
sandbox. The editions on the Hugging Face hub hold tests instead and are read by `function_files`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from leafe_gym.envs.code.functions import FunctionProblem

_CHECK = """
import copy, math
inf, nan = math.inf, math.nan
REFERENCE = {reference!r}
INPUTS = {inputs!r}

def floats(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(one, float) for one in value)
    return isinstance(value, float)

def fail():
    raise AssertionError

def digits(one, other):
    width = max(len(str(one)), len(str(other)))
    pairs = zip(str(one).zfill(width), str(other).zfill(width))
    return sum(abs(int(a) - int(b)) for a, b in pairs)

def surface(base, height):
    slant = math.sqrt((base / 2) ** 2 + height ** 2)
    return round(base ** 2 + 2 * base * slant)

def near(got, want, atol):
    if isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(near(a, b, atol) for a, b in zip(got, want))
    if math.isnan(want) or math.isinf(want):
        return got == want or (got != got and want != want)
    return abs(got - want) <= atol + 1e-7 * abs(want)

def same(got, want, given):
    equal = {equal}
    if equal is True:
        return True
    atol = {atol!r} or (1e-6 if floats(want) else 0)
    return atol != 0 and type(got) is type(want) and near(got, want, atol)

def check(candidate):
    space = {{"__name__": "reference"}}
    exec(REFERENCE, space)
    reference = space[{entry!r}]
    for given in INPUTS:
        want = None if COLLECTING else reference(*copy.deepcopy(given))
        assert same(candidate(*copy.deepcopy(given)), want, given), given
"""

_ATOL = 1e-4
_EQUAL = "bool(got == want)"
_SETS = "set(got) == set(want)"
_FOUND = "(got if isinstance(got, bool) else got is not None) == (want is not None)"
_RULES = {
    "find_zero": "abs(sum(c * got ** i for i, c in enumerate(given[0]))) <= {atol!r} or fail()",
    "digit_distance_nums": f"{_EQUAL} or got == digits(*given)",
    "surface_Area": f"{_EQUAL} or abs(got - surface(*given)) <= {{atol!r}}",
    "are_equivalent": "True",
    "sum_div": f"{_EQUAL} or got == 0",
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _FOUND),
    **dict.fromkeys(
        ("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly",
         "larg_nnum", "intersection_array", "find_dissimilar", "Diff"), _SETS,
    ),
}  # fmt: skip
"""Functions whose results EvalPlus compares by rules of their own, as Python expressions."""


def matches(record: Mapping[str, Any]) -> bool:
    """Whether a record has this format."""
    return "base_input" in record and "entry_point" in record


def complete(problem: FunctionProblem, record: Mapping[str, Any]) -> FunctionProblem:
    """`problem` with the tests that the record's inputs make; see `FunctionProblem`.

    Raises:
        ValueError: if a field is malformed; names the field.
    """
    atol = record.get("atol") or 0
    if isinstance(atol, bool) or not isinstance(atol, int | float):
        raise ValueError(f"'atol' is {atol!r:.40}, not a number")
    tests = []
    for key in ("base_input", "plus_input"):
        inputs = record.get(key) or []
        if not isinstance(inputs, list) or not all(isinstance(one, list) for one in inputs):
            raise ValueError(f"{key!r} is {inputs!r:.40}, not a list of argument lists")
        if inputs:
            tests.append(_test(problem, str(record.get("task_id")), inputs, atol))
    if not tests:
        raise ValueError("it has no inputs")
    return FunctionProblem(
        name=problem.name,
        text=problem.text,
        entry=problem.entry,
        code=problem.code,
        tests=tuple(tests),
        examples=problem.examples,
        prelude=problem.prelude,
    )


def examples_of(prompt: str, entry: str) -> tuple[str, ...]:
    """The assertions in the prompt of an MBPP+ problem that call its function."""
    found = []
    for line in prompt.splitlines():
        if line.strip().startswith("assert ") and entry in line:
            try:
                ast.parse(line.strip())
            except SyntaxError:
                continue
            found.append(line.strip())
    return tuple(found)


def _test(problem: FunctionProblem, task_id: str, inputs: list[Any], atol: float) -> str:
    number = task_id.rpartition("/")[2]
    mbpp = not task_id.startswith("HumanEval")
    if mbpp and number.isdigit():
        inputs = [_arguments(int(number), one) for one in inputs]
    rule = _RULES.get(problem.entry, _EQUAL) if mbpp or problem.entry == "find_zero" else _EQUAL
    return _CHECK.format(
        reference=problem.code,
        inputs=inputs,
        equal=rule.format(atol=atol or _ATOL),
        atol=atol,
        entry=problem.entry,
    )


# JSON has no tuples, sets and complex numbers. Which arguments of MBPP+ are such values is fixed by
# the problem's number: each argument, its items, or only some arguments.
_EACH = {2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630,
         726, 740, 744, 809}  # fmt: skip
_EACH_ITEM = {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
_FIRST = {250, 307, 405, 446, 617, 720, 763, 808}
_FIRST_ITEM = {75, 413, 444, 753}
_SECOND = {106, 750}
_BOTH_LEVELS = {259, 278, 401, 445}
_DEEP = {580, 615, 791}


def _arguments(number: int, given: list[Any]) -> list[Any]:
    """The arguments of a call of an MBPP+ problem, with the types that JSON lacks."""
    first, *rest = given or [None]
    if number in _EACH:
        return list(map(tuple, given))
    if number in _EACH_ITEM:
        return [list(map(tuple, one)) for one in given]
    if number in _FIRST:
        return [tuple(first), *rest]
    if number in _FIRST_ITEM:
        return [list(map(tuple, first)), *rest]
    if number in _SECOND:
        return [first, *map(tuple, rest)]
    if number in _BOTH_LEVELS:
        return [tuple(tuple(x) if isinstance(x, list) else x for x in one) for one in given]
    if number in _DEEP:
        return list(map(_tuples, given))
    if number == 115:
        return [[set(one) if isinstance(one, list) and one else {} for one in first]]
    if number == 124:
        return [float(first), complex(rest[0])]
    if number == 252:
        return [complex(first)]
    if number == 722:
        return [{key: tuple(value) for key, value in first.items()}, *rest]
    return given


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
