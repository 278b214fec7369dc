"""Formats of other data sets, rules in statements, problems that are left out, and large files."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from code_kinds import functions, programs, write_lines
from problem_records import CONTEST, HUMAN_EVAL, MBPP

import leafe_gym as lg
from leafe_gym.envs.code import check_problems as checks
from leafe_gym.envs.code.compare import OutputRules, outputs_match, rules_of
from leafe_gym.envs.code.contest_files import ContestFile
from leafe_gym.envs.code.contests import CodeContestsEnv
from leafe_gym.envs.code.function_files import FunctionFile, read_function
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.errors import BadRecord, UsageError


def packed(tests: Any) -> str:
    """Hidden tests as LiveCodeBench has them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


STDIN: dict[str, Any] = {
    "question_title": "Double",
    "question_content": "Double it.",
    "question_id": "1873_A",
    "difficulty": "easy",
    "starter_code": "",
    "metadata": "{}",
    "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "5\n", "output": "10\n", "testtype": "stdin"}]),
}
METHOD = STDIN | {
    "question_id": "3000",
    "starter_code": "class Solution:\n    def double(self, n: int, more: List[int]):\n        ",
    "metadata": json.dumps({"func_name": "double"}),
    "public_test_cases": json.dumps(
        [{"input": "1\n[]", "output": "[2]", "testtype": "functional"}]
    ),
    "private_test_cases": packed(
        [{"input": "5\n[true, null]", "output": "[10, true, null]", "testtype": "functional"}]
    ),
}


def test_livecodebench_programs_and_functions(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "test.jsonl", [STDIN, METHOD])
    contests, methods = ContestFile(path), FunctionFile(path)
    assert (contests.names, set(contests.skipped)) == (("1873_A",), {"3000"})
    assert (list(methods.problems), set(methods.skipped)) == (["3000"], {"1873_A"})
    problem = contests.problem("1873_A")
    assert [one.output for one in (*problem.tests.public, *problem.tests.hidden)] == ["2\n", "10\n"]
    with programs() as judge:
        assert judge.judge(problem, "print(2 * int(input()))").accepted
        assert judge.judge(problem, "print(2)").test == 2
    method = methods.problem("3000")
    assert "10" not in method.text
    body = "class Solution:\n    def double(self, n: int, more: List[int]):\n        return "
    with functions() as judge_functions:
        assert judge_functions.judge(method, f"{body}(2 * n, *more)").accepted  # as a list
        wrong = judge_functions.judge(method, f"{body}[2 * n]")
        assert (wrong.kind, wrong.test, wrong.public) == ("wrong answer", 2, False)
        shown = judge_functions.judge(method, f"{body}[n]")
        assert "double(1, []) returned [1]" in shown.observation
    with pytest.raises(UsageError, match=r"of this kind: it asks for a program"):
        FunctionFile(write_lines(tmp_path / "a.jsonl", [STDIN]))


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (STDIN | {"private_test_cases": "!!"}, "private_test_cases"),
        (STDIN | {"public_test_cases": "{"}, "public_test_cases"),
        (STDIN | {"public_test_cases": '[{"input": "1"}]'}, "without input or output"),
        (STDIN | {"question_id": None}, "question_id"),
        (METHOD | {"metadata": "{}"}, "names no function"),
        (METHOD | {"metadata": '{"func_name": "a b"}'}, "names no function"),
    ],
)
def test_a_broken_record_of_livecodebench_is_named(tmp_path: Path, record: Any, says: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record])

    def read() -> None:
        if record["question_id"] == "3000":
            FunctionFile(path)
        else:
            len(ContestFile(path).problem("1873_A").tests)

    with pytest.raises((BadRecord, ValueError), match=says):
        read()


def test_unpacking_tests_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    file = ContestFile(write_lines(tmp_path / "a.jsonl", [STDIN | {"private_test_cases": evil}]))
    with pytest.raises(ValueError, match="cannot be unpacked: it names"):
        len(file.problem("1873_A").tests)
    assert not (tmp_path / "touched").exists()


