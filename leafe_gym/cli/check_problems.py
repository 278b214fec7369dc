"""`leafe check-problems FILE`: check whether each problem is solved by its own reference."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from leafe_gym.cli.options import JsonOut
from leafe_gym.cli.screen import out, plain, progress_bar, write_json, write_report
from leafe_gym.envs.code.check_problems import (
    ProblemCheck,
    all_names,
    check_problems,
    open_problems,
)
from leafe_gym.envs.code.language import language as find_language
from leafe_gym.envs.code.problem_files import read_lines
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.data_files import find_data
from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import make_sandbox

_SOURCE = "FILE is a file of problems that leafe/MBPP-v0 or leafe/CodeContests-v0 reads as data="


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Problems, as for data=.")],
    language: Annotated[
        str, typer.Option("--language", help="Of contest problems' solutions.")
    ] = "python",
    count: Annotated[int | None, typer.Option("-n", min=1, help="Check the first N only.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Problems at a time.")] = 1,
    time_scale: Annotated[
        float, typer.Option("--time-scale", min=0.01, help="Factor on the time limits.")
    ] = 1.0,
    sandbox: Annotated[str, typer.Option("--sandbox", help="Where programs run.")] = "embedded",
    packages: Annotated[
        list[str] | None,
        typer.Option("--package", help="A package that code may import. Repeatable."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="PATH", help="Write the problems that pass, as JSON lines."),
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Judge the reference solution of each problem, and name the problems that it fails.

    Exit code 0: no reference failed; 1: some did.
    """
    path = find_data(file, _SOURCE)
    if keep is not None and (path.is_dir() or path.suffix == ".parquet"):
        raise UsageError("--keep needs a file of JSON lines")
    options: dict[str, Any] = {"packages": packages} if packages else {}
    make_sandbox(sandbox, **options)  # wrong options are an error now, not one for each problem
    find_language(language)
    problems = open_problems(path)
    names = all_names(problems)[:count]
    with progress_bar() as bar:
        task = bar.add_task("problems", total=len(names), note="")

        def run(part: list[str]) -> list[ProblemCheck]:
            runners = [ProgramRunner(sandbox, options=options) for _ in range(2)]
            found = []
            try:
                for one in check_problems(
                    problems, part, runners, language_name=language, time_scale=time_scale
                ):
                    found.append(one)
                    bar.advance(task)
            finally:
                for runner in runners:
                    runner.close()
            return found

        with ThreadPoolExecutor(jobs) as pool:
            checks = {one.name: one for part in pool.map(run, [names[n::jobs] for n in range(jobs)])
                      for one in part}  # fmt: skip
    _report([checks[name] for name in names], json_path)
    if keep is not None:
        good = {one.name for one in checks.values() if one.outcome == "passed"}
        _write(path, keep, good)
    if any(one.outcome == "failed" for one in checks.values()):
        raise typer.Exit(1)


def _report(checks: list[ProblemCheck], json_path: str | None) -> None:
    counts = Counter(one.outcome for one in checks)
    if json_path:
        data = {
            "problems": len(checks),
            "outcomes": dict(counts),
            "not_passed": [asdict(one) for one in checks if one.outcome != "passed"],
        }
        write_json(data, json_path)
    if json_path == "-":
        return
    for one in checks:
        if one.outcome != "passed":
            out.print(plain(f"{one.name}: {one.outcome}: {one.reason}"))
    shown = ", ".join(f"{number} {name}" for name, number in counts.items())
    out.print(plain(f"{len(checks)} problems: {shown}"))


def _write(path: Path, target: Path, names: set[str]) -> None:
    lines = [
        json.dumps(record)
        for _, record in read_lines(path)
        if str(record.get("task_id", record.get("name"))) in names
    ]
    write_report("".join(f"{one}\n" for one in lines), target)
