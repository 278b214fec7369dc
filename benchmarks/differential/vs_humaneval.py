"""`leafe/MBPP-v0` with HumanEval against the checker that OpenAI published.

    python benchmarks/differential/vs_humaneval.py --original human-eval

`--original` is a checkout of https://github.com/openai/human-eval, with its data. Compared are the
verdicts on every reference and on each reference with one inserted fault, chosen by the problem's
name. The checker executes these programs with your own rights, in processes of its own. In some
checkouts its `exec` is commented out; it is put back in memory.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import re
import sys
import types
from pathlib import Path
from typing import Any

from _compare import Counts, commit_of, options, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mbpp import mutant

from leafe_gym.envs.code.function_files import read_functions
from leafe_gym.envs.code.functions import FunctionJudge
from leafe_gym.envs.code.program_runner import ProgramRunner

FILE = "data/HumanEval.jsonl.gz"
_COMMENTED = re.compile(r"^(\s*)#\s*(exec\(check_program, exec_globals\))", re.MULTILINE)
SECONDS = 10.0


def original_check(checkout: Path) -> Any:
    """`check_correctness` of the checkout."""
    path = checkout / "human_eval" / "execution.py"
    text = _COMMENTED.sub(r"\1\2", path.read_text())
    module = types.ModuleType("human_eval_execution")
    sys.modules[module.__name__] = module
    multiprocessing.set_start_method("fork")
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module.check_correctness


def main() -> None:
    """Judge."""
    args = options(__doc__ or "", "checkout of human-eval").parse_args()
    problems = read_functions(args.original / FILE)
    with gzip.open(args.original / FILE, "rt") as lines:
        records = {record["task_id"]: record for record in map(json.loads, lines)}
    check = original_check(args.original)
    judge = FunctionJudge(ProgramRunner("embedded"), ProgramRunner("embedded"), SECONDS)
    counts = Counts()
    for name in list(problems.problems)[: args.episodes]:
        problem = problems.problem(name)
        programs = [("reference", problem.code), *(("fault", code) for _, code in mutant(problem))]
        for what, code in programs:
            ours = judge.judge(problem, code)
            said = check({**records[name], "prompt": ""}, code, SECONDS)
            counts.numbers[f"{what}s"] += 1
            counts.numbers[f"{what}s_passed"] += ours.accepted
            where = {"episode": name, "program": what, "said": ours.feedback}
            counts.compare(where, {"passed": ours.accepted}, {"passed": said["passed"]})
    report(counts, args, {"human-eval": commit_of(args.original)})


if __name__ == "__main__":
    main()