PLUS: dict[str, Any] = {
    "task_id": "HumanEval/0",
    "prompt": HUMAN_EVAL["prompt"],
    "entry_point": "double",
    "canonical_solution": HUMAN_EVAL["canonical_solution"],
    "contract": "",
    "base_input": [[[3]], [[]]],
    "plus_input": [[[1.5, 2]], [[10**20]]],
    "atol": 0,
}
MBPP_PLUS: dict[str, Any] = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nShared items.\nassert similar_elements((1, 2), (2,)) == (2,)\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n    assert type(a) is type(b) is tuple\n"
    "    return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4], [4, 5]]],
    "plus_input": [[[], []], [["o", "g", 1], [1, "o"]]],
    "atol": 0,
}
HUB_PLUS = MBPP | {
    "prompt": MBPP["text"],
    "test": "inputs = [[3], [4]]\nresults = [6, 8]\n"
    "for given, want in zip(inputs, results):\n    assert double(*given) == want\n",
}


@pytest.mark.parametrize(
    ("record", "right", "wrong"),
    [
        (PLUS, "def double(ns): return [n + n for n in ns]",
         "def double(ns): return [2, 4][: len(ns)]"),
        (PLUS, "def double(ns): return [2.0 * n for n in ns]", "def double(ns): return ns + ns"),
        (MBPP_PLUS, "def similar_elements(a, b): return {x for x in a if x in b}",
         "def similar_elements(a, b): return (2,) if 2 in b else a[1:]"),
        (HUB_PLUS, "def double(n): return n + n", "def double(n): return {1: 2, 5: 10}.get(n)"),
    ],
)  # fmt: skip
def test_evalplus_files(record: Any, right: str, wrong: str) -> None:
    problem = read_function({k: v for k, v in record.items() if k != "text" or v != MBPP["text"]})
    with functions() as judge:
        assert judge.judge(problem, problem.code).accepted
        assert judge.judge(problem, right).accepted
        assert judge.judge(problem, wrong).kind == "wrong answer"


def plus(number: int, entry: str, head: str, body: str, *inputs: Any, atol: float = 0) -> Any:
    """A record of MBPP+ with a reference that returns an expression."""
    return {
        "task_id": f"Mbpp/{number}",
        "prompt": '"""\nA task.\n"""\n',
        "entry_point": entry,
        "canonical_solution": f"\ndef {entry}({head}):\n    return {body}\n",
        "base_input": list(inputs),
        "plus_input": [],
        "atol": atol,
    }


HALVES = plus(9001, "halves", "ns", "[n / 2 for n in ns]", [[1, 2]], [[3]])
EMPTY = plus(9002, "none", "n", "[]", [1])
HALF = plus(9003, "half", "n", "n / 2", [4], [3])
ROOT = plus(9004, "find_zero", "xs", "-xs[0] / xs[1]", [[3.0, 1e6]], [[1.0, 2.0]], atol=1e-4)
DIGITS = plus(558, "digit_distance_nums", "a, b", "sum(map(int, str(abs(a - b))))", [1, 23])
SURFACE = plus(581, "surface_Area", "b, h", "2 * b * h + b ** 2", [3, 4], [2, 9])


