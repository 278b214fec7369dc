"""Files of problems: both formats of functions, contests as parquet and JSON lines, errors."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from code_kinds import write_lines
from problem_records import CONTEST, HUMAN_EVAL, MBPP

from leafe_gym.envs.code.contest_files import read_contests
from leafe_gym.envs.code.function_files import FunctionFile, read_functions
from leafe_gym.envs.code.mbpp import MbppEnv
from leafe_gym.envs.code.problem import Case
from leafe_gym.errors import BadRecord, UsageError


def test_contests_as_json_lines_and_as_parquet_are_the_same(tmp_path: Path) -> None:
    other = {**CONTEST, "name": "2_B", "time_limit": None, "generated_tests": None, "cf_rating": 0}
    lines = read_contests(write_lines(tmp_path / "a.jsonl", [CONTEST, other]))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([CONTEST, other])
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    pairs = [{"input": "1\n", "output": "2\n"}]
    listed = [{**one, "public_tests": pairs} for one in (CONTEST, other)]
    parquet.write_table(pyarrow.Table.from_pylist(listed), tmp_path / "b.parquet")
    for path in ("a.jsonl.gz", "a.parquet", "b.parquet"):
        file = read_contests(tmp_path / path)
        assert file.names == lines.names == ("1_A. Double", "2_B")
        for name in file.names:
            one, same = file.problem(name), lines.problem(name)
            assert (one, one.tests) == (same, same.tests)
    first, second = map(lines.problem, lines.names)
    assert (first.time_limit, first.memory_mb, first.difficulty, first.rating) == (
        1.5, 244, "A", 800,
    )  # fmt: skip
    assert first.tests.public == (Case("1\n", "2\n"),)
    assert [one.input for one in first.tests.hidden] == ["5\n", "7\n", "8\n"]
    assert (second.time_limit, len(second.tests)) == (2.0, 2)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "'name'"),
    ({"description": None}, "'description'"),
    ({"public_tests": {"input": ["1"], "output": []}}, "1 inputs and 0 outputs"),
    ({"public_tests": {"input": [1], "output": ["1"]}}, "not text"),
    ({"public_tests": 5}, "not tests"),
    ({"time_limit": -1}, "'time_limit'"),
    ({"time_limit": True}, "'time_limit'"),
    ({"memory_limit_bytes": 12}, "less than a megabyte"),
    ({"cf_rating": "800"}, "'cf_rating'"),
    ({"public_tests": None, "private_tests": None, "generated_tests": None}, "no tests"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN)
def test_a_broken_contest_names_its_line(tmp_path: Path, change: Any, says: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{**CONTEST, "name": "ok"}, {**CONTEST, **change}])
    with pytest.raises(BadRecord, match=rf"a\.jsonl, line 2: .*{says}"):
        read_contests(path)


def test_mbpp_and_human_eval(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "f.jsonl", [MBPP, HUMAN_EVAL])
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    plain, packed = read_functions(path), read_functions(tmp_path / "f.jsonl.gz")
    assert plain.problems == packed.problems
    mbpp, human = plain.problems.values()
    assert (mbpp.name, mbpp.entry, mbpp.public) == ("11", "double", 1)
    assert mbpp.tests == ("assert double(1) == 2", "assert double(5) == 10")
    assert "assert double(1) == 2" in mbpp.text
    assert "double(5)" not in mbpp.text
    assert human.examples == ("assert double([1, 2]) == [2, 4]", "assert double([]) == []")
    assert human.prelude == "from typing import List"
    assert "[6]" not in human.text


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({**MBPP, "code": "def other(): pass"}, "none of the functions"),
        ({**MBPP, "code": "def double(:"}, "invalid|syntax"),
        ({**MBPP, "test_list": []}, "'test_list' is empty"),
        ({**MBPP, "test_list": [1]}, "not a list of texts"),
        ({**MBPP, "text": None}, "'text'"),
        ({**HUMAN_EVAL, "entry_point": "triple"}, "no function 'triple'"),
        ({**HUMAN_EVAL, "test": "x = 1"}, "no function 'check'"),
        ([1], "a list, not an object"),
        ("half", "a str, not an object"),
    ],
)
def test_a_broken_function_names_its_line(tmp_path: Path, record: Any, says: str) -> None:
    path = write_lines(tmp_path / "f.jsonl", [{**MBPP, "task_id": 1}, record])
    with pytest.raises(BadRecord, match=rf"f\.jsonl, line 2: .*(?:{says})"):
        read_functions(path)


def test_files_that_are_not_there_or_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAFE_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=r"there is no .*mbpp\.jsonl.*github\.com/google-research"):
        MbppEnv(problems="mbpp.jsonl")
    write_lines(tmp_path / "mbpp.jsonl", [MBPP])
    assert MbppEnv(problems="mbpp.jsonl").load("11").entry == "double"
    (tmp_path / "cut.jsonl").write_text(json.dumps(MBPP) + "\n" + json.dumps(MBPP)[:40])
    with pytest.raises(BadRecord, match="line 2: no JSON"):
        read_functions(tmp_path / "cut.jsonl")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 999)[:20])
    with pytest.raises(UsageError, match="cannot be read"):
        read_functions(tmp_path / "cut.gz")
    with pytest.raises(BadRecord, match="twice"):
        read_functions(write_lines(tmp_path / "twice.jsonl", [MBPP, MBPP]))
    with pytest.raises(UsageError, match="holds no problems"):
        read_functions(write_lines(tmp_path / "empty.jsonl", []))


@pytest.mark.parametrize("field", ["prompt", "test", "canonical_solution"])
@pytest.mark.parametrize("deep", ["(" * 3_000, "-" * 100_000 + "1", "[" * 250 + "]" * 250])
def test_code_that_is_nested_too_deeply(field: str, deep: str, tmp_path: Path) -> None:
    record = {
        "task_id": "H/1", "entry_point": "f", "prompt": 'def f(a):\n    """Twice."""\n',
        "canonical_solution": "    return 2 * a\n", "test": "def check(c):\n    pass\n",
    }  # fmt: skip
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(record | {field: record[field] + f"\nx = {deep}\n"}))
    with contextlib.suppress(BadRecord):
        FunctionFile(path)


def test_old_code_gives_no_warnings(tmp_path: Path) -> None:
    """Warnings are errors in these tests."""
    for name, code in (
        ("a", "def double(n):\n    return '\\w' and 2 * n"),
        ("b", "def double(n):\n    return n is 1 and 2 or 2 * n"),
        ("c", "def double(n):\n    assert (n, 1)\n    return 2 * n"),
    ):
        path = write_lines(tmp_path / f"{name}.jsonl", [{**MBPP, "code": code}])
        assert read_functions(path).problem("11").code == code
