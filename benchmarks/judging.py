"""What judging a problem of MBPP costs, against earlier versions of this package.

    LEAFE_DATA=FOLDER_WITH_MBPP LEAFE_BEFORE=FOLDER[:FOLDER] python benchmarks/judging.py

`LEAFE_BEFORE` are source trees of earlier versions. All judge the references of the same problems,
a slice at a time and in turn (A B A B ...), each slice in a process of its own whose sandboxes are
started before. Processor time is that of all processes of the sandbox and of the judge; on a busy
machine it says more than the time that passes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from _harness import ROOT, Report, main, median, ratio

SLICE = 6
"""Problems of a slice."""

ROUNDS = 4
FILE = "mbpp.jsonl"

CHILD = """
import contextlib, json, os, pathlib, sys, time
sys.path[:0] = [sys.argv[1] + "/benchmarks", sys.argv[1]]
import mbpp
file = pathlib.Path(os.environ["LEAFE_DATA"], mbpp.FILE)
problems = list(mbpp.read_functions(file).problems.values())
first, count = int(sys.argv[2]), int(sys.argv[3])

def family(pid):
    yield pid
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                for child in file.read().split():
                    yield from family(int(child))

def cpu():
    total = 0
    for pid in family(os.getpid()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            total += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")

mbpp.judged((problems[first].name, problems[first].code))
before, began = cpu(), time.perf_counter()
passed = sum(mbpp.judged((one.name, one.code)).accepted for one in problems[first : first + count])
print(json.dumps({"s": time.perf_counter() - began, "cpu_s": cpu() - before, "passed": passed}))
"""


def measure() -> Report:
    """Judge slices in turn."""
    before = [Path(one) for one in os.environ.get("LEAFE_BEFORE", "").split(":") if one]
    if not (Path(os.environ.get("LEAFE_DATA", "")) / FILE).is_file():
        reason = f"LEAFE_DATA names no folder with {FILE}"
        return Report(figures={"cpu_ms": None}, skipped={"cpu_ms": reason})
    seen: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in (*before, ROOT)}
    for number in range(ROUNDS):
        for tree, slices in seen.items():
            slices.append(_slice(tree, number * SLICE))
    ours = seen[ROOT]
    return Report(
        figures={
            "ms": median([1e3 * one["s"] / SLICE for one in ours]),
            "cpu_ms": median([1e3 * one["cpu_s"] / SLICE for one in ours]),
            "passed": sum(one["passed"] for one in ours),
            "before": {
                tree.name: {
                    "ms": median([1e3 * one["s"] / SLICE for one in seen[tree]]),
                    "cpu_ms": median([1e3 * one["cpu_s"] / SLICE for one in seen[tree]]),
                    "passed": sum(one["passed"] for one in seen[tree]),
                    "times_faster": 1 / ratio(_of(ours, "s"), _of(seen[tree], "s")),
                    "times_less_cpu": 1 / ratio(_of(ours, "cpu_s"), _of(seen[tree], "cpu_s")),
                }
                for tree in before
            },
        },
        meta={"rounds": ROUNDS, "problems": ROUNDS * SLICE, "processes": 1},
        skipped={} if before else {"before": "LEAFE_BEFORE names no source tree"},
    )


def _slice(tree: Path, first: int) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, str(tree), str(first), str(SLICE)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _of(slices: list[dict[str, Any]], key: str) -> list[float]:
    return [one[key] for one in slices]


if __name__ == "__main__":
    main(measure)