@pytest.mark.parametrize(
    ("record", "right", "wrong"),
    [
        (HALVES, "def halves(ns): return [n / 2 + 1e-8 for n in ns]",
         "def halves(ns): return tuple(n / 2 + 1e-8 for n in ns)"),
        (HALVES, "def halves(ns): return [n * .5 for n in ns]", "def halves(ns): return [.5]"),
        (EMPTY, "def none(n): return list()", "def none(n): return ()"),
        (EMPTY, "def none(n): return [][:n]", "def none(n): return ''"),
        (HALF, "def half(n): return n * .5", "def half(n): return n // 2"),
        (HALF, "def half(n): return n / 2 + 1e-9", "def half(n): return [n / 2 + 1e-9]"),
        (ROOT, "def find_zero(xs): return -xs[0] / xs[1] + 1e-12",
         "def find_zero(xs): return -xs[0] / xs[1] + 5e-7"),
        (DIGITS, "def digit_distance_nums(a, b):\n    return 4", "def digit_distance_nums(a, b):"
         "\n    return 5"),
        (SURFACE, "def surface_Area(b, h):\n    return round(b*b + 2*b*(b*b/4 + h*h) ** .5)",
         "def surface_Area(b, h):\n    return b * b + b * h"),
    ],
)  # fmt: skip
def test_evalplus_compares_by_its_own_rules(record: Any, right: str, wrong: str) -> None:
    problem = read_function(record)
    with functions() as judge:
        assert judge.judge(problem, problem.code).accepted
        assert judge.judge(problem, right).accepted
        assert judge.judge(problem, wrong).kind == "wrong answer"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"base_input": 3}, "base_input"), ({"atol": "x"}, "atol"), ({"base_input": []}, "no inputs"),
     ({"prompt": "x = 1"}, "no function")],
)  # fmt: skip
def test_a_broken_record_of_evalplus_is_named(change: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_function(PLUS | {"plus_input": []} | change)


@pytest.mark.parametrize(
    ("statement", "rules"),
    [
        ("Print the sum.", OutputRules()),
        ("Its absolute or relative error must not exceed 10^{-4}.", OutputRules(1e-4, True)),
        ("the relative error does not exceed 10 - 9.", OutputRules(1e-9, True)),
        ("an absolute error of 1e-3 is accepted", OutputRules(1e-3, True)),
        ("relative or absolute error at most 0.000001", OutputRules(1e-6, True)),
        ("You can print each letter in any case.", OutputRules(any_case=True)),
        ("If there are multiple answers, print any of them.", OutputRules(several=True)),
        ("If there are several possible orders, you may output any.", OutputRules(several=True)),
        ("Print any valid sequence.", OutputRules(several=True)),
        ("Find any such pair.", OutputRules(several=True)),
        ("No two answers are equal. Print how many there are.", OutputRules()),
        ("You can perform any number of operations.", OutputRules()),
    ],
)
def test_rules_in_statements(statement: str, rules: OutputRules) -> None:
    assert rules_of(statement) == rules


@pytest.mark.parametrize(
    ("expected", "got", "rules", "same"),
    [
        ("2", "2.0000001", OutputRules(numeric=True), True),
        ("2", "2.1", OutputRules(numeric=True), False),
        ("2", "2.00005", OutputRules(1e-4, True), True),
        ("Yes", "YES", OutputRules(any_case=True), True),
        ("Yes", "No", OutputRules(any_case=True), False),
        ("3", "1" * 5000, OutputRules(numeric=True), False),
    ],
)
def test_outputs_by_rules(expected: str, got: str, rules: OutputRules, same: bool) -> None:
    assert outputs_match(expected, got, rules) is same


def named(name: str, **change: Any) -> dict[str, Any]:
    return CONTEST | {"name": name} | change


def test_problems_that_tests_cannot_judge_are_left_out(tmp_path: Path) -> None:
    any_of = "Find two numbers. If there are several answers, print any of them."
    records = [named("a"), named("b", description=any_of), named("c", input_file="in.txt")]
    path = write_lines(tmp_path / "c.jsonl", records)
    file = ContestFile(path)
    assert (file.names, file.several, set(file.skipped)) == (("a",), ("b",), {"c"})
    with pytest.raises(UsageError, match=r"line 3: it reads a file \(in\.txt\)"):
        file.problem("c")
    found = lg.tasks("leafe/CodeContests-v0", "all", data=str(path))
    assert [task.kwargs["problem"] for task in found] == ["a"]
    wanted = {"data": str(path), "several_answers": True}
    tasks = lg.tasks("leafe/CodeContests-v0", "all", **wanted)
    assert [task.kwargs["problem"] for task in tasks] == ["a", "b"]
    assert CodeContestsEnv(**tasks[1].kwargs).load("b").rules.several  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="none of the file's problems"):
        CodeContestsEnv(write_lines(tmp_path / "d.jsonl", records[1:]))
    with pytest.raises(UsageError, match="several_answers="):
        CodeContestsEnv(path, several_answers=1)  # type: ignore[arg-type]


