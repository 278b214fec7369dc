"""Judges every problem of MBPP in the sandbox: the references, and the references with a fault.

    LEAFE_DATA=FOLDER_WITH_MBPP python benchmarks/mbpp.py

Measured are the references that pass (and why others fail); of the references with one inserted
fault (a negated comparison, a changed number, ...), how many fail, where a fault may have no
effect; and problems judged per second with one process per core. Both sets also run as plain
scripts together with their assertions in one process, which trusts the solution: a difference
means that one of the two is wrong.
"""

from __future__ import annotations

import ast
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from _harness import Report, main, median

from leafe_gym.envs.code.function_files import SOURCE, read_functions
from leafe_gym.envs.code.functions import FunctionJudge, FunctionProblem
from leafe_gym.envs.code.judge_result import JudgeResult
from leafe_gym.envs.code.language import PYTHON_COMMAND
from leafe_gym.envs.code.mbpp import SECONDS
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.data_files import find_data
from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import SandboxLimits, make_sandbox

FILE = "mbpp.jsonl"
SANDBOX = os.environ.get("LEAFE_SANDBOX", "embedded")
"""Name of the sandbox; "unsandboxed" if the host cannot run one."""

REPETITIONS = 3
TIMED = 200
"""Problems of a timed repetition."""

Job = tuple[str, str]
"""Name of the problem, code."""

_judge: FunctionJudge | None = None
_script: ProgramRunner | None = None


def measure() -> Report:
    """Judge references and mutants, then repeat for the time."""
    cores = os.cpu_count() or 1
    try:
        find_data(FILE, SOURCE)
    except UsageError as error:
        return Report(figures={"problems": None}, skipped={"problems": str(error)})
    problems = list(read_functions(find_data(FILE, SOURCE)).problems.values())
    references = [(one.name, one.code) for one in problems]
    mutants = [job for one in problems for job in mutant(one)]
    with ProcessPoolExecutor(cores) as pool:
        right = list(pool.map(judged, references, chunksize=8))
        spoiled = list(pool.map(judged, mutants, chunksize=8))
        plain = list(pool.map(asserted, [*references, *mutants], chunksize=8))
        rates = []
        for _ in range(REPETITIONS):
            began = time.perf_counter()
            list(pool.map(judged, references[:TIMED], chunksize=8))
            rates.append(TIMED / (time.perf_counter() - began))
    failed = {n: v for (n, _), v in zip(references, right, strict=True) if not v.accepted}
    verdicts = [verdict.accepted for verdict in (*right, *spoiled)]
    other = [a != b for a, b in zip(verdicts, plain, strict=True)]
    sound = [v for (n, _), v in zip(mutants, spoiled, strict=True) if n not in failed]
    return Report(
        figures={
            "problems": len(problems),
            "references_passed": len(problems) - len(failed),
            "references_failed": {name: said(verdict) for name, verdict in failed.items()},
            "mutants": len(sound),
            "mutants_failed": sum(not verdict.accepted for verdict in sound),
            "mutants_failed_share": sum(not v.accepted for v in sound) / len(sound),
            "mutants_by_verdict": dict(Counter(verdict.kind for verdict in sound)),
            "references_judged_otherwise_by_a_script": sum(other[: len(references)]),
            "mutants_judged_otherwise_by_a_script": {
                name: f"here {said(verdict) or 'accepted'}"
                for (name, _), verdict, differs in zip(
                    mutants, spoiled, other[len(references) :], strict=True
                )
                if differs
            },
            "problems_per_second": median(rates),
        },
        goals={
            "problems_per_second": (">=", 5),
            "references_judged_otherwise_by_a_script": ("<=", 0),
        },
        meta={
            "samples": REPETITIONS,
            "sandbox": kind(),
            "processes": cores,
            "timed_problems": TIMED,
            "seconds_per_solution_limit": SECONDS,
            "mutants": "one for each reference that passes and holds something to spoil",
        },
    )


def judged(job: Job) -> JudgeResult:
    """The result for a solution, in this process's own sandboxes."""
    global _judge
    if _judge is None:
        _judge = FunctionJudge(runner(), runner(), SECONDS)
    name, code = job
    return _judge.judge(read_functions(find_data(FILE, SOURCE)).problem(name), code)


def asserted(job: Job) -> bool:
    """Whether a script of solution and assertions succeeds, in the same sandbox."""
    global _script
    if _script is None:
        _script = runner()
    name, code = job
    problem = read_functions(find_data(FILE, SOURCE)).problem(name)
    text = "\n".join((code, problem.setup, *problem.tests))
    limits = SandboxLimits(call_s=2 * SECONDS + 2, cpu_s=SECONDS, memory_mb=512)
    result = _script.run((*PYTHON_COMMAND, "script.py"), "", limits, {"script.py": text.encode()})
    return not (result.exit_code or result.signal or result.timed_out)


def runner() -> ProgramRunner:
    """A runner of programs."""
    return ProgramRunner(SANDBOX, allow_unsandboxed=SANDBOX == "unsandboxed")


def kind() -> str:
    """The sandbox in use."""
    return make_sandbox(SANDBOX, allow_unsandboxed=SANDBOX == "unsandboxed").kind


def said(verdict: JudgeResult) -> str:
    """A failure in one line."""
    lines = verdict.detail.strip().splitlines()
    return f"{verdict.feedback}: {lines[-1][:120]}" if lines else verdict.feedback


class FaultInserter(ast.NodeTransformer):
    """Counts the places for a fault, and inserts one.

    Args:
        at: index of the place; -1 for none.
    """

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.seen = 0

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Negate a comparison."""
        self.generic_visit(node)
        turned = {
            ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
            ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
        }  # fmt: skip
        other = turned.get(type(node.ops[0]))
        if other is not None and self._here():
            node.ops[0] = other()
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Replace an arithmetic operation."""
        self.generic_visit(node)
        other = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.Mult}.get(
            type(node.op)
        )
        if other is not None and self._here():
            node.op = other()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Add one to an integer."""
        if type(node.value) is int and self._here():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """Return nothing."""
        self.generic_visit(node)
        if node.value is not None and self._here():
            node.value = None
        return node

    def _here(self) -> bool:
        self.seen += 1
        return self.seen - 1 == self.at


def mutant(problem: FunctionProblem) -> Iterator[Job]:
    """The reference with one fault, chosen by the problem's name; none if there is no place."""
    counter = FaultInserter()
    counter.visit(ast.parse(problem.code))
    if counter.seen:
        at = random.Random(problem.name).randrange(counter.seen)
        tree = FaultInserter(at).visit(ast.parse(problem.code))
        yield problem.name, ast.unparse(ast.fix_missing_locations(tree))


if __name__ == "__main__":
    main(measure)
