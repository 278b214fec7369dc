"""Hostile values, replies and outputs cost bounded time; failures have their right words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from code_kinds import programs

from leafe_gym.envs.code.compare import outputs_match
from leafe_gym.envs.code.extract import extract_code
from leafe_gym.envs.code.harness.codec import MAX_EQUAL_HASHES, decode, encode
from leafe_gym.envs.code.judge_result import stable
from leafe_gym.envs.code.problem import Case, Cases, Problem
from leafe_gym.envs.code.programs import ending
from leafe_gym.envs.code.value_text import encoded_value_text
from leafe_gym.sandbox.base import ProgramResult

MODULUS = 2**61 - 1
"""Integers that are multiples of it have one hash."""

COLLIDING = [["i", format(MODULUS * n, "x")] for n in range(40_000)]


@pytest.mark.parametrize(
    "value",
    [
        ["s", COLLIDING],
        ["z", COLLIDING],
        ["d", [[one, None] for one in COLLIDING]],
        ["s", [["t", [one]] for one in COLLIDING]],
        ["l", [["s", COLLIDING]]],
    ],
    ids=["set", "frozenset", "dict", "tuples", "nested"],
)
def test_equal_hashes_take_no_time(value: Any) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="one hash"):
        decode(value)
    assert "..." in encoded_value_text(value)
    assert time.process_time() - began < 20


def test_some_equal_hashes_are_decoded() -> None:
    value = {MODULUS * n for n in range(MAX_EQUAL_HASHES - 1)}
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (["l", [["i", "1"], "a"]], "[1, 'a']"),
        (["s", [["i", "3"], ["i", "1"]]], "{1, 3}"),
        (["z", []], "frozenset()"),
        (["t", [None]], "(None,)"),
        (["d", [["k", ["t", []]]]], "{'k': ()}"),
        (["i", "f" * 100_000], "<a very long number>"),
        (["o", "thing"], "<thing>"),
        (["l"], "<not a plain value>"),
        (["q", []], "<not a plain value>"),
        (["d", [[1, 2, 3]]], "<not a plain value>"),
        (["i", ["x"]], "<not a plain value>"),
        ({"a": 1}, "<not a plain value>"),
        (["l", {"a": 1}], "<not a plain value>"),
    ],
)
def test_values_as_text(data: Any, text: str) -> None:
    assert encoded_value_text(data) == text


def test_deep_and_long_values_as_text() -> None:
    deep: Any = None
    for _ in range(900):
        deep = ["l", [deep]]
    assert encoded_value_text(deep).count("[") == 201
    long = encoded_value_text(["l", [["s", [["i", "1"]] * 100]] * 10_000])
    assert long.endswith("...]")
    assert len(long) < 100_000


REPLIES: dict[str, Callable[[int], str]] = {
    "fences": lambda n: "```python\n" * n,
    "blanks behind a fence": lambda n: "```" + " " * n + "`",
    "letters behind a fence": lambda n: "```" + "a" * n + "`",
    "blanks before a fence": lambda n: " " * n + "`",
    "tabs and letters": lambda n: ("```" + "\t" * 50 + "x" * 50 + "`\n") * (n // 100),
    "backticks": lambda n: "`" * n,
    "both marks": lambda n: "~~~\n```\n" * n,
}


@pytest.mark.parametrize("name", REPLIES)
def test_fences_are_found_in_linear_time(name: str) -> None:
    began = time.process_time()
    extract_code(REPLIES[name](65_536))
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (
            'File "/o/lib/python3.11/j.py", line 1',
            'File "lib/python3.11/j.py", line 1',
        ),
        ('File "/a/lib/python3.12/lib/python3.12/x.py"', 'File "lib/python3.12/x.py"'),
        ('File "/tmp/abc/solution.py", line 2', 'File "solution.py", line 2'),
        ("at 0x7f00deadbeef>", "at 0x...>"),
        ('see "/opt/lib/python3.11/x"', 'see "/opt/lib/python3.11/x"'),
    ],
)
def test_host_folders_are_not_shown(shown: str, wanted: str) -> None:
    assert stable(shown) == wanted


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("2.000000", "2", True),
        ("0.5", ".5", True),
        ("-1.50", "-1.5", True),
        ("1000.0", "1e3", True),
        ("2.0", "2.1", False),
        ("2", "2.0", False),
        ("2", "2.000000", False),
        ("2.0", "two", False),
        ("2.0", "", False),
        ("1e400", "1" * 401, False),
        ("007", "7", False),
    ],
)
def test_numbers_are_compared_as_the_expected_ones_are_written(
    expected: str, got: str, same: bool
) -> None:
    assert outputs_match(expected, got) is same


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ProgramResult(exit_code=-1, signal=11), "killed by SIGSEGV"),
        (ProgramResult(exit_code=-1, signal=6), "killed by SIGABRT"),
        (ProgramResult(exit_code=-1, signal=40), "killed by signal 40"),
        (ProgramResult(exit_code=3), "exit code 3"),
    ],
)
def test_endings_in_words(result: ProgramResult, text: str) -> None:
    assert ending(result) == text


VERDICTS = {
    "import os; os.kill(os.getpid(), 11)": ("runtime error", "killed by SIGSEGV"),
    "raise SystemExit(7)": ("runtime error", "exit code 7"),
    "x = [0] * 10**10": ("memory limit exceeded", ""),
    "x = bytearray(b'x') * (200 << 20)": ("memory limit exceeded", ""),
    "import array; x = array.array('q', [1]) * (1 << 40)": ("memory limit exceeded", ""),
    "class MyMemoryError(MemoryError): pass\nraise MyMemoryError": ("memory limit exceeded", ""),
    "import os; os.mkdir('d'); os.chmod('.', 0); print(4)": ("accepted", ""),
    "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\nprint(4)": ("accepted", ""),
    "import shutil; shutil.rmtree('.', True); print(4)": ("accepted", ""),
    "open(b'\\xff\\n', 'w').write('x'); print(4.0)": ("wrong answer", ""),
    "import threading\nthreading.stack_size(1 << 26)\n"
    "t = threading.Thread(target=lambda: print(4)); t.start()": ("accepted", ""),
}


def test_verdicts_depend_on_the_program_only() -> None:
    """A broken work folder, a large stack and a lack of memory have their own results."""
    cases = Cases((Case("", "4\n"),), ())
    problem = Problem(name="p", description="", make_tests=lambda: cases, memory_mb=64)
    with programs() as judge:
        for code, (kind, shown) in VERDICTS.items():
            verdict = judge.judge(problem, code)
            assert verdict.kind == kind, (code, verdict)
            assert shown in verdict.observation
        assert judge.judge(problem, "print(4)").accepted


def test_requests_with_lone_surrogates_are_judged() -> None:
    text = json.loads('"print(4) # \\ud800"')
    cases = Cases((Case("", "4\n"),), ())
    problem = Problem(name="p", description="", make_tests=lambda: cases)
    with programs() as judge:
        assert judge.judge(problem, text).accepted