def test_a_folder_of_files(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", [named("b1"), named("b2")])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(named("a1")).encode() + b"\n"))
    (tmp_path / "notes.md").write_text("no data")
    file = ContestFile(tmp_path)
    assert file.names == ("a1", "b1", "b2")
    for name in ("b2", "a1", "b1", "a1"):
        assert file.problem(name).name == name
    assert file.where("b2").endswith("b.jsonl, line 2")
    write_lines(tmp_path / "c.jsonl", [named("a1")])
    with pytest.raises(BadRecord, match=r"c\.jsonl, line 1: the name 'a1' occurs twice"):
        ContestFile(tmp_path)


MADE = """
import resource, sys
import pyarrow
from pyarrow import parquet
from leafe_gym.envs.code.contest_files import ContestFile
from pathlib import Path

path, rows, group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tests = {"input": ["1 " * 20000 + "\\n"] * 10, "output": ["2\\n"] * 10}
shape = pyarrow.struct([("input", pyarrow.list_(pyarrow.string())),
                        ("output", pyarrow.list_(pyarrow.string()))])
schema = pyarrow.schema([("name", pyarrow.string()), ("description", pyarrow.string()),
                         ("public_tests", shape), ("generated_tests", shape)])
few = {"input": ["1\\n"], "output": ["2\\n"]}
def record(n):
    return {"name": f"p{n}", "description": "Double it. " * 100, "public_tests": few,
            "generated_tests": tests}
table = pyarrow.Table.from_pylist([record(n) for n in range(2)], schema)
names = schema.get_field_index("name")
with parquet.ParquetWriter(path, schema) as writer:
    for first in range(0, rows, group):
        part = pyarrow.concat_tables([table] * (group // 2)).combine_chunks()
        part = part.set_column(names, "name", [[f"p{n}" for n in range(first, first + group)]])
        writer.write_table(part, row_group_size=group)
del part, table
pyarrow.default_memory_pool().release_unused()
Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) >> 10

before = peak()
file = ContestFile(path)
assert len(file.names) == rows
size = 0
for name in file.names:
    size += sum(len(one.input) for one in file.problem(name).tests.hidden)
print(size >> 20, peak() - before)
"""


def test_large_parquet_files_are_read_in_flat_memory(
    tmp_path: Path, counts: Callable[[int, int], int]
) -> None:
    """Megabytes of tests that are read, and by how much the process grew."""
    pytest.importorskip("pyarrow")
    script = (sys.executable, "-c", MADE, str(tmp_path / "a.parquet"))
    rows = counts(200, 10_000)
    done = subprocess.run(
        [*script, str(rows), "200"], capture_output=True, text=True, check=True, timeout=1800
    )
    read, grown = map(int, done.stdout.split())
    assert read == rows * 400_010 >> 20
    assert grown < 150


def test_json_lines_are_not_kept_in_memory(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [named(f"p{n}") for n in range(50)])
    file = ContestFile(path)
    path.write_bytes(path.read_bytes().replace(b"Double it.", b"Treble it."))
    assert file.problem("p40").description == "Treble it."  # read when it is asked for


def test_references_are_checked(tmp_path: Path) -> None:
    solved = CONTEST["solutions"]["solution"]
    wrong = {"language": [3, 3, 2], "solution": ["print(1)", *solved, "int main() {}"]}
    records = [
        named("right", solutions=wrong),
        named("wrong", solutions={"language": [3], "solution": ["print(1)"]}),
        named("none", solutions={"language": [2], "solution": ["int main() {}"]}),
        named("several", description="Print any of them."),
    ]
    contests = write_lines(tmp_path / "c.jsonl", records)
    bad = MBPP | {"task_id": 12, "code": "class P: pass\ndef double(n): return P()"}
    absent = MBPP | {"task_id": 13, "test_list": ["import absent_one\nassert double(1) == 2"]}
    values = write_lines(tmp_path / "f.jsonl", [MBPP, bad, absent])
    runners = [ProgramRunner("embedded") for _ in range(2)]
    found = {}
    for path in (contests, values):
        file = checks.open_problems(path)
        for one in checks.check_problems(file, checks.all_names(file), runners):
            found[one.name] = (one.outcome, one.reason)
    for runner in runners:
        runner.close()
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "right": "passed", "wrong": "failed", "none": "no reference", "several": "skipped",
        "11": "passed", "12": "failed", "13": "failed",
    }  # fmt: skip
    assert "public test 1" in found["wrong"][1]
    assert "returned <P>" in found["12"][1]
    assert "absent_one" in found["13"][1]
