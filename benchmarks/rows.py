"""Rows of a run: how fast, in how much memory, and what the leak check finds.

Synthetic runs of trees with 17 attempts of 12 steps, half of them won. Memory is the highest
resident size of a fresh process while it makes all rows and the manifest, less what it was when the
imports were done.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _harness import Report, alternate, main, median
from _planted_leaks import measure as measure_planted

from leafe_gym import distill
from leafe_gym.prompts.base import prompt_set
from leafe_gym.seeds import derive_rng
from leafe_gym.store.writer import RunWriter
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Start, Step, Task

SIZES = (1_000, 10_000)
TIMED = 200
STEPS = 12
ATTEMPTS = 17
PLANTED = 1_000
BOARD = "#######\n#--@--#\n#--$--#\n#--.--#\n#######"
CHILD = """
import json, sys
from leafe_gym import distill
import leafe_gym.distill.data.dataset, leafe_gym.prompts.chat
def top():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
found = distill.rows(sys.argv[1], distill.RowConfig(keep="all"))
before = top()
count = sum(1 for _ in found)
found.manifest()
print(json.dumps([count, (top() - before) / 1024]))
"""


def measure() -> Report:
    """Make the runs, then the rows."""
    figures: dict[str, float | int] = {}
    skipped: dict[str, str] = {}
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        timed = make_run(Path(folder) / "timed", TIMED)
        figures["rows_per_s"] = 1 / median(alternate({"rows": lambda: _per_row(timed)}, 5)["rows"])
        for size in SIZES:
            run = make_run(Path(folder) / str(size), size)
            key = f"peak_mb_{size}"
            if not Path("/proc/self/status").exists():
                skipped[key] = "this system has no /proc"
                continue
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(run)], capture_output=True, text=True, check=True
            )
            counts[str(size)], figures[key] = json.loads(done.stdout)
    figures |= measure_planted(PLANTED)
    return Report(
        figures=figures,
        skipped=skipped,
        goals={"recall_verbatim": (">=", 0.99), "recall_fragment": (">=", 0.99)},
        meta={
            "samples": 5,
            "trees_timed": TIMED,
            "rows": counts,
            "tree": f"{ATTEMPTS} attempts of {STEPS} steps",
            "planted": f"{PLANTED} of each kind",
        },
    )


def make_run(folder: Path, count: int) -> Path:
    """A run of `count` synthetic trees."""
    prompts = prompt_set("chat")
    tasks = [Task(id=f"bench:{i}", env_id="bench/Rows-v0", split="train") for i in range(count)]
    with RunWriter(folder, {"agent": {}}, tasks) as run, run.batch():
        run.record_prompts(tasks[0].env_id, prompts)
        for number, task in enumerate(tasks):
            tree = make_tree(task, number)
            run.record_opened(number, tree.start)
            for branch in tree.branches:
                run.record_committed(number, branch)
            run.record_finished(number, tree)
    return folder


def make_tree(task: Task, number: int) -> Tree:
    """One root, and branches of it and of each other."""
    rng = derive_rng(0, "bench rows", number)
    start = Start(observation=f"{BOARD}\nlevel {number}", instruction="Push the box to the target.")
    tree = Tree(task=task, start=start)
    for index in range(ATTEMPTS):
        tau = int(rng.integers(0, STEPS - 2)) if index else 0
        parent = (index - 1) // 4 if index else None
        tip = Experience(step=tau, text=f"Box in a corner at {tau}: go around it, here, not up.")
        won = bool(rng.random() < 0.5)
        moves = rng.choice(["up", "down", "left", "right"], STEPS - tau).tolist()
        steps = tuple(
            Step(
                action=move,
                reply=f"The box is {place} away, so I go {move}.\nAction: {move}",
                observation=f"{BOARD}\nstep {tau + place}",
                terminated=place == len(moves) - 1,
                experiences=(index,) if index and not place else (),
                info={"won": won and place == len(moves) - 1},
            )
            for place, move in enumerate(moves)
        )
        tree.add(
            Branch(
                id=index,
                parent=parent,
                experience=tip if index else None,
                steps=steps,
                ending="won" if won else "failed",
            )
        )
    return tree


def _per_row(run: Path) -> float:
    began = time.perf_counter()
    count = sum(1 for _ in distill.rows(run, distill.RowConfig(keep="all")))
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main(measure)
